"""Kill -9 at a random moment, run again: bit for bit what an uninterrupted run gives."""

import math
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

import labkit as lk
from labkit.ground import tensor_files
from tests.conftest import finished as finished_runs
from tests.networks import Failing

SCRIPT = """
import sys
import labkit as lk, labkit.runs.task as task
task.CHECKPOINT_SECONDS = 0.5
own = dict(
    model="tests.networks:" + sys.argv[1],
    train=lk.TrainSpec(
        duration="250it", evaluate_every="50it", optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=1e-4,
        lr_warmup="100it", lr_drops=["0.5run"], augment="crop_flip",
    ),
)
sparse = lk.SparseSpec(
    train=lk.TrainSpec(duration="700it", evaluate_every="50it", optimizer="sgd", lr=0.05, momentum=0.9),
    topology=lk.TopologySpec(method="rigl_sm", density=0.2, every="7it", allocation="erk"),
)
spec = lk.TicketSpec(
    **(own if sys.argv[1] in ("Noisy", "Plain") else dict(train=lk.TrainSpec(duration="350it", evaluate_every="50it"))),
    prune=lk.PruneSpec(output_rate=0.1, levels=2), rewind="20it",
)
def carry():
    from dataclasses import replace
    from labkit.studies.transfer_study import Route, study_transfer
    here = replace(spec, prune=lk.PruneSpec(output_rate=0.0, levels=2), train=replace(spec.train, batch_size=25))
    there = {"digits": here, "photos": replace(here, data=lk.DataSpec("photos"))}
    study_transfer(there, [Route("digits", "photos"), Route("photos", "digits", {"carried": [0, 2]})], [0, 1])
print("started", flush=True)
if sys.argv[1] == "sparse":
    lk.train_sparse(sparse, [0, 1, 2])
elif sys.argv[1] == "transfer":
    carry()
else:
    lk.find_tickets(spec, [0, 1, 2])
"""


def start(root, network):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LABKIT_RUNS": str(root),
        "LABKIT_PROGRESS": "off",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, network], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "started\n"
    process.stdout.close()
    return process


def content(root):
    """Everything that must not depend on how often a run was interrupted."""
    return {
        f"{path.parent.name}/{path.stem}/{name}": tensor
        for path in sorted(root.glob("*/*.safetensors"))
        for name, tensor in tensor_files.read(path)[0].items()
    }


@pytest.fixture(scope="module", params=["lenet", "Noisy", "Plain", "sparse", "transfer"])
def uninterrupted(tmp_path_factory, request):
    root = tmp_path_factory.mktemp("whole")
    process = start(root, request.param)
    began = time.monotonic()
    assert process.wait(300) == 0
    return root, time.monotonic() - began, request.param


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_and_resumed_is_bitwise_equal(uninterrupted, tmp_path, seed):
    """The noisy network has batch norm, dropout, augmentation, momentum and a schedule, and runs captured and plain
    steps; the sparse one has moving masks; a transfer carries what was there before it was killed."""
    whole, seconds, network = uninterrupted
    moment, all_done = random.Random(seed).uniform(0.15, 0.7) * seconds, len(finished_runs(whole))
    for attempt in range(8):
        root = tmp_path / str(attempt)
        process = start(root, network)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if len(finished_runs(root)) < all_done:
            break
        moment /= 2  # the machine has become faster than it was, or little is left to do but to end the process
    assert len(finished_runs(root)) < all_done, "it was killed on its way"
    process = start(root, network)
    assert process.wait(300) == 0
    tensors, expected = content(root), content(whole)
    assert set(tensors) == set(expected) and not list(root.glob("*/checkpoint.safetensors"))
    for name, tensor in expected.items():
        assert torch.equal(tensors[name].nan_to_num(), tensor.nan_to_num()), name


@pytest.mark.parametrize(("began", "then"), [(2, 1), (1, 2)], ids=["on fewer cores", "on more cores"])
def test_a_run_goes_on_with_the_kernel_threads_that_it_began_with(runs, tmp_path, monkeypatch, began, then):
    monkeypatch.setattr("labkit.runs.task.CHECKPOINT_SECONDS", 0.0)
    spec = lk.TicketSpec(
        "tests.networks:Failing", train=lk.TrainSpec(duration="60it", evaluate_every="20it"), prune={"levels": 0}
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(began)
        whole = lk.find_tickets(spec, [0], root=tmp_path / "whole").runs[0]
        Failing.steps_left = 43
        with pytest.raises(RuntimeError, match="a fault"):
            lk.find_tickets(spec, [0])
        assert list(runs.glob("*/checkpoint.safetensors"))
        torch.set_num_threads(then)
        resumed = lk.find_tickets(spec, [0]).runs[0]
        assert torch.get_num_threads() == then, "the caller's are as they were"
    finally:
        Failing.steps_left = math.inf
        torch.set_num_threads(before)
    assert whole.results[0]["threads"] == resumed.results[0]["threads"] == began
    for mine, theirs in zip(resumed.final(), whole.final(), strict=True):
        assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())
    assert resumed.metrics().equals(whole.metrics())
