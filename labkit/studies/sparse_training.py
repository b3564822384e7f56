"""Sparse training from the start: networks under a topology, those that begin with their masks, and tickets trained."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, overload

from labkit.ground.names import shown
from labkit.runs.experiment import Experiment
from labkit.runs.networks import Labelled, Networks
from labkit.runs.run import Run
from labkit.runs.scheduler import checked_seeds, compute
from labkit.runs.starts import Allocated, Drawn, EndMask, Given, Start, Whole
from labkit.runs.ticket_files import Ticket
from labkit.sparsity import allocation
from labkit.specs.base import nested
from labkit.specs.networks import NetworkSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.studies.sparse_runs import SparseRun

K = TypeVar("K")


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
