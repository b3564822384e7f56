import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import labkit as lk
from labkit import data, models
from tests.trainings import stacked_states

os.environ["LABKIT_PROGRESS"] = "off"
beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))  # processes that test at the same time
torch.set_num_threads(int(os.environ.get("KERNEL_THREADS", max(1, min(2, (os.cpu_count() or 1) // beside)))))


@pytest.fixture(params=[1, 2, 8])
def kernel_threads(request):
    """The test runs with one, two and eight kernel threads, whatever the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def one_thread():
    """The test runs with one kernel thread: rounding differs with their number, which engines and devices choose."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """Every test has a runs folder of its own."""
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def digits():
    return data.load("digits", shape=(1, 28, 28))


@pytest.fixture(scope="session")
def digits_in_colour():
    """A batch of 32 as the convolutional networks take it: inputs and labels."""
    return data.load("digits", shape=(3, 32, 32)).inputs("train", slice(0, 32))


@pytest.fixture(scope="session")
def real_data_folder(tmp_path_factory):
    """The folder of real data sets: the user's, or unpacked from development copies beside the project."""
    if (data.folder() / "mnist.safetensors").exists():
        return data.folder()
    unpack = Path(__file__).parents[2] / "shared" / "tools" / "unpack_data.py"
    if not unpack.exists():
        pytest.skip(f"no mnist.safetensors in {data.folder()}, and no development copy beside the project")
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, str(unpack), str(folder), "mnist"], check=True, capture_output=True)
    return folder


@pytest.fixture
def real_data(real_data_folder, monkeypatch):
    """Real MNIST; tests that want it are skipped where there is none."""
    monkeypatch.setenv("LABKIT_DATA", str(real_data_folder))
    return real_data_folder


def small_spec(levels=2, duration="60it", **changes):
    """A ticket search of a second or two."""
    train = lk.TrainSpec(duration=duration, evaluate_every="20it", **changes.pop("train", {}))
    return lk.TicketSpec(train=train, prune=lk.PruneSpec(output_rate=0.1, levels=levels), **changes)


def lenet_states(replicates=1, seed=0):
    return stacked_states("lenet_300_100", {}, "glorot_normal", range(seed, seed + replicates))


def lenet():
    return models.build("lenet_300_100")


def random_masks(states, density, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.rand(states[name].shape, generator=rng) < density for name in models.prunable(lenet())}


def finished(root):
    """The finished runs in a folder: name -> when it was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("*/run.safetensors")}
