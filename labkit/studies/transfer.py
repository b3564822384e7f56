"""Ticket transfer: tickets that were found on one task are trained on another (Morcos et al. 2019).

A task is data, a head for its classes, and a way to train. What is carried is the body: all parameters but those of the
last layer, and that too where both tasks have as many classes.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, overload

from labkit.ground.names import shown, switch
from labkit.runs.experiment import Experiment
from labkit.runs.mask_sources import Headless, Pruned, Whole
from labkit.runs.networks import Labelled
from labkit.runs.run import Run
from labkit.runs.starts import Mask, Start
from labkit.runs.weight_sources import At, Carried
from labkit.specs.base import nested
from labkit.specs.tickets import TICKET, TicketSpec
from labkit.studies.branches import Planned, Runs, chosen, computed
from labkit.studies.heads import fresh_head

CARRIED, INIT_ONLY = "carried", "init_only"
TITLES = {CARRIED: "carried tickets", INIT_ONLY: "tickets from carried weights"}
K = TypeVar("K")


@overload
def transfer(
    tickets: Runs, to: TicketSpec, *, levels: Iterable[int] | None = None, head: str | None = None,
    init_only: bool = False,
) -> Runs: ...  # fmt: skip
@overload
def transfer(
    tickets: Mapping[K, Runs], to: Mapping[K, TicketSpec], *, levels: Iterable[int] | None = None,
    head: str | None = None, init_only: bool = False,
) -> dict[K, Runs]: ...  # fmt: skip
def transfer(
    tickets: Runs | Mapping[K, Runs], to: TicketSpec | Mapping[K, TicketSpec], *, levels: Iterable[int] | None = None,
    head: str | None = None, init_only: bool = False,
) -> Runs | dict[K, Runs]:  # fmt: skip
    """Train tickets of one task on another: mask and rewound weights are carried (Morcos et al. 2019, section 3).

    A carried ticket trains as the other task's own tickets do: from the same step of its schedule, on the batches of
    the same seeds. At level 0 it is the dense network from the carried weights, which tells what a ticket owes to the
    steps before it was rewound to. `labkit.branch` trains controls beside it: "random_reinit" (the mask alone is
    carried), "random_ticket" and "random_sparse" (neither is).

    Args:
        tickets: what `find_tickets` gave; or a mapping of several, which are computed by one plan.
        to: the other task, pruned by the same rule; of a mapping, one for each of its keys.
        levels: which levels to carry; default all, from 0.
        head: "same" carries the last layer as well, "fresh" draws it anew from the run's seed and leaves it whole.
            None: "same" where both tasks have as many classes, else "fresh".
        init_only: carry the weights and find the masks on the other task, as the replication by Gohil et al. 2020 does
            (its masks never travelled). Levels in between are trained too. Where tickets are rewound to step 0 this is
            the other task's own search: a seed draws the same weights for both (and the same fresh head; of a network
            of one's own, if its head is registered last).

    Returns:
        The networks by level, on the other task; of a mapping, a dict with its keys.

    Raises:
        ValueError: if the two tasks' networks differ in more than the head, if they are pruned otherwise, or for a head
            that is to be fresh and is pruned. Before any training.
        RuntimeError: if every network that a level would start from diverged.
    """
    several = isinstance(tickets, Mapping)
    sources: dict[Any, Runs] = dict(tickets) if isinstance(tickets, Mapping) else {None: tickets}
    specs: dict[Any, Any] = dict(to) if isinstance(to, Mapping) else {None: to}
    if not sources or set(sources) != set(specs):
        raise ValueError(f"to is {shown(to)}: write one task for each of {list(sources)}" if several else
                         f"to is {shown(to)}: of one set of tickets, write one TicketSpec")  # fmt: skip
    switch("init_only", init_only)
    for source in sources.values():
        if not isinstance(source, Runs):
            raise ValueError(f"tickets is {shown(source)}: it must be what find_tickets gave")
    tasks = {key: Experiment(nested("to", specs[key], kind=TicketSpec), source.root) for key, source in sources.items()}
    planned = {key: planned_transfer(source.asked, tasks[key], levels, head, init_only=init_only)
               for key, source in sources.items()}  # fmt: skip
    done = computed(planned, TITLES[INIT_ONLY if init_only else CARRIED], next(iter(sources.values())).root)
    return done if several else done[None]


def planned_transfer(
    source: Planned, task: Experiment, levels: object = None, head: str | None = None, *, init_only: bool = False
) -> Planned:
    """The networks of a transfer, before they are trained: see `transfer`."""
    if source.branch != TICKET:
        raise ValueError(f"tickets is {shown(source)}: it must be what find_tickets gave")
    _check_pruned_alike(source.experiment, task)
    here = source.experiment
    shapes = {name: tuple(tensor.shape) for name, tensor in here.initial(0, "head").items()}
    fresh = fresh_head(task, shapes, head, pruned=here.output if here.rates[here.output] > 0 else "")
    runs = _found_there(source, task, fresh) if init_only else _carried(source, task, fresh)
    name = INIT_ONLY if init_only else CARRIED
    members = tuple(Labelled(runs[seed, level], name, level)
                    for level in chosen(source, levels, source.levels) for seed in source.seeds(level))  # fmt: skip
    return Planned(name, members, task, runs, source.root)


def _check_pruned_alike(source: Experiment, task: Experiment) -> None:
    """See that levels mean the same in both, and that arms in one figure share what can be pruned."""
    if source.prunable != task.prunable:
        odd = sorted(set(source.prunable) ^ set(task.prunable)) or source.prunable
        raise ValueError(f"these tickets are for another model: {odd[0]} is pruned in only one of the two")
    ours, theirs = source.spec.prune, task.spec.prune
    for what, mine, other in (
        ("scope", ours.scope, theirs.scope),
        ("rates by layer", source.rates, task.rates),
        ("iterative", ours.iterative, theirs.iterative),
    ):
        if mine != other:
            raise ValueError(f"the tickets were pruned with {what} {mine}, and the other task says {other}: their "
                             "levels would not be the same")  # fmt: skip


def _weights(dense: Run, rewind: int, fresh: tuple[str, ...]) -> At | Carried:
    body = At(dense, rewind)
    return Carried(body, fresh) if fresh else body


def _carried(source: Planned, task: Experiment, fresh: tuple[str, ...]) -> dict[tuple[int, int], Run]:
    """The runs, as plain data: (seed, level) -> run."""
    found = {}
    for (seed, level), ticket in source.tickets.items():
        assert isinstance(ticket.start, Start)
        weights = _weights(source.tickets[seed, 0], source.experiment.rewind, fresh)
        mask: Mask = ticket.start.mask
        if fresh and isinstance(mask, Pruned):
            mask = Headless(mask, fresh)
        found[seed, level] = Run(task, seed, Start(weights, mask), first=task.rewind)
    return found


def _found_there(source: Planned, task: Experiment, fresh: tuple[str, ...]) -> dict[tuple[int, int], Run]:
    """The runs of a search on the other task that starts from carried weights: (seed, level) -> run."""
    found: dict[tuple[int, int], Run] = {}
    for seed, level in sorted(source.tickets, key=lambda key: key[1]):
        weights = _weights(source.tickets[seed, 0], source.experiment.rewind, fresh)
        parent = level - 1 if task.spec.prune.iterative else 0
        mask: Mask = Pruned(found[seed, parent], level) if level else Whole()
        found[seed, level] = Run(task, seed, Start(weights, mask), first=task.rewind)
    return found
