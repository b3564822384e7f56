"""What the pages of `docs/` tell people to write works as it stands there."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import labkit as lk
from labkit.sparsity import scores
from labkit.sparsity.methods import METHODS, Method
from tests.conftest import small_spec

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
TRAIN = {"duration": "12it", "evaluate_every": "12it"}


def code(heading):
    """The first block of code below a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def test_a_pruning_score(monkeypatch):
    namespace = dict(vars(scores))
    exec(code("A pruning score").replace("SCORES = {...,", "SCORES = {"), namespace)
    ((name, function),) = namespace["SCORES"].items()
    monkeypatch.setitem(scores.SCORES, name, function)
    tickets = lk.find_tickets(lk.TicketSpec(train=TRAIN, prune={"score": name, "levels": 1}), [0])
    assert 0 < tickets.ticket(0, 1).density < 1


def test_a_dynamic_method(monkeypatch):
    namespace = {"Method": Method}
    exec(code("A dynamic method").replace("METHODS = {...,", "METHODS = {"), namespace)
    ((name, row),) = namespace["METHODS"].items()
    monkeypatch.setitem(METHODS, name, row)
    run = lk.train_sparse(lk.SparseSpec(train=TRAIN, topology={"method": name, "every": "4it"}), [0])
    kept = run.densities().groupby("step")["kept"].sum()
    assert len(kept) == 3 and kept.nunique() == 1, "growth moves between layers, the total stays"


def test_a_control(tmp_path, monkeypatch):
    (tmp_path / "controls.py").write_text(code("A control"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "controls", raising=False)
    tickets = lk.find_tickets(small_spec(levels=1, duration="12it"), [0])
    found = lk.branch(tickets, importlib.import_module("controls").one_size)
    theirs, mine = found.ticket(0, 1), tickets.ticket(0, 1)
    assert all(theirs.mask[name].equal(mine.mask[name]) for name in mine.mask)
    sizes = theirs.weights["fc1.weight"][theirs.mask["fc1.weight"]].abs()
    assert sizes.min() == pytest.approx(sizes.max())


def test_a_widget():
    namespace = {}
    exec(code("A widget"), namespace)
    widget = namespace["LastIterations"]()
    assert widget.said == "" and len(widget.figure.data) >= 9
    widget.begin.value = 8000
    assert widget.title == "Tickets of seed 0, from iteration 8,000 on"
    assert min(min(trace.x) for trace in widget.figure.data if trace.x is not None) >= 8000
