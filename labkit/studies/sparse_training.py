"""Sparse training from the start: one run of a population under a topology, and the runs that begin with its masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from labkit import models
from labkit.ground.names import fraction, number, shown
from labkit.ground.randomness import generator
from labkit.ground.steps import Step
from labkit.runs.experiment import Experiment
from labkit.runs.run import Run, Start
from labkit.runs.scheduler import checked_seeds, compute_all
from labkit.sparsity import allocation, flops
from labkit.sparsity.masks import Masks
from labkit.specs.base import nested
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.training.history import HISTORY


@dataclass(frozen=True)
class SparseRun:
    """A finished run of sparse training.

    Attributes:
        run: as it lies in its folder.
        experiment: what it was computed by.
        prior: training FLOPs of the run that its masks come from, a mean over its seeds, in those of a dense run of
            the same length (0 if masks were drawn).
    """

    run: Run
    experiment: Experiment
    prior: float = 0.0

    @property
    def spec(self) -> SparseSpec:
        """What was run."""
        return self.experiment.spec

    def metrics(self) -> pd.DataFrame:
        """One row an evaluation: seed, iteration, losses and accuracies; branch is the method."""
        return self.run.metrics()

    def ends(self) -> pd.DataFrame:
        """The last evaluation of each network, one row a seed; of one that diverged all numbers are NaN."""
        last = self.metrics().groupby("seed", sort=False).tail(1)
        return last.assign(**{name: last[name].where(~last["diverged"]) for name in HISTORY if name in last})

    def densities(self) -> pd.DataFrame:
        """Active weights as masks changed: seed, step (updates done before it), layer, kept, size."""
        masked = self.run.final()[1]
        if not masked:
            return pd.DataFrame(columns=["seed", "step", "layer", "kept", "size"])
        found = self.run.folder.read_tensors("topology")
        layers = [name for name in self.experiment.prunable if name in masked]
        steps = [int(found["steps"][0]), *(int(step) + 1 for step in found["steps"][1:])]
        return pd.DataFrame(
            [
                {"seed": seed, "step": step, "layer": layer, "kept": int(kept), "size": self.experiment.sizes[layer]}
                for n, seed in enumerate(self.run.seeds)
                for step, row in zip(steps, found["kept"][n].tolist(), strict=True)
                for layer, kept in zip(layers, row, strict=True)
            ]
        )

    def inference_flops(self) -> pd.DataFrame:
        """Inference FLOPs as masks changed, in those of the dense network: seed, step, ratio."""
        layers, rows = self.experiment.layers, []
        dense = flops.inference(layers)
        for (seed, step), part in self.densities().groupby(["seed", "step"]):
            density = dict(zip(part["layer"], part["kept"] / part["size"], strict=True))
            rows.append({"seed": seed, "step": step, "ratio": flops.inference(layers, density) / dense})
        if not rows:  # no masks
            rows = [{"seed": seed, "step": 0, "ratio": 1.0} for seed in self.run.seeds]
        return pd.DataFrame(rows)

    def test_flops(self) -> float:
        """Inference FLOPs at the end, in those of the dense network; mean over seeds."""
        table = self.inference_flops()
        return float(table[table["step"] == table["step"].max()]["ratio"].mean())

    def train_flops(self, iterations: int | None = None) -> float:
        """Training FLOPs in those of a dense run of `iterations` (default: this run's own), its prior run included.

        By the method's rule (`labkit.sparsity.flops.training`), following the masks as they changed; mean over seeds.
        """
        total, topology = self.experiment.iterations, self.spec.topology
        every = self.experiment.clock.iterations(topology.every)
        found = []
        for _, part in self.inference_flops().groupby("seed"):
            ends = [*part["step"].tolist()[1:], total]
            spans = [end - begin for begin, end in zip(part["step"], ends, strict=True)]
            sparse = flops.mean(part["ratio"], spans)
            found.append(flops.training(topology.row.flops, sparse, 1.0, every) / 3)
        scale = total / (iterations or total)
        return self.prior + scale * sum(found) / len(found)

    def final_masks(self) -> Masks:
        """Stacked masks after training."""
        return self.run.final()[1]

    def __repr__(self) -> str:
        topology = self.spec.topology
        return f"SparseRun({topology.method}, density {topology.density:g}, seeds {self.run.seeds})"


def train_sparse(
    spec: SparseSpec, seeds: Iterable[int], *, masks_of: SparseRun | None = None, root: Path | None = None
) -> SparseRun:
    """Train sparse networks from the start, one a seed, all as one population.

    Args:
        spec: the experiment.
        seeds: one a network; masks, initialisation, batches and growth are drawn from it.
        masks_of: start with the final masks of this run, on a fresh initialisation of the same seeds, instead of
            drawing masks by the spec's allocation. With a gradual run this is the "Lottery" of the RigL reproduction.
        root: folder of the runs; default `labkit.runs.folders.runs_folder()`.

    Raises:
        ValueError: for a spec, seeds or a run that do not fit, before any training.
        OSError: if the run folder cannot be written.
    """
    spec, seeds = nested("spec", spec, kind=SparseSpec), checked_seeds(seeds)
    if not (masks_of is None or isinstance(masks_of, SparseRun)):
        raise ValueError(f"masks_of is {shown(masks_of)}: it must be what train_sparse gave")
    experiment = Experiment(spec, root)
    branch = spec.topology.method
    prior = 0.0
    if masks_of is None and spec.topology.row.masks in ("fixed", "moving"):
        _masked_counts(spec.topology, experiment.shapes)
    if masks_of is not None:
        if not set(seeds) <= set(masks_of.run.seeds) or masks_of.experiment.shapes != experiment.shapes:
            raise ValueError(f"{masks_of} cannot give its masks to seeds {seeds} of another network or other seeds")
        if spec.topology.row.masks in ("none", "pruned"):
            raise ValueError(f'a run with given masks is "static" or dynamic, not {spec.topology.method!r}')
        branch = f"{branch}, final masks of {masks_of.run.folder.hash}"
        if masks_of.spec.topology.row.masks == "pruned":
            prior = masks_of.train_flops(experiment.iterations)
    run = Run(experiment.folder(0, branch, seeds, source=masks_of.run.folder if masks_of else None), branch, 0)
    replicates = [(seed, 0) for seed in seeds]

    def start(level: int) -> Start:
        states = experiment.initial(replicates, "init")
        if masks_of is None:
            return Start(states, initial_masks(spec.topology, experiment.shapes, seeds), replicates)
        given = masks_of.final_masks()
        positions = [masks_of.run.seeds.index(seed) for seed in seeds]
        layers = [name for name in experiment.prunable if name in given]
        return Start(states, {name: given[name][positions] for name in layers}, replicates)

    compute_all(experiment, {0: run}, start, lambda level: 0, f"{spec.topology.method} networks")
    return SparseRun(run, experiment, prior)


def initial_masks(topology: TopologySpec, shapes: Mapping[str, tuple[int, ...]], seeds: Sequence[int]) -> Masks:
    """The masks that networks of these seeds begin with, stacked; a dense network has none.

    Args:
        topology: method, density and allocation.
        shapes: of the prunable weights.
        seeds: one a network; its masks are drawn from it.
    """
    if topology.row.masks == "none":
        return {}
    if topology.row.masks == "pruned":
        return {name: torch.ones(len(seeds), *shape, dtype=torch.bool) for name, shape in shapes.items()}
    counts = _masked_counts(topology, shapes)
    drawn = [allocation.draw(shapes, counts, generator(seed, "masks")) for seed in seeds]
    return {name: torch.stack([masks[name] for masks in drawn]) for name in counts}


def _masked_counts(topology: TopologySpec, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Weights that are active in each layer that has a mask.

    Raises:
        ValueError: if the layers cannot have that density, or none would have a mask.
    """
    densities = allocation.allocate(topology.allocation, shapes, topology.density)
    if topology.allocation == "uniform":
        densities = {name: density for name, density in densities.items() if density < 1}  # dense, and stays so
    if not densities and topology.density < 1:
        raise ValueError(
            f"allocation 'uniform' leaves the first layer dense, and the network has no other: at density "
            f"{topology.density:g} it would have no masks; take 'er' or 'erk'"
        )
    return allocation.counts(shapes, densities)


def longer(spec: SparseSpec, times: float) -> SparseSpec:
    """The same experiment trained so many times as long: duration, learning-rate drops and the last update scale.

    `every` and the drop fraction do not (Evci et al. 2020). Evaluations keep their distance.

    Raises:
        ValueError: if `times` is not positive.
    """
    times = number("times", times, most=1e6)

    def scaled(moment: str) -> str:
        step = Step.parse(moment)
        return moment if step.unit == "run" else str(replace(step, amount=step.amount * times))

    train, topology = spec.train, spec.topology
    return replace(
        spec,
        train=replace(train, duration=scaled(train.duration), lr_drops=tuple(map(scaled, train.lr_drops))),
        topology=replace(topology, begin=scaled(topology.begin), until=scaled(topology.until)),
    )


def small_dense(spec: SparseSpec, density: float) -> SparseSpec:
    """The dense network of the same architecture whose width gives nearest to `density` times the parameters.

    Raises:
        ValueError: if the model has no `width`, or the density is out of range.
    """
    density = fraction("density", density, one=True)
    options = dict(spec.model_options)
    full = _parameters(spec.model, options)
    low, high = 0.0, float(options.get("width", 1.0))
    for _ in range(40):
        middle = (low + high) / 2
        if _parameters(spec.model, {**options, "width": middle}) < density * full:
            low = middle
        else:
            high = middle
    nearest = min((low, high), key=lambda w: abs(_parameters(spec.model, {**options, "width": w}) - density * full))
    topology = replace(spec.topology, method="dense", density=1.0)
    return replace(spec, model_options={**options, "width": round(nearest, 6)}, topology=topology)


def _parameters(model: str, options: Mapping[str, object]) -> int:
    return sum(tensor.numel() for tensor in models.build(model, options).parameters())
