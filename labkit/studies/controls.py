"""Controls that branch off tickets, native or carried: the same training with other weights, or other masks."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, overload

from labkit.ground.names import choose, shown, whole
from labkit.ground.randomness import generator
from labkit.runs.experiment import Experiment, State
from labkit.runs.networks import Labelled
from labkit.runs.own_code import code_digest
from labkit.runs.run import Run
from labkit.runs.starts import Control, Controlled, Start
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks
from labkit.studies.branches import Planned, Runs, chosen, computed

MOST_PER_SEED = 1000
K = TypeVar("K")


def random_reinit(experiment: Experiment, mask: Masks, seed: int, copy: int, level: int) -> tuple[State, Masks]:
    """The ticket's mask with a new initialisation, another at each level (LTH Figures 3 to 5, "random reinit")."""
    return experiment.initial(seed, f"reinit/{level}/{copy}"), mask


def random_sparse(experiment: Experiment, mask: Masks, seed: int, copy: int, level: int) -> tuple[State, Masks]:
    """As many weights in each layer, drawn at random, and a new initialisation; others at each level (LTH Figure 1)."""
    drawn = mask_sets.shuffle(mask, generator(seed, "sparse", level, copy))
    return experiment.initial(seed, f"sparse/{level}/{copy}"), drawn


def random_ticket(experiment: Experiment, mask: Masks, seed: int, copy: int, level: int) -> tuple[State, Masks]:
    """As many weights in all, anywhere that is pruned, and a new initialisation (Morcos et al. 2019, "random ticket").

    The masks of all layers are permuted together, so that layers' counts differ from the ticket's; what the spec leaves
    out of pruning stays whole.
    """
    pool = {name: layer for name, layer in mask.items() if experiment.rates[name] > 0}
    drawn = mask_sets.permute(pool, generator(seed, "random ticket", level, copy))
    return experiment.initial(seed, f"random ticket/{level}/{copy}"), mask | drawn


BRANCHES: dict[str, Control] = {
    "random_reinit": random_reinit,
    "random_sparse": random_sparse,
    "random_ticket": random_ticket,
}
TITLES = {"random_reinit": "random reinits", "random_sparse": "random sparse networks",
          "random_ticket": "random tickets"}  # fmt: skip


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
    planned = {key: planned_branch(one.asked, kind, per_seed, levels[key] if one_each else levels)
               for key, one in trunks.items()}  # fmt: skip
    name = next(iter(planned.values())).branch
    found = computed(planned, TITLES.get(name, name), next(iter(trunks.values())).root)
    return found if isinstance(trunk, Mapping) else found[None]


def planned_branch(trunk: Planned, kind: str | Control, per_seed: int = 1, levels: object = None) -> Planned:
    """The networks of a control, before they are trained: see `branch`."""
    control = kind if callable(kind) else BRANCHES[choose("branch", kind, BRANCHES)]
    registered = [key for key, function in BRANCHES.items() if function is control]
    digest = "" if registered else code_digest(control)  # which refuses what has no name
    name = registered[0] if registered else f"{control.__qualname__} {digest}"
    per_seed = whole("per_seed", per_seed, 1, MOST_PER_SEED)
    members = tuple(
        Labelled(_controlled(trunk.tickets[seed, level], name, control, level, copy), name, level, copy)
        for level in chosen(trunk, levels, [level for level in trunk.levels if level])
        for seed in trunk.seeds(level)
        for copy in range(per_seed)
    )
    return Planned(name, members, trunk.experiment, trunk.tickets, trunk.root)


def _controlled(ticket: Run, name: str, control: Control, level: int, copy: int) -> Run:
    assert isinstance(ticket.start, Start)
    return replace(ticket, start=Controlled(name, control, level, copy, ticket.start.mask))
