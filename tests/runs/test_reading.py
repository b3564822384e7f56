"""Finished runs read by name, and the catalogue of them."""

import shutil
from dataclasses import replace

import pytest

import labkit as lk
from labkit.ground import tensor_files
from labkit.runs.catalogue import catalogue, families, group_names
from labkit.runs.files import FINISHED
from labkit.runs.reading import finished
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    tickets = lk.find_tickets(spec(), [0, 1], root=root)
    lk.branch(tickets, "random_reinit", levels=[2], per_seed=2)
    return root, tickets


def spec(**changes):
    return small_spec(levels=2, duration="20it", **changes)


def test_a_run_is_read_by_its_name_without_its_experiment(made, monkeypatch):
    root, tickets = made
    monkeypatch.setattr("labkit.data.load", None)
    member = tickets.runs[1].members[0].run
    read = finished(root, member.hash)
    assert read.identity == member.identity and read.result["kept"] == tickets.runs[1].results[0]["kept"]
    rows = tickets.metrics().query("level == 1 and seed == 0")
    assert [row["test_accuracy"] for row in read.rows()] == rows["test_accuracy"].tolist()


def test_what_is_no_run_is_refused(made, tmp_path):
    root = shutil.copytree(made[0], tmp_path / "copy")
    name, other = sorted(path.parent.name for path in root.glob(f"*/{FINISHED}"))[:2]
    with pytest.raises(ValueError, match="name is '../x': a run is named by sixteen hexadecimal digits"):
        finished(root, "../x")
    with pytest.raises(FileNotFoundError):
        finished(root, "0" * 16)
    shutil.copy(root / other / FINISHED, root / name / FINISHED)
    with pytest.raises(ValueError, match=f"{name}.* is not of the run of its folder: it says '{other}'"):
        finished(root, name)
    tensors, about = tensor_files.read(root / other / FINISHED)
    about["identity"]["seed"] = 7
    tensor_files.write(root / other / FINISHED, tensors, about)
    with pytest.raises(ValueError, match="what it describes is another"):
        finished(root, other)
    tensor_files.write(root / other / FINISHED, {}, {"kind": "labkit ticket 1"})
    with pytest.raises(ValueError, match="is not a run of this version of labkit: it says 'labkit ticket 1'"):
        finished(root, other)


def test_a_history_that_is_not_whole_is_refused(made, tmp_path):
    root = shutil.copytree(made[0], tmp_path / "copy")
    path = sorted(root.glob(f"*/{FINISHED}"))[0]
    tensors, about = tensor_files.read(path)
    tensor_files.write(path, {k: v for k, v in tensors.items() if k != "history/points"}, about)
    with pytest.raises(ValueError, match="its history is not whole"):
        finished(root, path.parent.name)


def test_the_catalogue_says_what_each_run_is(made):
    table = catalogue(made[0])
    assert table["kind"].value_counts().to_dict() == {
        "random reinit": 4, "dense": 2, "ticket of round 1": 2, "ticket of round 2": 2}  # fmt: skip
    assert set(table["data"]) == {"digits"} and set(table["model"]) == {"lenet_300_100"}
    assert not table["diverged"].any() and set(table["seed"]) == {0, 1}
    assert table[table["kind"] == "ticket of round 2"]["density"].round(3).unique().tolist() == [0.641]


def test_families_are_runs_that_differ_in_seed_and_copy_alone(made):
    table = catalogue(made[0])
    assert table.groupby("kind")["family"].nunique().eq(1).all() and table["family"].nunique() == 4


def test_tickets_of_searches_that_differ_are_of_two_families(made, tmp_path):
    root = shutil.copytree(made[0], tmp_path / "copy")
    slow = spec(train={"lr": 1e-4})
    lk.find_tickets(slow, [0], root=root)
    table = catalogue(root)
    tickets = table[table["kind"] == "ticket of round 1"]
    assert tickets["family"].nunique() == 2
    names = set(group_names(tickets).values())
    assert names == {"ticket of round 1, 80 % (train.lr 0.0012)", "ticket of round 1, 80 % (train.lr 0.0001)"}


def test_a_family_that_names_itself_as_its_source_comes_to_an_end():
    loop = {"a" * 16: {"start.mask.pruned": "b" * 16}, "b" * 16: {"start.mask.pruned": "a" * 16}}
    assert set(families(loop)) == set(loop)


def test_the_name_of_data_is_no_part_of_a_run(made):
    run = made[1].runs[0].members[0].run
    assert "digits" not in str(run.identity) and replace(run).hash == run.hash
    assert tensor_files.read_about(made[0] / run.hash / FINISHED)["data"] == "digits"
