"""Training steps a second of convolutional networks: labkit beside plain PyTorch, in one run, on a CPU or a GPU.

    python benchmarks/networks.py [--networks conv_2 resnet20] [--data cifar10] [--seconds 10] [--precision float32]

For each network, taking turns: labkit with one and with several replicates; a plain eager loop on data in memory (its
compute alone: forward, backward, optimiser); and the plain loop of the field, which adds a DataLoader over PIL images
with torchvision transforms. All train without evaluation: the dense networks of the LTH's protocol, and WRN-22-2, dense
in the plain loops, by RigL (ERK, density 0.1, an update every 100 steps) in labkit. The last columns: the share of the
machine's own matrix-product rate (measured here, in the same precision) that labkit's step reaches, and what RigL's
updates add to the training time.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from labkit import data, models
from labkit.ground.device import device, precision
from labkit.ground.randomness import generator
from labkit.models import inspection
from labkit.runs import provenance
from labkit.sparsity import allocation
from labkit.specs.networks import TrainSpec
from labkit.specs.sparse import TopologySpec
from labkit.studies.sparse_training import masked_counts
from labkit.training.crew import train
from labkit.training.engines.door import canonical
from labkit.training.engines.kernels import accelerate
from labkit.training.engines.stepping import Stepping
from labkit.training.history import Record
from labkit.training.loop import Training
from labkit.training.mask_updates import Dynamics

SGD = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "augment": "crop_flip"}
ADAM = {"optimizer": "adam", "lr": 3e-4}
NETWORKS = {
    "conv_2": {"batch_size": 60, **ADAM},
    "conv_4": {"batch_size": 60, **ADAM},
    "conv_6": {"batch_size": 60, **ADAM},
    "vgg19": {"batch_size": 64, **SGD},
    "resnet20": {"batch_size": 128, **SGD},
    "wrn_22_2": {"batch_size": 128, **SGD, "lr": 0.1, "nesterov": True, "augment": "reflect_crop_flip"},
}
TOPOLOGIES = {"wrn_22_2": TopologySpec("rigl", 0.1, "erk", every="100it")}
WHERE = device()


def wait() -> None:
    if WHERE.type == "cuda":
        torch.cuda.synchronize()


def timed(work, least: float) -> float:
    """Calls of `work` a second, over at least so many seconds, after a first call."""
    work()
    wait()
    began, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - began < least:
        work()
        calls += 1
        if calls % 10 == 0:
            wait()
    wait()
    return calls / (time.perf_counter() - began)


class Labkit:
    def __init__(self, name: str, dataset: data.DataSet, spec: TrainSpec, replicates: int):
        self.name, self.spec, self.replicates = name, spec, replicates
        self.dataset = dataset.barely_evaluated().to(WHERE)

    def trainings(self, steps: int) -> tuple[Stepping, list[Training]]:
        spec = replace(self.spec, duration=f"{steps}it", evaluate_every=f"{steps}it")
        topology, dynamics, counts = TOPOLOGIES.get(self.name), None, {}
        shapes = {name: layer.shape for name, layer in inspection.layers(models.build(self.name)).items()}
        if topology:
            counts = masked_counts(topology, shapes)
            dynamics = Dynamics(topology, spec.clock(self.dataset.size("train")))
        engine = Stepping(lambda: models.build(self.name), self.dataset, spec, WHERE, dynamic=dynamics is not None)
        found = []
        for n in range(self.replicates):
            state = models.initial_state(self.name, {}, "glorot_normal", n, "init")
            drawn = allocation.draw(shapes, counts, generator(n, "masks")) if topology else {}
            engine.put(n, canonical(state, drawn), n, 0)
            updates = len(dynamics.moments) if dynamics else 0
            record = Record(0, steps, [0, steps], updates, len(drawn))
            found.append(Training(engine, n, n, record, steps, dynamics=dynamics))
        for training in found:  # steps, and graphs of a GPU, are captured at the first
            training.work()
        wait()
        return engine, found

    def rate(self, steps: int) -> float:
        engine, trainings = self.trainings(steps)
        done = sum(training.record.step for training in trainings)
        began = time.perf_counter()
        train(engine, trainings)
        wait()
        return (steps * self.replicates - done) / (time.perf_counter() - began)

    def updating(self) -> float | None:
        """The share of training time that mask updates add to the steps whose place they take."""
        topology = TOPOLOGIES.get(self.name)
        if topology is None:
            return None
        engine, (training, *_) = self.trainings(1000)

        def change() -> None:
            view = engine.gradients(0)
            engine.rewire(0, training.dynamics.moved(view, 99, 0))
            engine.settle(0)

        def go_on() -> None:
            engine.advance(0, engine.settle(0).step + 1)

        update, step = 1 / timed(change, 5.0), 1 / timed(go_on, 5.0)
        return max(0.0, update - step) / (99 * step + update)


class Plain:
    def __init__(self, name: str, dataset: data.DataSet, spec: TrainSpec):
        self.model, self.spec = models.build(name).to(WHERE), spec
        weights = list(self.model.parameters())
        if spec.optimizer == "adam":
            self.optimizer = torch.optim.Adam(weights, lr=spec.lr)
        else:
            self.optimizer = torch.optim.SGD(
                weights, lr=spec.lr, momentum=spec.momentum, weight_decay=1e-4, nesterov=spec.nesterov
            )
        self.inputs, self.labels = (t.to(WHERE) for t in dataset.inputs("train", slice(0, spec.batch_size)))
        shape = dataset.images["train"].shape[-1]
        steps = [transforms.RandomCrop(shape, 4), transforms.RandomHorizontalFlip()] if spec.augment != "none" else []
        channels = dataset.images["train"].shape[1]
        normalise = transforms.Normalize((0.5,) * channels, (0.25,) * channels)
        images = Images(dataset, transforms.Compose([*steps, transforms.ToTensor(), normalise]))
        workers = 4 if WHERE.type == "cuda" else 0
        self.loader = torch.utils.data.DataLoader(
            images, spec.batch_size, shuffle=True, num_workers=workers, pin_memory=WHERE.type == "cuda"
        )
        self.batches = iter(self.loader)

    def compute(self) -> None:
        self._step(self.inputs, self.labels)

    def loop(self) -> None:
        try:
            inputs, labels = next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            inputs, labels = next(self.batches)
        self._step(inputs.to(WHERE, non_blocking=True), labels.to(WHERE, non_blocking=True)).item()

    def _step(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with precision(self.spec.precision, WHERE):
            loss = nn.functional.cross_entropy(self.model(inputs), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def flops(self) -> int:
        with FlopCounterMode(display=False) as counter:
            nn.functional.cross_entropy(self.model(self.inputs), self.labels).backward()
        return counter.get_total_flops()


class Images(torch.utils.data.Dataset):
    """A data set as torchvision's classes serve it: a PIL image at a time."""

    def __init__(self, dataset: data.DataSet, transform):
        self.images, self.labels = dataset.images["train"], dataset.labels["train"]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        image = Image.fromarray(self.images[index].permute(1, 2, 0).squeeze(-1).numpy())
        return self.transform(image), int(self.labels[index])


def ceiling(name: str) -> float:
    """FLOP/s of a large matrix product, two FLOPs a multiplication and addition."""
    size = 8192 if WHERE.type == "cuda" else 2048
    inputs = torch.randn(size, size, device=WHERE)
    product = accelerate(nn.Linear(size, size, bias=False)).to(WHERE).requires_grad_(False)
    with precision(name, WHERE):
        return 2 * size**3 * timed(lambda: product(inputs), 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--seconds", type=float, default=10.0, help="about so long for each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--replicates", type=int, default=2, help="of the population beside the single network")
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    print(provenance.describe(WHERE))
    peak = ceiling(arguments.precision)
    print(f"matrix products, {arguments.precision}: {peak / 1e9:,.0f} GFLOP/s")
    names = ("plain loop", "plain compute", "labkit, 1", f"labkit, {arguments.replicates}")
    print(
        f"{'replica-steps/s':16}"
        + "".join(f"{name:>24}" for name in names)
        + f"{'of the ceiling':>16}{'mask updates':>14}"
    )
    for name in arguments.networks:
        spec = TrainSpec(**NETWORKS[name], precision=arguments.precision)
        dataset = data.load(arguments.data, shape=models.build(name).input_shape)
        plain = Plain(name, dataset, spec)
        single, several = (Labkit(name, dataset, spec, n) for n in (1, arguments.replicates))
        rates: dict[str, list[float]] = {column: [] for column in names}
        steps = max(8, int(arguments.seconds * timed(plain.compute, 1.0)))
        for _ in range(arguments.rounds):
            measured = (timed(plain.loop, arguments.seconds), timed(plain.compute, arguments.seconds),
                        single.rate(steps), several.rate(max(4, steps // arguments.replicates)))  # fmt: skip
            for column, rate in zip(names, measured, strict=True):
                rates[column].append(rate)
        median = {column: statistics.median(found) for column, found in rates.items()}
        cells = [f"{median[column]:10.2f} ({median[column] / median['plain loop']:5.2f}x)" for column in names]
        best = max(median[names[2]], median[names[3]])
        share = best * plain.flops() / peak
        updates = single.updating()
        told = "" if updates is None else f"{updates:>14.2%}"
        print(f"{name:16}" + "".join(f"{cell:>24}" for cell in cells) + f"{share:>16.0%}{told}", flush=True)


if __name__ == "__main__":
    main()
