"""A run replayed in a widget."""

import shutil

import pytest
import torch

import labkit as lk
from labkit.explore import Topology
from labkit.ground import tensor_files
from labkit.studies.replays import replay

TRAIN = lk.TrainSpec(duration="60it", evaluate_every="30it", batch_size=20)


def trained(method="rigl", model="lenet_300_100", seeds=(0,), **options):
    topology = lk.TopologySpec(method, 0.2, "erk", every="10it")
    return lk.train_sparse(lk.SparseSpec(model, options, train=TRAIN, topology=topology), seeds)


@pytest.mark.parametrize("method", ["rigl", "set", "snfs", "gradual"])
def test_masks_after_the_last_update_are_those_that_the_run_ended_with(method):
    run = trained(method)
    found, folder = replay(run, 0), run.networks.folders[0]
    last = found.masks(len(found.moves))
    assert len(found.moves) == 4 and list(last) == list(folder.end_mask())
    assert all(torch.equal(mask, last[name]) for name, mask in folder.end_mask().items())
    kept = folder.record().kept.tolist()
    assert [[int(mask.sum()) for mask in found.masks(n).values()] for n in range(5)] == kept
    born_less_dropped = found.changes.groupby("layer", sort=False)[["grown", "dropped"]].sum().diff(axis=1)["dropped"]
    assert [end - start for start, end in zip(kept[0], kept[-1], strict=True)] == (-born_less_dropped).tolist()


def test_every_connection_is_counted_once_among_lifetimes():
    run = trained()
    found = replay(run, 0)
    lives = int(sum(mask.sum() for mask in found.start.values())) + int(found.changes["grown"].sum())
    assert int(found.lifetimes["connections"].sum()) == lives
    alive = found.lifetimes[~found.lifetimes["ended"]]
    assert int(alive["connections"].sum()) == run.networks.results[0]["kept"]
    first = run.densities().query("step == 0")["kept"].sum()
    assert int(alive.loc[alive["updates"] == 4, "connections"].sum()) == round(found.surviving(4) * first)


def test_the_slider_moves_through_the_updates():
    panel = Topology(trained(seeds=[0, 1]))
    assert panel.moment.max == 4 and "before the first update" in panel.title
    pixels = next(trace for trace in panel.figure.data if trace.type == "heatmap")
    found = replay(panel.run, 0)
    for update in (3, 1):
        panel.moment.value = update
        assert f"update {update} of 4 (step {10 * update})" in panel.title and panel.said == ""
        first = next(iter(found.masks(update).values()))
        assert torch.tensor(pixels.z).reshape(-1).tolist() == first.sum(0).tolist()
        dropped = next(trace for trace in panel.figure.data if trace.name == "dropped")
        rows = found.changes[found.changes["update"] == update]
        assert list(dropped.customdata) == rows["dropped"].tolist()
    title = panel.title
    panel.seed.value = 1
    assert panel.title != title and panel.said == ""
    panel.shown.value = "grown less dropped"
    change = next(trace for trace in panel.figure.data if trace.type == "heatmap")
    assert torch.tensor(change.z).sum() == 0 and change.zmin == -change.zmax, (
        "RigL grows in a layer what it drops there"
    )


def test_of_convolutions_the_updates_are_shown_instead_of_pixels():
    panel = Topology(trained(model="conv_2", width=0.125))
    panel.moment.value = 2
    assert panel.said == "" and "update 2 of 4" in panel.title
    assert not any(trace.type == "heatmap" for trace in panel.figure.data)
    assert list(next(trace for trace in panel.figure.data if trace.name == "all dropped").x) == [1, 2, 3, 4]


def test_without_a_run_a_small_one_is_trained_once(monkeypatch, runs):
    monkeypatch.setattr("labkit.explore.topology.SMALL", lk.SparseSpec(train=TRAIN, topology=lk.TopologySpec(
        "rigl", 0.1, "erk", every="10it")))  # fmt: skip
    assert Topology().moment.max == 4
    times = [path.stat().st_mtime_ns for path in runs.glob("*/run.safetensors")]
    assert Topology().title and [path.stat().st_mtime_ns for path in runs.glob("*/run.safetensors")] == times


def test_a_run_that_was_recorded_without_moves_is_read_and_it_is_said():
    run = trained()
    path = run.networks.folders[0].path / "run.safetensors"
    tensors, about = tensor_files.read(path)
    tensor_files.write(path, {name: t for name, t in tensors.items() if "moves" not in name}, about)
    assert run.densities()["step"].max() == 40, "the rest is read as before"
    panel = Topology(run)
    assert "was recorded without what its mask updates dropped and grew" in panel.said and panel.title == ""


def test_beyond_the_cap_the_replay_ends_and_it_is_said(monkeypatch):
    monkeypatch.setattr("labkit.sparsity.moves.MOST_BYTES", 60_000)
    panel = Topology(trained())
    assert 0 < panel.moment.max < 4 and "were beyond what is recorded" in panel.title


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("mine", "'mine' cannot be replayed: give what lk.train_sparse gave"), ("static", "has no mask updates")],
)
def test_what_cannot_be_replayed_is_said(wrong, said):
    panel = Topology(trained("static") if wrong == "static" else wrong)
    assert said in panel.said and panel.title == ""


def test_a_run_that_is_gone_is_said_and_what_was_shown_stays():
    run = trained(seeds=[0, 1])
    panel = Topology(run)
    for folder in run.networks.folders:
        shutil.rmtree(folder.path)
    panel.moment.value = 2
    assert "update 2 of 4" in panel.title, "it was read before"
    panel.seed.value = 1
    assert panel.said and "mistake of the kit" not in panel.said and "update 2 of 4" in panel.title


def test_code_and_table_are_those_of_what_is_shown():
    panel = Topology(trained())
    assert panel.table().equals(replay(panel.run, 0).changes)
    made = {}
    exec(panel.code().replace("replayed.changes, replayed.lifetimes", ""), made)
    assert all(torch.equal(mask, panel._replay()[0].masks(0)[name]) for name, mask in made["masks"].items())
