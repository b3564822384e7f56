"""Training throughput of LeNet-300-100, batch 60, Adam, masked: labkit beside a plain PyTorch loop, in one run.

    python benchmarks/throughput.py [--data mnist] [--density 0.2] [--rounds 3]

The plain loop is of the kind found in the field: a DataLoader over PIL images, torchvision transforms,
`torch.nn.utils.prune` masks, `torch.optim.Adam`. Rows are replica-iterations per second (networks x iterations / time,
the median of the rounds, all configurations taking turns) and their ratio to the plain loop's; memory is the peak of a
process of its own with its workers.
"""

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn.utils import prune
from torchvision import transforms

from labkit import data, models
from labkit.runs import provenance
from labkit.specs.networks import TrainSpec
from labkit.training.crew import train
from labkit.training.engines.door import canonical
from labkit.training.engines.stepping import Stepping
from labkit.training.history import Record
from labkit.training.loop import Training, evaluation_points

BATCH, EVERY = 60, 100
PLAIN_ITERATIONS, ITERATIONS = 300, {1: 3000, 5: 1000, 20: 400}


def load(name: str) -> data.DataSet:
    return data.load(name, shape=(1, 28, 28))


def start(replicates: int, density: float):
    """State and masks of each network."""
    rng, names = torch.Generator().manual_seed(0), models.prunable(models.build("lenet_300_100"))
    for n in range(replicates):
        state = models.initial_state("lenet_300_100", {}, "glorot_normal", n, "init")
        yield state, {name: torch.rand(state[name].shape, generator=rng) < density for name in names}


class Plain:
    """One network, trained as tutorials do it."""

    def __init__(self, dataset: data.DataSet, density: float):
        normalise = transforms.Normalize(float(-dataset.shift / dataset.scale / 255), float(1 / dataset.scale / 255))
        transform = transforms.Compose([transforms.ToTensor(), normalise])
        self.loaders = {
            split: torch.utils.data.DataLoader(
                Images(dataset, split, transform),
                batch_size=BATCH if split == "train" else 1000,
                shuffle=split == "train",
            )
            for split in dataset.images
        }
        self.model = models.build("lenet_300_100")
        _, masks = next(start(1, density))
        for name, mask in masks.items():
            prune.custom_from_mask(self.model.get_submodule(name.removesuffix(".weight")), "weight", mask)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1.2e-3)
        self.batches = iter(self.loaders["train"])
        self.losses = 0.0

    def run(self, iterations: int, every: int | None) -> None:
        for step in range(1, iterations + 1):
            try:
                inputs, labels = next(self.batches)
            except StopIteration:
                self.batches = iter(self.loaders["train"])
                inputs, labels = next(self.batches)
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            self.losses += loss.item()
            if every and step % every == 0:
                for split in ("validation", "test"):
                    self.evaluate(split)

    @torch.no_grad()
    def evaluate(self, split: str) -> tuple[float, float]:
        loss, correct = 0.0, 0
        for inputs, labels in self.loaders[split]:
            logits = self.model(inputs)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += (logits.argmax(1) == labels).sum().item()
        size = len(self.loaders[split].dataset)
        return loss / size, correct / size


class Images(torch.utils.data.Dataset):
    """A data set as torchvision's classes serve it: a PIL image at a time."""

    def __init__(self, dataset: data.DataSet, split: str, transform):
        self.images, self.labels, self.transform = dataset.images[split], dataset.labels[split], transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        image, label = self.images[index, 0], int(self.labels[index])
        return self.transform(Image.fromarray(image.numpy())), label


def ours(dataset: data.DataSet, replicates: int, density: float, evaluate: bool) -> float:
    iterations = ITERATIONS[replicates]
    if not evaluate:  # the run still looks at its first and last step: let that cost nothing
        few = {name: images[: 10 if name != "train" else None] for name, images in dataset.images.items()}
        labels = {name: found[: len(few[name])] for name, found in dataset.labels.items()}
        dataset = replace(dataset, images=few, labels=labels)
    spec = TrainSpec(
        duration=f"{iterations}it", evaluate_every=f"{EVERY if evaluate else iterations}it", batch_size=BATCH
    )
    engine, trainings = Stepping(lambda: models.build("lenet_300_100"), dataset, spec), []
    points = evaluation_points(0, iterations, EVERY if evaluate else iterations)
    for n, (state, masks) in enumerate(start(replicates, density)):
        engine.put(n, canonical(state, masks), n, 0)
        trainings.append(Training(engine, n, n, Record(0, iterations, points, 0, len(masks)), iterations))
    began = time.perf_counter()
    train(engine, trainings)
    return replicates * iterations / (time.perf_counter() - began)


def plain(network: Plain, evaluate: bool) -> float:
    began = time.perf_counter()
    network.run(PLAIN_ITERATIONS, EVERY if evaluate else None)
    return PLAIN_ITERATIONS / (time.perf_counter() - began)


def peak_memory(arguments: list[str]) -> str:
    """Peak memory of a process of its own and its workers, PyTorch included, in GB: what they share is counted once."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, proportional(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return f"{peak / 1e6:.2f}"


def proportional(process: int) -> float:
    """Proportional set size of a process and its children, in kB (Linux)."""
    folder = Path(f"/proc/{process}")
    try:
        children = (folder / f"task/{process}/children").read_text().split()
        sizes = [line.split()[1] for line in (folder / "smaps_rollup").read_text().splitlines() if line[:4] == "Pss:"]
    except (OSError, ProcessLookupError):
        return 0.0
    return float(sizes[0]) + sum(proportional(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--density", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dataset = load(arguments.data)
    if arguments.memory_of is not None:
        if arguments.memory_of:
            ours(dataset, arguments.memory_of, arguments.density, evaluate=True)
        else:
            Plain(dataset, arguments.density).run(PLAIN_ITERATIONS, EVERY)
        return
    print(f"{provenance.describe()}\n{dataset}, density {arguments.density}, batch {BATCH}, evaluation every {EVERY}")
    network = Plain(dataset, arguments.density)
    network.run(20, None)
    rates: dict[tuple[int, bool], list[float]] = {}
    for _ in range(arguments.rounds):
        for evaluate in (False, True):
            rates.setdefault((0, evaluate), []).append(plain(network, evaluate))
            for replicates in ITERATIONS:
                rate = ours(dataset, replicates, arguments.density, evaluate)
                rates.setdefault((replicates, evaluate), []).append(rate)
    median = {key: statistics.median(values) for key, values in rates.items()}
    print("replica-iterations/s    without evaluation    with evaluation    peak memory, GB")
    for replicates in (0, *ITERATIONS):
        cells = [f"{median[replicates, e]:8.0f} {median[replicates, e] / median[0, e]:6.1f}x" for e in (False, True)]
        memory = peak_memory(["--data", arguments.data, "--memory-of", str(replicates)])
        name = f"labkit, {replicates} networks" if replicates else "plain loop, 1 network"
        print(f"{name:22} {cells[0]:>19} {cells[1]:>18} {memory:>18}")


if __name__ == "__main__":
    main()
