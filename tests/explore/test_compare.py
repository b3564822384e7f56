"""Stored runs picked from a table and laid over each other."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

import labkit as lk
from labkit.explore import Compare
from labkit.ground import tensor_files
from labkit.runs.catalogue import COLUMNS
from labkit.runs.files import FINISHED
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of dense networks and tickets of three seeds, and one network of sparse training."""
    root = tmp_path_factory.mktemp("runs")
    lk.find_tickets(small_spec(levels=1, duration="20it"), [0, 1, 2], root=root)
    train = lk.TrainSpec(duration="20it", evaluate_every="20it")
    lk.train_sparse(lk.SparseSpec(train=train, topology=lk.TopologySpec(method="static")), [0], root=root)
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def pick(shown, words):
    shown.search.value = words
    return [name for label, name in shown.runs.options if name not in shown.runs.value]


def test_search_and_filters_narrow_the_list(root):
    shown = Compare(root)
    assert len(shown.runs.options) == 7 and "Pick two runs or more" in shown.title
    assert len(pick(shown, "TICKET, seed")) == 3 and "3 runs match" in shown.title
    assert len(pick(shown, "ticket, seed 2")) == 1
    assert pick(shown, "nothing like it") == [] and "0 runs match" in shown.title
    shown.search.value, shown.density.value = "", (0.5, 1.0)
    assert shown.data.options == ("all", "digits") and len(shown.matches()) == len(shown.runs.options) == 7
    shown.density.value = (0.0, 0.5)
    assert len(shown.runs.options) == 0
    shown.density.value, shown.model.value = (0.0, 1.0), "lenet_300_100"
    assert len(shown.runs.options) == 7


def test_a_result_that_is_not_as_it_is_written_is_said_and_hides_no_other_run(root):
    for place, wrong in enumerate(({"result": {"density": "x"}}, {"data": [1]})):
        path = sorted(root.glob(f"*/{FINISHED}"))[place]
        tensors, about = tensor_files.read(path)
        tensor_files.write(path, tensors, about | wrong)
    shown = Compare(root)
    assert "is left out: its result" in shown.said and len(shown.runs.options) == 6 and "6 runs match" in shown.title


def test_why_runs_could_not_be_read_stays_on_the_page(root, monkeypatch):
    def broken(root):
        raise OSError("the disk is away")

    shown = Compare(root)
    monkeypatch.setattr("labkit.explore.compare.catalogue", broken)
    shown.reload()
    assert shown.said == "the disk is away"


def test_groups_are_drawn_and_their_difference_is_paired_by_seed(root):
    shown = Compare(root)
    shown.runs.value = pick(shown, "ticket")
    dense = pick(shown, "dense")
    assert len(shown.runs.value) == 3, "what is picked stays, whatever is searched for"
    shown.runs.value = (*shown.runs.value, *dense)
    named = [trace.name for trace in shown.figure.data if trace.name]
    assert named == ["ticket of round 1, 80 % (3 networks)", "dense, 100 % (3 networks)"]
    rows = shown.table()
    ends = rows[rows["iteration"] == 20].pivot(index="seed", columns="group", values="test_accuracy")
    gap = 100 * (ends["dense, 100 %"] - ends["ticket of round 1, 80 %"])
    found = shown.differences().iloc[0]
    half = 4.302653 * gap.std() / 3**0.5  # of two degrees of freedom, from a table
    assert (found["n"], found["mean"]) == (3, pytest.approx(gap.mean()))
    assert (found["low"], found["high"]) == (pytest.approx(gap.mean() - half), pytest.approx(gap.mean() + half))
    assert f"{gap.mean():+.2f} pp, 95 % interval" in shown.title and "(3 seeds)" in shown.title


def test_too_few_seeds_are_said_and_not_computed(root):
    shown = Compare(root)
    shown.runs.value = [name for label, name in shown.runs.options if "seed 0" in label and "Static" not in label]
    assert "in 1 seed, too few for an interval" in shown.title
    shown.runs.value = pick(shown, "Static")
    shown.runs.value = (*shown.runs.value, *pick(shown, "dense"))[:3]
    shown.runs.value = [name for label, name in shown.runs.options if "Static" in label or "seed 1" in label]
    assert len(shown.runs.value) == 2 and "no seed in common" in shown.title


def test_an_empty_folder_is_said_in_words(tmp_path):
    shown = Compare(tmp_path / "none")
    assert "There are no finished runs in" in shown.title and not shown.said and shown.runs.options == ()


def test_damaged_and_foreign_files_are_named_and_the_others_shown(root):
    names = sorted(path.parent.name for path in root.glob(f"*/{FINISHED}"))
    (root / names[0] / FINISHED).write_bytes(b"{")
    shutil.copytree(root / names[1], root / "0123456789abcdef")
    shown = Compare(root)
    assert len(shown.runs.options) == 6
    assert names[0] in shown.said and "0123456789abcdef" in shown.said and "not of the run of its folder" in shown.said


def test_a_folder_that_is_no_path_is_refused():
    with pytest.raises(ValueError, match="root is 5"):
        Compare(5)


def test_a_run_that_is_deleted_while_it_is_shown_is_said_and_the_others_stay(root):
    shown = Compare(root)
    shown.runs.value = pick(shown, "dense")
    shutil.rmtree(root / shown.runs.value[0])
    shown.refresh()
    assert f"{shown.runs.value[0]} cannot be shown: its file is gone" in shown.said and "(2 networks)" in legend(shown)
    shown.reload()
    assert shown.said == "" and len(shown.runs.value) == 2, "what is still there stays picked"


def legend(shown):
    return " ".join(trace.name or "" for trace in shown.figure.data)


def test_five_thousand_runs_are_listed_in_part(monkeypatch):
    row = dict.fromkeys(COLUMNS, "") | {"model": "conv_2", "data": "mnist", "density": 0.5, "family": "x"}
    many = [row | {"run": f"{n:016x}", "label": f"ticket, seed {n}"} for n in range(5000)]
    monkeypatch.setattr("labkit.explore.compare.catalogue", lambda root: pd.DataFrame(many))
    shown = Compare(Path("anywhere"))
    assert len(shown.runs.options) == 200 and "5,000 runs match, 200 are listed" in shown.title
    assert [label for label, _ in shown.runs.options][:1] == ["ticket, seed 0"] and len(pick(shown, "seed 4999")) == 1


def test_its_code_gives_its_table(root):
    shown, names = Compare(root), {}
    shown.runs.value = pick(shown, "ticket")
    exec(shown.code(), names)
    columns = ["run", "seed", "iteration", "test_accuracy"]
    both = [table[columns].reset_index(drop=True) for table in (names["table"], shown.table())]
    assert both[0].equals(both[1])
