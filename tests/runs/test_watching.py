"""Who watches runs being computed is told after every slice, and may stop them there."""

import pytest
import torch

import labkit as lk
from labkit.ground import tensor_files
from labkit.ground.interrupts import Stopped
from labkit.runs.watching import watched, watching

SPEC = lk.SparseSpec(
    train=lk.TrainSpec(duration="60it", evaluate_every="10it"),
    topology=lk.TopologySpec("rigl", 0.1, "erk", every="20it"),
)


def test_a_watch_sees_the_evaluations_as_they_are_recorded_and_nothing_is_printed(capsys, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "log")
    told = []
    with watched(told.append):
        run = lk.train_sparse(SPEC, [0])
    assert watching() is None and capsys.readouterr().out == ""
    assert [one.done for one in told] == sorted(one.done for one in told) and told[-1].done == told[-1].total == 60
    seen = [rows for one in told for rows in one.rows.values()][-1]
    whole = run.metrics()["test_accuracy"].tolist()
    assert len(seen) >= 6 and [row["test_accuracy"] for row in seen] == whole[: len(seen)]
    assert not any(one.waiting for one in told)


def test_a_watch_stops_networks_side_by_side_and_they_go_on_bit_for_bit(tmp_path):
    def stop(progressed):
        if progressed.done > 30:
            raise Stopped("enough")

    with pytest.raises(Stopped, match="run again to go on"), watched(stop):
        lk.train_sparse(SPEC, [0, 1], root=tmp_path / "parts")
    parts = list((tmp_path / "parts").glob("*/checkpoint.safetensors"))
    assert parts and watching() is None
    runs = [lk.train_sparse(SPEC, [0, 1], root=tmp_path / root) for root in ("parts", "whole")]
    for mine, theirs in zip(*(run.networks.folders for run in runs), strict=True):
        one, other = (tensor_files.read(folder.path / "run.safetensors")[0] for folder in (mine, theirs))
        assert one.keys() == other.keys() and "history/moves/bytes" in one
        assert all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)


def test_what_is_watched_is_saved_for_others_to_follow(runs):
    found = []

    def look(progressed):
        found.extend(runs.glob("*/checkpoint.safetensors"))

    with watched(look, saved_every=0.0):
        lk.train_sparse(SPEC, [0])
    assert found and not list(runs.glob("*/checkpoint.safetensors"))


def test_an_error_of_a_watch_ends_the_work_and_what_was_done_is_saved(runs):
    def fail(progressed):
        if progressed.done > 20:
            raise OSError("the window is gone")

    with pytest.raises(OSError, match="the window is gone"), watched(fail):
        lk.train_sparse(SPEC, [0])
    assert list(runs.glob("*/checkpoint.safetensors"))
