"""Sparse training from the start: networks under a topology, those that begin with their masks, and tickets trained."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import pandas as pd

from labkit import models
from labkit.ground.names import fraction, number, shown
from labkit.ground.steps import Step
from labkit.runs.experiment import Experiment
from labkit.runs.networks import Labelled, Networks
from labkit.runs.run import Allocated, Drawn, EndMask, Given, Run, Start, Whole
from labkit.runs.scheduler import checked_seeds, compute
from labkit.runs.ticket_files import Ticket
from labkit.sparsity import allocation, flops
from labkit.sparsity.masks import Masks
from labkit.specs.base import nested
from labkit.specs.networks import NetworkSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.training.history import HISTORY

K = TypeVar("K")


@dataclass(frozen=True)
class SparseRun:
    """Finished networks of sparse training, one a seed.

    Attributes:
        networks: as they lie in their folders.
        experiment: the checked spec.
        prior: training FLOPs of the networks that their masks come from, a mean over seeds, in those of a dense run of
            the same length (0 if masks were drawn).
    """

    networks: Networks
    experiment: Experiment
    prior: float = 0.0

    @property
    def spec(self) -> SparseSpec:
        """What was run."""
        return self.experiment.spec

    @property
    def seeds(self) -> list[int]:
        """One a network."""
        return self.networks.seeds

    def metrics(self) -> pd.DataFrame:
        """One row an evaluation: seed, iteration, losses and accuracies; branch is the method."""
        return self.networks.metrics()

    def ends(self) -> pd.DataFrame:
        """The last evaluation of each network, one row a seed; of one that diverged all numbers are NaN."""
        last = self.metrics().groupby("seed", sort=False).tail(1)
        return last.assign(**{name: last[name].where(~last["diverged"]) for name in HISTORY if name in last})

    @property
    def masked(self) -> list[str]:
        """Layers that have a mask; none of a dense network."""
        row = self.spec.topology.row
        return [] if row.masks == "none" else list(self.networks.folders[0].end_mask())

    def densities(self) -> pd.DataFrame:
        """Active weights as masks changed: seed, step (updates done before it), layer, kept, size."""
        columns = ["seed", "step", "layer", "kept", "size"]
        moments = self.experiment.dynamics.moments if self.experiment.dynamics else []
        steps, layers, sizes = [0, *(step + 1 for step in moments)], self.masked, self.experiment.sizes
        return pd.DataFrame(
            [
                (seed, step, layer, int(kept), sizes[layer])
                for seed, folder in zip(self.seeds, self.networks.folders, strict=True)
                for step, row in zip(steps, folder.record().kept.tolist(), strict=True)
                for layer, kept in zip(layers, row, strict=False)
            ],
            columns=columns,
        )

    def inference_flops(self) -> pd.DataFrame:
        """Inference FLOPs as masks changed, in those of the dense network: seed, step, ratio."""
        layers, rows = self.experiment.layers, []
        dense = flops.inference(layers)
        for (seed, step), part in self.densities().groupby(["seed", "step"]):
            density = dict(zip(part["layer"], part["kept"] / part["size"], strict=True))
            rows.append({"seed": seed, "step": step, "ratio": flops.inference(layers, density) / dense})
        if not rows:  # no masks
            rows = [{"seed": seed, "step": 0, "ratio": 1.0} for seed in self.seeds]
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
        """Stacked masks after training; none of dense networks."""
        return self.networks.final_masks() if self.masked else {}

    def __repr__(self) -> str:
        topology = self.spec.topology
        return f"SparseRun({topology.method}, density {topology.density:g}, seeds {self.seeds})"


@overload
def train_sparse(
    spec: SparseSpec, seeds: Iterable[int], *, masks_of: SparseRun | None = None, root: Path | None = None
) -> SparseRun: ...
@overload
def train_sparse(
    spec: Mapping[K, SparseSpec], seeds: Iterable[int], *, masks_of: Mapping[K, K] | None = None,
    root: Path | None = None,
) -> dict[K, SparseRun]: ...  # fmt: skip
def train_sparse(
    spec: SparseSpec | Mapping[K, SparseSpec], seeds: Iterable[int], *, masks_of: Any = None, root: Path | None = None
) -> SparseRun | dict[K, SparseRun]:
    """Train sparse networks from the start, one a seed.

    Args:
        spec: the experiment; or a mapping of several, which are computed by one plan and share what they can.
        seeds: one a network; masks, initialisation, batches and growth are drawn from it.
        masks_of: start with the final masks of this run, on a fresh initialisation of the same seeds, instead of
            drawing masks by the spec's allocation. With a gradual run this is the "Lottery" of the RigL reproduction.
            Of a mapping: key -> key of the spec whose final masks it starts with.
        root: folder of the runs; default `labkit.runs.store.runs_folder()`.

    Returns:
        The finished networks; of a mapping, a dict with its keys.

    Raises:
        ValueError: for a spec, seeds or a run that do not fit, before any training.
        OSError: if the run folder cannot be written.
    """
    seeds = checked_seeds(seeds)
    if isinstance(spec, Mapping) and spec and all(isinstance(value, SparseSpec) for value in spec.values()):
        return _trained({key: Experiment(one, root) for key, one in spec.items()}, seeds, masks_of or {}, root)
    if not (masks_of is None or isinstance(masks_of, SparseRun)):
        raise ValueError(f"masks_of is {shown(masks_of)}: it must be what train_sparse gave")
    experiment = Experiment(nested("spec", spec, kind=SparseSpec), root)
    if masks_of is None:
        return _trained({"": experiment}, seeds, {}, root)[""]
    if not set(seeds) <= set(masks_of.seeds):
        raise ValueError(f"{masks_of} cannot give its masks to seeds {seeds} of another network or other seeds")
    given = {member.run.seed: member.run for member in masks_of.networks.members}
    members = [Labelled(_with_masks(experiment, given[seed]), experiment.spec.topology.method) for seed in seeds]
    compute(members, _title(experiment), root)
    return SparseRun(Networks(members, root), experiment, _prior(masks_of, experiment))


def _trained(
    experiments: Mapping[K, Experiment], seeds: list[int], masks_of: Mapping[K, K], root: Path | None
) -> dict[K, SparseRun]:
    runs: dict[K, list[Run]] = {}
    for key in sorted(experiments, key=lambda key: key in masks_of):
        experiment = experiments[key]
        runs[key] = [
            _with_masks(experiment, runs[masks_of[key]][n]) if key in masks_of else sparse_run(experiment, seed)
            for n, seed in enumerate(seeds)
        ]
    members = {key: [Labelled(run, one.spec.topology.method) for run in runs[key]] for key, one in experiments.items()}
    titles = {_title(experiment) for experiment in experiments.values()}
    title = titles.pop() if len(titles) == 1 else "sparse networks"
    blocked = compute([member for found in members.values() for member in found], title, root)
    found: dict[K, SparseRun] = {}
    for key in runs:
        if all(member.run.hash in blocked for member in members[key]):
            raise RuntimeError(f"the networks that {key} would take its masks from have all diverged")
        networks = Networks([member for member in members[key] if member.run.hash not in blocked], root)
        prior = _prior(found[masks_of[key]], experiments[key]) if key in masks_of else 0.0
        found[key] = SparseRun(networks, experiments[key], prior)
    return {key: found[key] for key in experiments}


def _title(experiment: Experiment) -> str:
    return f"{experiment.spec.topology.method} networks"


def _prior(source: SparseRun, experiment: Experiment) -> float:
    return source.train_flops(experiment.iterations) if source.spec.topology.row.masks == "pruned" else 0.0


def sparse_run(experiment: Experiment, seed: int) -> Run:
    """The run of a seed, as plain data."""
    topology = experiment.spec.topology
    if topology.row.masks in ("none", "pruned"):
        return Run(experiment, seed, Start(Drawn("init/0"), Whole()))
    counts = masked_counts(topology, experiment.shapes)
    return Run(experiment, seed, Start(Drawn("init/0"), Allocated(tuple(counts.items()))))


def _with_masks(experiment: Experiment, source: Run) -> Run:
    if source.experiment.shapes != experiment.shapes:
        raise ValueError(f"{source} cannot give its masks to seeds of another network or other seeds")
    if experiment.spec.topology.row.masks in ("none", "pruned"):
        raise ValueError(f'a run with given masks is "static" or dynamic, not {experiment.spec.topology.method!r}')
    return Run(experiment, source.seed, Start(Drawn("init/0"), EndMask(source)))


def train(ticket: Ticket, spec: NetworkSpec, seeds: Iterable[int], *, root: Path | None = None) -> SparseRun:
    """Train a ticket from its weights, its mask kept: one network a seed, which is of its batches alone.

    Args:
        ticket: from a file, or of a study (`Runs.ticket`).
        spec: model, data and training, of any kind of spec; a `SparseSpec` says how masks change (else they stay).
            Its initialisation and its pruning have no say.
        seeds: one a network.
        root: folder of the runs.

    Raises:
        ValueError: if the ticket is not of that model; names the first parameter that differs. Before any training.
    """
    if not isinstance(ticket, Ticket):
        raise ValueError(f"ticket is {shown(ticket)}: it must be a Ticket, such as Ticket.load(path) gives")
    if not isinstance(spec, NetworkSpec):
        raise ValueError(f"spec is {shown(spec)}: it must be a TicketSpec or a SparseSpec")
    if not isinstance(spec, SparseSpec):
        shared = {entry.name: getattr(spec, entry.name) for entry in fields(NetworkSpec)}
        spec = SparseSpec(**shared, topology=TopologySpec("static", density=ticket.density))
    if spec.topology.row.masks in ("none", "pruned"):
        raise ValueError(f'the mask of a ticket is kept ("static") or moves, not {spec.topology.method!r}')
    experiment = Experiment(spec, root)
    ticket.load_into(experiment.model())
    layers = {name: ticket.mask[name] for name in experiment.prunable if name in ticket.mask}
    if odd := set(ticket.mask) - set(layers):
        raise ValueError(f"the ticket masks {sorted(odd)[0]}, which this model does not prune")
    start = Start(Given.of(ticket.weights), Given.of(layers))
    members = [Labelled(Run(experiment, seed, start), "ticket") for seed in checked_seeds(seeds)]
    compute(members, "networks of a ticket", root)
    return SparseRun(Networks(members, root), experiment)


def masked_counts(topology: TopologySpec, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
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
