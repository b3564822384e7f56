import errno
import json
import multiprocessing as mp
import time

import pytest
import torch

from labkit.ground import tensor_files
from labkit.runs.folders import RunFolder, runs_folder, scan
from labkit.sparsity.masks import pack_states, unpack_states


def test_a_run_is_named_by_what_it_is(runs):
    one, two = RunFolder({"a": 1}), RunFolder({"a": 2})
    assert one.path.parent == runs == runs_folder() and one.hash != two.hash
    assert RunFolder({"a": 1}).hash == one.hash


def test_runs_folder_is_the_checkouts_or_here(tmp_path, monkeypatch):
    monkeypatch.delenv("LABKIT_RUNS")
    monkeypatch.chdir(tmp_path)
    assert runs_folder() == tmp_path / "runs"


def test_result_is_written_last_and_its_presence_means_done():
    run = RunFolder({"a": 1, "spec": {"model": "m"}})
    with run.lock():
        run.write_tensors("checkpoint", {"x": torch.ones(2)})
        assert not run.done() and run.checkpoint()["x"].tolist() == [1, 1]
        run.finish(
            [{"iteration": 0, "loss": None}, {"iteration": 5, "loss": 0.5}],
            {"level": 0, "spec": {"data": {"name": "digits"}}, "replicates": [{"seed": 3}, {"seed": 4}]},
        )
    assert run.done() and run.checkpoint() is None
    assert run.metrics()["loss"].isna().tolist() == [True, False]
    about = {"run": run.hash, "level": 0, "spec.data.name": "digits"}
    assert scan().to_dict("records") == [{**about, "seed": 3}, {**about, "seed": 4}]
    assert not list(run.path.glob("*.part"))


def test_unwritable_runs_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot write to the run folder .*LABKIT_RUNS"), RunFolder({}).lock():
        raise AssertionError("must not come this far")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    tensor_files.write(path, {"x": torch.ones(1)})

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_files.os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*No space left on device; what it held before is kept"):
        tensor_files.write(path, {"x": torch.zeros(1)})
    assert tensor_files.read(path)[0]["x"].item() == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_damaged_checkpoint_means_starting_anew():
    run = RunFolder({"a": 1})
    with run.lock():
        run.write_tensors("checkpoint", {"x": torch.ones(1000)})
    path = run.path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged or cut short.*starts again from its beginning"):
        assert run.checkpoint() is None
    assert run.checkpoint() is None and (run.path / "checkpoint.damaged").exists()


def test_a_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "x.safetensors"
    tensor_files.write(path, {"x": torch.arange(100.0)}, {"seed": 1})
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not have the SHA-256"):
        tensor_files.read(path)


def test_packed_states_take_the_room_of_the_survivors():
    states = {"w": torch.randn(3, 100, 50), "b": torch.randn(3, 100)}
    mask = {"w": torch.rand(3, 100, 50) < 0.1}
    states["w"][~mask["w"]] = 0
    packed = pack_states(states, mask)
    back, masks = unpack_states(packed)
    assert all(torch.equal(back[name], states[name]) for name in states) and torch.equal(masks["w"], mask["w"])
    assert sum(t.numel() * t.element_size() for t in packed.values()) < 0.2 * states["w"].numel() * 4
    packed["kept/w"] = packed["kept/w"][1:]
    with pytest.raises(ValueError, match="do not fit a mask"):
        unpack_states(packed)


def _compute(root, barrier, log):
    run = RunFolder({"a": 1}, root)
    barrier.wait()
    with run.lock():
        if not run.done():
            time.sleep(0.5)
            with open(log, "a") as file:
                file.write("computed\n")
            run.finish([], {"by": 1})
    json.loads((run.path / "result.json").read_text())


def test_of_two_processes_one_computes(tmp_path):
    context = mp.get_context("spawn")
    barrier = context.Barrier(2)
    log = tmp_path / "log"
    both = [context.Process(target=_compute, args=(tmp_path, barrier, log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    assert log.read_text() == "computed\n"
