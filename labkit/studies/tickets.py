"""Winning tickets: iterative magnitude pruning with rewinding."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar, overload

from labkit.ground.names import choose
from labkit.runs.experiment import Experiment
from labkit.runs.mask_sources import Pruned, Whole
from labkit.runs.networks import Labelled
from labkit.runs.run import Run
from labkit.runs.scheduler import checked_seeds
from labkit.runs.starts import Start
from labkit.runs.weight_sources import DONE, END, At, Drawn
from labkit.specs.base import by_key, nested
from labkit.specs.tickets import TICKET, TicketSpec
from labkit.studies.branches import Planned, Runs, computed

K = TypeVar("K")


@overload
def find_tickets(
    spec: TicketSpec, seeds: Iterable[int], *, keep: str = "weights", root: Path | None = None
) -> Runs: ...
@overload
def find_tickets(
    spec: Mapping[K, TicketSpec], seeds: Iterable[int], *, keep: str = "weights", root: Path | None = None
) -> dict[K, Runs]: ...
def find_tickets(
    spec: TicketSpec | Mapping[K, TicketSpec], seeds: Iterable[int], *, keep: str = "weights", root: Path | None = None
) -> Runs | dict[K, Runs]:
    """Find winning tickets by magnitude pruning with rewinding (Frankle & Carbin 2019, section 1; 2020 for rewinding).

    For each seed: initialise, train to the end, keep the best-scored share of the surviving weights of each layer (or
    of all layers), set the survivors back to their values at step `spec.rewind`, train again; `spec.prune.levels`
    times. Finished networks are read from the run folder, broken ones are resumed.

    Args:
        spec: the experiment; or a mapping of several, which are computed by one plan and share what they can.
        seeds: one a network.
        keep: "weights" keeps those at the end of each run (and trains again those that were let go); "masks" lets them
            go when all are trained, and keeps masks, history and what tickets start from. A control or a further level
            then trains again what it starts from.
        root: folder of the runs; default `labkit.runs.store.runs_folder()`.

    Returns:
        The tickets; of a mapping, a dict with its keys.

    Raises:
        ValueError: for a spec or seeds that cannot run, before any training.
        OSError: if the run folder cannot be written.
        RuntimeError: if every network diverged.
    """
    seeds = checked_seeds(seeds)
    choose("keep", keep, ["weights", "masks"])
    several, specs = by_key(spec, TicketSpec)
    planned = {key: planned_tickets(one, seeds, root) for key, one in specs.items()}
    found = computed(planned, "tickets", root, moment=END if keep == "weights" else DONE)
    if keep == "masks":
        for runs in found.values():
            for networks in runs.runs.values():
                for folder in networks.folders:
                    folder.drop_weights()
    return found if several else found[None]


def planned_tickets(spec: object, seeds: list[int], root: Path | None) -> Planned:
    """The networks of a search, before they are trained.

    Raises:
        ValueError: for a spec that cannot run, or that does not say how many rounds to prune.
    """
    spec = nested("spec", spec, kind=TicketSpec)
    if spec.prune.levels is None:
        raise ValueError(
            "prune.levels is None: say how many rounds to prune, such as prune=PruneSpec(levels=7); 0 trains the dense "
            "network alone"
        )
    experiment = Experiment(spec, root)
    runs = ticket_runs(experiment, seeds)
    members = tuple(Labelled(run, TICKET, level) for (_, level), run in runs.items())
    return Planned(TICKET, members, experiment, runs, root)


def ticket_runs(experiment: Experiment, seeds: Iterable[int]) -> dict[tuple[int, int], Run]:
    """The runs of a search, as plain data: (seed, level) -> run, level by level."""
    prune, found = experiment.spec.prune, {}
    for level in range(prune.levels + 1):
        for seed in seeds:
            if not level:
                found[seed, 0] = Run(experiment, seed, Start(Drawn("init/0"), Whole()))
                continue
            dense, parent = found[seed, 0], found[seed, level - 1 if prune.iterative else 0]
            start = Start(At(dense, experiment.rewind), Pruned(parent, level))
            found[seed, level] = Run(experiment, seed, start, first=experiment.rewind)
    return found
