"""Sparse training from the start: networks under a topology, those that begin with their masks, and tickets trained."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from labkit.ground.names import shown
from labkit.runs.experiment import Experiment
from labkit.runs.mask_sources import Allocated, EndMask, Whole
from labkit.runs.networks import Labelled, Networks
from labkit.runs.run import Run
from labkit.runs.scheduler import checked_seeds, compute
from labkit.runs.starts import Start
from labkit.runs.weight_sources import Drawn
from labkit.sparsity import allocation
from labkit.specs.base import by_key, nested
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.studies.sparse_runs import SparseRun

K = TypeVar("K")


@overload
def train_sparse(
    spec: SparseSpec, seeds: Iterable[int], *, masks_of: SparseRun | None = None, root: Path | None = None
) -> SparseRun: ...
@overload
def train_sparse(
    spec: Mapping[K, SparseSpec], seeds: Iterable[int], *, masks_of: Mapping[K, K | SparseRun] | None = None,
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
            Of a mapping: key -> key of the spec whose final masks it starts with, or what was trained.
        root: folder of the runs; default `labkit.runs.store.runs_folder()`.

    Returns:
        The finished networks; of a mapping, a dict with its keys.

    Raises:
        ValueError: for a spec, seeds or a run that do not fit, before any training.
        OSError: if the run folder cannot be written.
        RuntimeError: if all networks that masks would come from have diverged.
    """
    seeds = checked_seeds(seeds)
    several, specs = by_key(spec, SparseSpec)
    experiments = {key: Experiment(nested("spec", one, kind=SparseSpec), root) for key, one in specs.items()}
    if several:
        return _trained(experiments, seeds, _sources(masks_of or {}, experiments), root)
    if not (masks_of is None or isinstance(masks_of, SparseRun)):
        raise ValueError(f"masks_of is {shown(masks_of)}: it must be what train_sparse gave")
    return _trained(experiments, seeds, {} if masks_of is None else {None: masks_of}, root)[None]


def _sources(masks_of: object, experiments: Mapping[K, Experiment]) -> Mapping[K, K | SparseRun]:
    """Where masks come from, checked: keys of specs that do not take theirs from another, or what was trained."""
    if not isinstance(masks_of, Mapping):
        raise ValueError(f"masks_of is {shown(masks_of)}: of several specs, write a mapping of their keys")
    givers = [key for key in experiments if key not in masks_of]
    for key, source in masks_of.items():
        if key not in experiments:
            raise ValueError(f"masks_of has {shown(key)}, which is no key of the specs: {list(experiments)}")
        if not isinstance(source, SparseRun) and source not in givers:
            raise ValueError(f"masks_of[{key!r}] is {shown(source)}: the key of a spec that draws its own, {givers}, "
                             "or what train_sparse gave")  # fmt: skip
    return masks_of


def _trained(
    experiments: Mapping[K, Experiment], seeds: list[int], masks_of: Mapping[K, K | SparseRun], root: Path | None
) -> dict[K, SparseRun]:
    runs: dict[K, list[Run]] = {}
    for key in sorted(experiments, key=lambda key: key in masks_of):
        experiment = experiments[key]
        if key not in masks_of:
            runs[key] = [sparse_run(experiment, seed) for seed in seeds]
        else:
            source = masks_of[key]
            givers = _of_seeds(source, seeds) if isinstance(source, SparseRun) else runs[source]
            runs[key] = [_with_masks(experiment, run) for run in givers]
    members = {key: [Labelled(run, one.spec.topology.method) for run in runs[key]] for key, one in experiments.items()}
    titles = {f"{experiment.spec.topology.method} networks" for experiment in experiments.values()}
    networks = computed(members, titles.pop() if len(titles) == 1 else "sparse networks", root)
    found: dict[K, SparseRun] = {}
    for key in runs:
        prior = 0.0
        if key in masks_of:
            source = masks_of[key]
            giver = source if isinstance(source, SparseRun) else found[source]
            prior = giver.train_flops(experiments[key].iterations) if giver.pruned else 0.0
        found[key] = SparseRun(networks[key], experiments[key], prior)
    return {key: found[key] for key in experiments}


def _of_seeds(source: SparseRun, seeds: list[int]) -> list[Run]:
    given = {member.run.seed: member.run for member in source.networks.members}
    if not set(seeds) <= set(given):
        raise ValueError(f"{source} cannot give its masks to seeds {seeds} of another network or other seeds")
    return [given[seed] for seed in seeds]


def computed(members: Mapping[K, list[Labelled]], title: str, root: Path | None) -> dict[K, Networks]:
    """Networks by key, computed by one plan; without those that could not start.

    Raises:
        RuntimeError: if of a key there is none.
    """
    blocked = compute([member for found in members.values() for member in found], title, root)
    found = {key: [one for one in all_of_it if one.run.hash not in blocked] for key, all_of_it in members.items()}
    for key, started in found.items():
        if not started:
            of = "" if key is None else f" of {key}"
            raise RuntimeError(f"no network{of} could start: {blocked[members[key][0].run.hash]}")
    return {key: Networks(started, root) for key, started in found.items()}


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
