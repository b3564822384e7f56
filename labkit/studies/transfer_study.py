"""A study of ticket transfer: tickets of some tasks, carried along some routes, beside their controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labkit.ground.lists import listed
from labkit.ground.names import choose, shown
from labkit.specs.base import nested
from labkit.specs.tickets import TicketSpec
from labkit.studies.branches import Runs
from labkit.studies.carried import break_even
from labkit.studies.controls import branch
from labkit.studies.evaluations import curves, ends
from labkit.studies.tickets import find_tickets
from labkit.studies.transfer import transfer

ALL, FEW = ("random_ticket", "random_reinit"), ("random_sparse",)  # controls at all levels that are asked for, at a few


@dataclass(frozen=True)
class TransferStudy:
    """Tickets of some tasks, carried along some routes.

    Attributes:
        tickets: task -> its own.
        routes: "SOURCE → TARGET" -> the names of the two tasks.
        arms: one branch each, route -> networks on the target: the carried tickets first, then their controls.
    """

    tickets: Mapping[str, Runs]
    routes: Mapping[str, tuple[str, str]]
    arms: tuple[Mapping[str, Runs], ...]

    @property
    def runs(self) -> list[Runs]:
        """All that was trained."""
        return [*self.tickets.values(), *(runs for arm in self.arms for runs in arm.values())]

    def ends(self) -> dict[str, pd.DataFrame]:
        """Route -> accuracy at the end of every network on the target, its native tickets too (`metrics.ends`)."""
        return {
            route: ends(curves(self.tickets[target], *(arm[route] for arm in self.arms)))
            for route, (_, target) in self.routes.items()
        }

    def costs(self) -> dict[str, pd.DataFrame]:
        """Route -> after how many reuses the search has paid for itself (`carried.break_even`)."""
        return {route: break_even(self.tickets[source], self.arms[0][route])
                for route, (source, _) in self.routes.items()}  # fmt: skip

    def told(self) -> dict[str, tuple[str, str, str]]:
        """Route -> model, data of the source, data of the target; a half by its letter, such as "cifar10a"."""
        specs = {task: runs.experiment.spec for task, runs in self.tickets.items()}
        data = {task: f"{spec.data.name}{spec.data.half or ''}" for task, spec in specs.items()}
        return {route: (specs[target].model, data[source], data[target])
                for route, (source, target) in self.routes.items()}  # fmt: skip

    def __repr__(self) -> str:
        return f"TransferStudy({', '.join(self.routes)}: arms {', '.join(self.branches)})"

    @property
    def branches(self) -> list[str]:
        """Names of the arms, without the native tickets."""
        return [next(iter(arm.values())).branch for arm in self.arms]


def study_transfer(
    specs: Mapping[str, TicketSpec], routes: Iterable[Sequence[str]], seeds: Iterable[int], *,
    carried_levels: Iterable[int] | None = None, control_levels: Iterable[int] | None = None,
    other_levels: Iterable[int] | None = None, head: str | None = None, root: Path | None = None,
) -> TransferStudy:  # fmt: skip
    """Find the tickets of some tasks, carry them along routes, and train the controls beside them.

    Args:
        specs: task -> its search; all pruned by the same rule.
        routes: pairs of tasks, source and target.
        seeds: one a network.
        carried_levels: of the carried tickets (`transfer`); level 0 is the dense network from the carried weights.
        control_levels: of random tickets and of masks carried alone (`controls.random_ticket`, `random_reinit`).
        other_levels: of masks permuted within layers, and of weights carried alone.
        head: see `transfer`.
        root: folder of the runs.

    Raises:
        ValueError: for a route between tasks that are not there, or one twice; and as `find_tickets`, `transfer` and
            `branch` do.
    """
    tasks = {name: nested(f"specs[{name!r}]", spec, kind=TicketSpec) for name, spec in specs.items()}
    ways: dict[str, tuple[str, str]] = {}
    for pair in listed("routes", routes, of=_pair, like='[["mnist", "fashion_mnist"]]'):
        source, target = (choose("task", name, tasks) for name in pair)
        ways[f"{source} → {target}"] = (source, target)
    seeds = list(seeds)
    tickets = find_tickets({name: tasks[name] for name in tasks}, seeds, root=root)
    sources = {route: tickets[source] for route, (source, _) in ways.items()}
    targets = {route: tasks[target] for route, (_, target) in ways.items()}
    carried = transfer(sources, targets, levels=carried_levels, head=head)
    arms = [carried, *(branch(carried, name, levels=control_levels) for name in ALL)]
    if other_levels is None or (few := list(other_levels)):
        at = None if other_levels is None else few
        arms += [branch(carried, name, levels=at) for name in FEW]
        arms.append(transfer(sources, targets, levels=at, head=head, init_only=True))
    return TransferStudy(tickets, ways, tuple(arms))


def _pair(what: str, value: object) -> tuple[str, str]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{what} is {shown(value)}: a route is two tasks, source and target")
    return str(value[0]), str(value[1])
