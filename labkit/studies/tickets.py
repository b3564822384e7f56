"""Winning tickets: iterative magnitude pruning with rewinding, and the controls that branch off it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, overload

from labkit.ground.lists import listed
from labkit.ground.names import choose, shown, whole
from labkit.ground.randomness import generator
from labkit.runs.experiment import Experiment, State
from labkit.runs.mask_sources import Pruned, Whole
from labkit.runs.networks import Labelled
from labkit.runs.own_code import code_digest
from labkit.runs.run import Run
from labkit.runs.scheduler import checked_seeds, compute
from labkit.runs.starts import Control, Controlled, Start
from labkit.runs.weight_sources import DONE, END, At, Drawn, Moment
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks
from labkit.specs.base import by_key, nested
from labkit.specs.tickets import TICKET, TicketSpec
from labkit.studies.branches import Runs, by_level

MOST_PER_SEED = 1000
TITLES = {TICKET: "tickets", "random_reinit": "random reinits", "random_sparse": "random sparse networks"}
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
    moment = END if keep == "weights" else DONE
    found = _found({key: _search(one, root) for key, one in specs.items()}, seeds, moment, root)
    if keep == "masks":
        for runs in found.values():
            for networks in runs.runs.values():
                for folder in networks.folders:
                    folder.drop_weights()
    return found if several else found[None]


def _search(spec: object, root: Path | None) -> Experiment:
    spec = nested("spec", spec, kind=TicketSpec)
    if spec.prune.levels is None:
        raise ValueError(
            "prune.levels is None: say how many rounds to prune, such as prune=PruneSpec(levels=7); 0 trains the dense "
            "network alone"
        )
    return Experiment(spec, root)


def _found(searches: Mapping[K, Experiment], seeds: list[int], moment: Moment, root: Path | None) -> dict[K, Runs]:
    runs = {key: ticket_runs(experiment, seeds) for key, experiment in searches.items()}
    members = {key: [Labelled(run, TICKET, level) for (_, level), run in found.items()] for key, found in runs.items()}
    blocked = compute([member for found in members.values() for member in found], TITLES[TICKET], root, moment=moment)
    return {
        key: Runs(TICKET, by_level(members[key], blocked, root), experiment, runs[key], root)
        for key, experiment in searches.items()
    }


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


def random_reinit(experiment: Experiment, mask: Masks, seed: int, copy: int, level: int) -> tuple[State, Masks]:
    """The ticket's mask with a new initialisation, another at each level (LTH Figures 3 to 5, "random reinit")."""
    return experiment.initial(seed, f"reinit/{level}/{copy}"), mask


def random_sparse(experiment: Experiment, mask: Masks, seed: int, copy: int, level: int) -> tuple[State, Masks]:
    """As many weights in each layer, drawn at random, and a new initialisation; others at each level (LTH Figure 1)."""
    drawn = mask_sets.shuffle(mask, generator(seed, "sparse", level, copy))
    return experiment.initial(seed, f"sparse/{level}/{copy}"), drawn


BRANCHES: dict[str, Control] = {"random_reinit": random_reinit, "random_sparse": random_sparse}


@overload
def branch(trunk: Runs, kind: str | Control, *, per_seed: int = 1, levels: Iterable[int] | None = None) -> Runs: ...
@overload
def branch(
    trunk: Mapping[K, Runs], kind: str | Control, *, per_seed: int = 1,
    levels: Iterable[int] | Mapping[K, Iterable[int]] | None = None,
) -> dict[K, Runs]: ...  # fmt: skip
def branch(
    trunk: Runs | Mapping[K, Runs], kind: str | Control, *, per_seed: int = 1, levels: Any = None
) -> Runs | dict[K, Runs]:
    """Train a control beside the tickets: same data order, same length, other weights or masks.

    Args:
        trunk: what `find_tickets` gave; of a mapping too.
        kind: a name of `BRANCHES`, or a function like those.
        per_seed: networks for each ticket.
        levels: at which levels of pruning; default all from 1. Of a mapping: for all, or by key.

    Raises:
        ValueError: for an unknown kind or level, or no level.
    """
    trunks: dict[Any, Runs] = dict(trunk) if isinstance(trunk, Mapping) else {None: trunk}
    if not trunks or not all(isinstance(one, Runs) for one in trunks.values()):
        raise ValueError(f"trunk is {shown(trunk)}: it must be what find_tickets gave")
    one_each = isinstance(levels, Mapping)
    if one_each and set(levels) != set(trunks):
        raise ValueError(f"levels is {shown(levels)}: write a list, or one for each of {list(trunks)}")
    control = kind if callable(kind) else BRANCHES[choose("branch", kind, BRANCHES)]
    registered = [key for key, function in BRANCHES.items() if function is control]
    digest = "" if registered else code_digest(control)  # which refuses what has no name
    name = registered[0] if registered else f"{control.__qualname__} {digest}"
    per_seed = whole("per_seed", per_seed, 1, MOST_PER_SEED)
    members = {}
    for key, one in trunks.items():
        wanted = _levels(one, levels[key] if one_each else levels)
        members[key] = [
            Labelled(_controlled(one.tickets[seed, level], name, control, level, copy), name, level, copy)
            for level in wanted
            for seed in one.runs[level].seeds
            for copy in range(per_seed)
        ]
    root = next(iter(trunks.values())).root
    blocked = compute([m for found in members.values() for m in found], TITLES.get(name, name), root)
    found = {
        key: Runs(name, by_level(members[key], blocked, root), one.experiment, one.tickets, root)
        for key, one in trunks.items()
    }
    return found if isinstance(trunk, Mapping) else found[None]


def _levels(trunk: Runs, levels: object) -> list[int]:
    """At which a control is trained."""
    above = [level for level in trunk.levels if level]
    wanted = above if levels is None else listed("levels", levels, of=whole, like=str(above))
    for level in wanted:
        choose("level", str(level), map(str, trunk.levels))
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"levels is {wanted}: give at least one of the tickets' levels, each once, {trunk.levels}")
    return wanted


def _controlled(ticket: Run, name: str, control: Control, level: int, copy: int) -> Run:
    assert isinstance(ticket.start, Start)
    return replace(ticket, start=Controlled(name, control, level, copy, ticket.start.mask))
