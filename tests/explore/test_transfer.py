"""What carried tickets gain, as a map of source and target."""

import pandas as pd
import pytest

import labkit as lk
from labkit.explore import Transfer
from labkit.explore.panel import Panel
from labkit.studies.transfer_cells import cells
from labkit.studies.transfer_study import Route, study_transfer
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    prune = lk.PruneSpec(output_rate=0.0, levels=2)
    specs = {name: small_spec(duration="20it", data=lk.DataSpec(half=half)) for name, half in (("a", "a"), ("b", "b"))}
    specs = {name: lk.TicketSpec(data=one.data, train=one.train, prune=prune) for name, one in specs.items()}
    arms = {"carried": [1, 2], "random_ticket": [2]}
    return study_transfer(specs, [Route("a", "b", arms)], [0, 1], root=tmp_path_factory.mktemp("runs"))


def test_a_level_and_a_choice_change_map_and_title(study):
    shown = Transfer(study)
    assert shown.title.endswith("at 80.1 % of the weights: no route has both networks")
    assert shown.figure.data[1].text == ("not run",) and shown.figure.data[0].z[0][0] is None
    shown.level.value = 2
    gain = study.ends()["a → b"].query("level == 2").pivot(index="seed", columns="branch", values="accuracy_at_end")
    wanted = 100 * (gain["carried"] - gain["random_ticket"]).mean()
    assert shown.figure.data[0].z[0][0] == pytest.approx(wanted) and f"{wanted:+.2f} pp" in shown.title
    shown.against.value = "native ticket"
    assert shown.figure.data[0].z[0][0] == pytest.approx(100 * (gain["carried"] - gain["ticket"]).mean())
    assert not shown.said and isinstance(shown, Panel)


def ends(**accuracies):
    """Two seeds at level 1; None: not asked for, NaN: diverged."""
    rows = [(branch, 1, seed, 0, 50.0, value) for branch, values in accuracies.items() if values
            for seed, value in enumerate(values)]  # fmt: skip
    return pd.DataFrame(rows, columns=["branch", "level", "seed", "copy", "percent_remaining", "accuracy_at_end"])


def test_what_was_not_run_and_what_diverged_are_told_apart():
    nan = float("nan")
    tables = {"one": ends(carried=[0.9, 0.8], random_ticket=[0.7, nan]),
              "two": ends(carried=[0.9, 0.8], random_ticket=[nan, nan]),
              "three": ends(carried=[0.9, 0.8])}  # fmt: skip
    found = cells(tables, {name: ("a", name) for name in tables})
    assert found["said"].tolist() == ["", "diverged", "not run"]
    assert found["n"].tolist() == [1, 0, 0] and found["asked"].tolist() == [2, 2, 0]
    assert found["mean"].iloc[0] == pytest.approx(20)
    with pytest.raises(ValueError, match="unknown against 'dense'"):
        cells(tables, {name: ("a", name) for name in tables}, "dense")


def test_without_a_study_it_says_how_to_get_one():
    shown = Transfer()
    assert "No study of transfer is given" in shown.said and "study_transfer(specs" in shown.code()
    assert "it must be what study_transfer gave" in Transfer(3).said


def test_its_code_gives_its_table(study):
    shown, names = Transfer(study), {}
    root = next(iter(study.tickets.values())).root
    exec(shown.code().replace("seeds=[0, 1]", f"seeds=[0, 1], root={str(root)!r}"), names)
    assert names["table"].equals(shown.table())
