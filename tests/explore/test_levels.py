"""The levels of a search under a slider."""

import shutil

import pandas as pd
import pytest

import labkit as lk
from labkit.explore import Levels
from labkit.explore.collection import Collection
from labkit.studies.sources import published
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    tickets = lk.find_tickets(small_spec(levels=2, duration="40it"), [0, 1], root=root)
    return tickets, lk.branch(tickets, "random_reinit", levels=[2]), root


@pytest.fixture
def levels(found):
    return Levels(*found[:2], published="lenet-300-100")


def lines(levels, name):
    return [trace for trace in levels.figure.data if trace.name == name]


def test_the_slider_has_the_levels_that_exist_by_weights_left(levels):
    assert [label for label, _ in levels.level.options] == ["100 %", "80 %", "64.1 %"]


def test_a_level_changes_curve_mark_and_title(levels):
    dense = list(lines(levels, "winning ticket")[0].y)
    assert levels.title.startswith("100 % of the weights, at the end: winning ticket")
    levels.level.value = 2
    assert list(lines(levels, "winning ticket")[0].y) != dense
    assert levels.figure.layout.shapes[0].x0 == pytest.approx(64.06, abs=0.01)
    assert levels.title.startswith("64.1 % of the weights") and "random reinit" in levels.title
    assert "dense" in levels.title and not levels.said


def test_what_is_drawn_is_the_mean_over_seeds_and_its_range(levels):
    levels.level.value = 1
    line, over = lines(levels, "winning ticket")
    rows = levels.table().query("branch == 'ticket' and level == 1")
    assert line.y[-1] == pytest.approx(100 * rows[rows["iteration"] == 40]["test_accuracy"].mean(), abs=1e-3)
    ends = rows[rows["iteration"] == 40]["test_accuracy"]
    assert over.error_y.array[1] == pytest.approx(100 * (ends.max() - ends.mean()))


def test_one_arm_of_one_seed(levels):
    levels.level.value, levels.arm.value, levels.seed.value = 2, "random_reinit", 1
    assert {trace.name for trace in levels.figure.data if trace.name} == {"random reinit", "published random reinit"}
    assert "(1 network)" in levels.title and set(levels.table()["seed"]) == {1}
    levels.level.value = 0
    assert "no network was trained" in levels.title and list(lines(levels, "random reinit")[0].y) == []


def test_early_stop_is_there_where_something_was_held_out(levels):
    levels.when.value = "accuracy_at_early_stop"
    assert "at early stop" in levels.title
    behind = lines(levels, "published winning ticket")[1]
    table = published("lth").query("architecture == 'lenet-300-100' and metric == 'test_acc_at_early_stop'")
    assert 0 < len(behind.y) < len(table) and behind.line.color == "#8c8c8c" and behind.line.dash == "dash"


def test_without_validation_data_there_is_the_end_alone():
    tickets = lk.find_tickets(small_spec(levels=1, duration="20it", data=lk.DataSpec(validation=0)), [0])
    assert [value for _, value in Levels(tickets).when.options] == ["accuracy_at_end"]


def test_its_code_gives_its_numbers(levels, found):
    levels.arm.value, levels.seed.value = "ticket", 1
    code = levels.code().replace("seeds=[0, 1]", f"seeds=[0, 1], root={str(found[2])!r}")
    names = {}
    exec(code.rpartition("\n")[0] + "\nshown = " + code.rpartition("\n")[2], names)
    over = lines(levels, "winning ticket")[1]
    assert list(over.y) == pytest.approx(list(100 * names["shown"]["mean"]))


def test_runs_that_are_shown_stay_shown_when_their_files_go(found, tmp_path):
    root = shutil.copytree(found[2], tmp_path / "copy")
    tickets = lk.find_tickets(small_spec(levels=2, duration="40it"), [0, 1], root=root)
    shown = Levels(tickets)
    shutil.rmtree(root)
    shown.level.value = 2
    assert "64.1 %" in shown.title and not shown.said
    assert Levels(tickets).said.startswith(f"no file {root}")


def test_what_cannot_be_shown_is_said_in_words(found):
    assert "cannot be explored" in Levels(3).said
    wrong = Levels(found[0], published="lenet")
    assert "unknown architecture 'lenet'" in wrong.said
    with pytest.raises(ValueError, match="unknown architecture"):
        wrong.table()


def test_networks_that_all_diverged_are_said_so(found, monkeypatch):
    table = pd.concat([found[0].metrics()]).assign(diverged=True)
    shown = Collection("x", table, None, None, None, "")
    monkeypatch.setattr("labkit.explore.levels.collection", lambda: shown)
    assert "diverged" in Levels().said
