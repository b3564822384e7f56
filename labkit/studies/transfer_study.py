"""A study of ticket transfer: tickets of some tasks, carried along some routes, beside their controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from labkit.ground.lists import listed, mapped
from labkit.ground.names import choose, shown
from labkit.runs.networks import Labelled
from labkit.runs.scheduler import checked_seeds
from labkit.specs.tickets import TICKET, TicketSpec
from labkit.studies.branches import Planned, Runs, computed
from labkit.studies.carried import break_even, minus
from labkit.studies.controls import planned_branch
from labkit.studies.evaluations import NETWORK, curves, ends
from labkit.studies.tickets import planned_tickets
from labkit.studies.transfer import CARRIED, INIT_ONLY, TITLES, planned_transfer

ARMS = (CARRIED, "random_ticket", "random_reinit", "random_sparse", INIT_ONLY)


@dataclass(frozen=True)
class Route:
    """From which task to which other tickets are carried, and what is trained there besides.

    Attributes:
        source, target: names of tasks.
        arms: which of `ARMS` -> at which levels of the search; None: at all that it has. "carried": see `transfer`,
            level 0 is the dense network from the carried weights; "random_ticket", "random_reinit" (the mask carried
            alone), "random_sparse": see `controls`; "init_only": the weights carried alone, and levels in between are
            trained as well.
        head: see `transfer`.
        label: what the route is called; "": SOURCE → TARGET.
    """

    source: str
    target: str
    arms: Mapping[str, Sequence[int] | None] = field(default_factory=lambda: dict.fromkeys(ARMS))
    head: str | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.label or f"{self.source} → {self.target}"


@dataclass(frozen=True)
class TransferStudy:
    """Tickets of some tasks, carried along some routes.

    Attributes:
        tickets: task -> its own.
        routes: by name.
        arms: name of a route -> branch -> networks on the target: the carried tickets first, then their controls.
            Levels at which none could start, as what they start from diverged, are not there.
        asked: all networks on the target of a route, whatever became of them.
    """

    tickets: Mapping[str, Runs]
    routes: Mapping[str, Route]
    arms: Mapping[str, Mapping[str, Runs]]
    asked: Mapping[str, Sequence[Labelled]]

    @property
    def runs(self) -> list[Runs]:
        """All that was trained."""
        return [*self.tickets.values(), *(runs for arms in self.arms.values() for runs in arms.values())]

    def ends(self) -> dict[str, pd.DataFrame]:
        """Route -> accuracy at the end of every network on the target, its native tickets too (`metrics.ends`).

        A network that was asked for and has none, as it diverged or could not start, has NaN.
        """
        return {name: _with_missing([self.tickets[route.target], *self.arms[name].values()], self.asked[name])
                for name, route in self.routes.items()}  # fmt: skip

    def costs(self, within: float = 1.0) -> dict[str, pd.DataFrame]:
        """Route -> after how many reuses the search has paid for itself (`carried.break_even`), and what is lost by it.

        Args:
            within: how many percentage points a carried ticket may lie below the target's own dense network.

        Returns:
            Tables of `break_even` with columns `lost`, percentage points at the end against that dense network (means
            over seeds; NaN where one is missing), and `matches`: whether they are at most `within`.
        """
        found = {}
        for name, table in self.ends().items():
            route, arms = self.routes[name], self.arms[name]
            lost = -minus(table, CARRIED, f"{TICKET}/0").groupby("level").agg(lambda gaps: gaps.mean(skipna=False))
            costs = break_even(self.tickets[route.source], arms[CARRIED], self.tickets[route.target])
            costs["lost"] = costs["level"].map(lost)
            found[name] = costs.assign(matches=costs["lost"] <= within)
        return found

    def told(self) -> dict[str, tuple[str, str, str]]:
        """Route -> model, data of the source, data of the target; a half by its letter, such as "cifar10a"."""
        specs = {task: runs.experiment.spec for task, runs in self.tickets.items()}
        data = {task: f"{spec.data.name}{spec.data.half or ''}" for task, spec in specs.items()}
        return {name: (specs[route.target].model, data[route.source], data[route.target])
                for name, route in self.routes.items()}  # fmt: skip

    @property
    def branches(self) -> list[str]:
        """Names of the arms, without the native tickets."""
        return list(dict.fromkeys(branch for arms in self.arms.values() for branch in arms))

    def __repr__(self) -> str:
        return f"TransferStudy({', '.join(self.routes)}: arms {', '.join(self.branches)})"


def study_transfer(
    specs: Mapping[str, TicketSpec], routes: Iterable[Route], seeds: Iterable[int], *, root: Path | None = None
) -> TransferStudy:
    """Find the tickets of some tasks, carry them along routes, and train the controls beside them: one plan.

    Args:
        specs: task -> its search; those that a route joins are pruned by the same rule.
        routes: between them.
        seeds: one a network.
        root: folder of the runs.

    Raises:
        ValueError: for a route between tasks that are not there, or one twice; and as `find_tickets`, `transfer` and
            `branch` do. Before any training.
    """
    seeds = checked_seeds(seeds)
    searches = mapped("specs", specs, of=lambda _, spec: spec, like="{'mnist': TicketSpec(...)}")
    tickets = {task: planned_tickets(spec, seeds, root) for task, spec in searches.items()}
    ways: dict[str, Route] = {}
    for route in listed("routes", routes, of=_route, like='[Route("mnist", "fashion_mnist")]'):
        for task in (route.source, route.target):
            choose("task", task, tickets)
        if route.name in ways:
            raise ValueError(f"routes has {route.name} twice")
        ways[route.name] = route
    if not ways:
        raise ValueError("routes is empty: give at least one, such as [Route('mnist', 'fashion_mnist')]")
    planned: dict[tuple[str, str], Planned] = {("", task): one for task, one in tickets.items()}
    for name, route in ways.items():
        for one in _arms(route, tickets[route.source], tickets[route.target]):
            planned[name, one.branch] = one
    done = computed(planned, "carried tickets and their controls", root, gaps=True)
    own = {task: done["", task] for task in tickets}
    arms = {name: {key[1]: done[key] for key in planned if key[0] == name} for name in ways}
    asked = {name: [*tickets[route.target].members, *(one for arm in arms[name] for one in planned[name, arm].members)]
             for name, route in ways.items()}  # fmt: skip
    return TransferStudy(own, ways, arms, asked)


def _route(what: str, value: object) -> Route:
    if not isinstance(value, Route):
        raise ValueError(f"{what} is {shown(value)}: it must be a Route, of the names of two tasks")
    if not isinstance(value.label, str):
        raise ValueError(f"label of {what} is {shown(value.label)}: it must be a text")
    return value


def _arms(route: Route, source: Planned, target: Planned) -> list[Planned]:
    """What is to be trained on the target besides its own tickets, the carried ones first."""
    if not isinstance(route.arms, Mapping) or CARRIED not in route.arms:
        raise ValueError(f"arms of {route.name} is {shown(route.arms)}: it must be a mapping with 'carried'")
    for arm in route.arms:
        choose(f"arm of {route.name}", arm, ARMS)
    carried = planned_transfer(source, target.experiment, None, route.head)  # at all levels: controls may have others
    found = []
    for arm in (name for name in ARMS if name in route.arms):
        levels = route.arms[arm]
        if arm in TITLES:
            found.append(planned_transfer(source, target.experiment, levels, route.head, init_only=arm == INIT_ONLY))
        else:
            found.append(planned_branch(carried, arm, levels=levels))
    return found


def _with_missing(branches: Sequence[Runs], members: Sequence[Labelled]) -> pd.DataFrame:
    evaluations = curves(*(runs for runs in branches if runs.runs))
    asked = pd.DataFrame([(one.branch, one.level, one.run.seed, one.copy) for one in members], columns=NETWORK)
    left = evaluations.groupby("level")["percent_remaining"].max().rename("left").reset_index()
    found = asked.merge(ends(evaluations), how="left").merge(left, how="left")
    return found.assign(percent_remaining=found["percent_remaining"].fillna(found["left"])).drop(columns="left")
