"""Kill -9 at a random moment, run again: bit for bit what an uninterrupted run gives."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from labkit import tensorfiles

SCRIPT = """
import sys
import labkit as lk, labkit.training as training
training.CHECKPOINT_SECONDS = 0.1
spec = lk.TicketSpec(
    train=lk.TrainSpec(duration="300it", evaluate_every="50it"),
    prune=lk.PruneSpec(output_rate=0.1, levels=2), rewind="20it",
)
print("started", flush=True)
lk.find_tickets(spec, [0, 1, 2])
"""


def start(root):
    environment = {**os.environ, "LABKIT_RUNS": str(root), "LABKIT_PROGRESS": "off"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    process.stdout.close()
    return process


def content(root):
    """Everything that must not depend on how often a run was interrupted."""
    found = {}
    for path in sorted(root.glob("*/*.safetensors")):
        for name, tensor in tensorfiles.read(path)[0].items():
            found[f"{path.parent.name}/{path.stem}/{name}"] = tensor
    metrics = {path.parent.name: path.read_text() for path in sorted(root.glob("*/metrics.jsonl"))}
    return found, metrics


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    process = start(root)
    began = time.monotonic()
    assert process.wait(300) == 0
    return root, time.monotonic() - began


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_and_resumed_is_bitwise_equal(uninterrupted, tmp_path, seed):
    whole, seconds = uninterrupted
    rng = random.Random(seed)
    kills = 0
    for part in (rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.5)):
        process = start(tmp_path)
        time.sleep(part * seconds)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills, "the run was killed at least once"
    assert list(tmp_path.glob("*/checkpoint.safetensors")) or not list(tmp_path.glob("*/result.json"))[2:]
    process = start(tmp_path)
    assert process.wait(300) == 0
    tensors, metrics = content(tmp_path)
    expected_tensors, expected_metrics = content(whole)
    assert metrics == expected_metrics and set(tensors) == set(expected_tensors)
    for name, tensor in expected_tensors.items():
        assert torch.equal(tensors[name], tensor), name
