"""Finished runs of a search by level of pruning: the tickets themselves, or a control that branches off them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from labkit import __version__
from labkit.ground.lists import listed
from labkit.ground.names import choose, whole
from labkit.runs.experiment import Experiment
from labkit.runs.networks import Labelled, Networks, start_of
from labkit.runs.origin import SOURCE, origin
from labkit.runs.run import Run
from labkit.runs.scheduler import compute
from labkit.runs.ticket_files import Ticket
from labkit.runs.weight_sources import DONE, Moment

K = TypeVar("K")


@dataclass(frozen=True)
class Runs:
    """Finished runs of one branch, by level of pruning: the tickets themselves, or a control that branches off them.

    Attributes:
        branch: "ticket", or the name of the control.
        runs: the networks of each level.
        experiment: the checked spec.
        tickets: (seed, level) -> the run of the ticket there, whether or not it could be computed.
        root: the folder of all runs.
    """

    branch: str
    runs: Mapping[int, Networks]
    experiment: Experiment
    tickets: Mapping[tuple[int, int], Run]
    root: Path | None = None

    @property
    def levels(self) -> list[int]:
        """Levels of pruning that were trained."""
        return list(self.runs)

    @property
    def seconds(self) -> float:
        """Time that training these networks took, whenever that was, one after another."""
        return sum(networks.seconds for networks in self.runs.values())

    def metrics(self) -> pd.DataFrame:
        """All evaluations of all runs; see `Networks.metrics`."""
        return pd.concat([networks.metrics() for networks in self.runs.values()], ignore_index=True)

    def ticket(self, seed: int, level: int, copy: int = 0) -> Ticket:
        """The network of a seed at a level as it was before training: weights to start from, mask, provenance.

        What was carried here says where it was found: `about["source"]` (see `labkit.runs.origin`).

        Raises:
            ValueError: if there is no such level or seed.
        """
        networks = self.runs[int(choose("level", str(level), map(str, self.runs)))]
        pairs = {f"{member.run.seed}/{member.copy}": member for member in networks.members}
        member = pairs[choose("seed/copy", f"{seed}/{copy}", pairs)]
        weights, mask = start_of(member.run, networks.store)
        spec = self.experiment.spec
        about = {
            "model": spec.model, "data": spec.data.name, "branch": self.branch,
            "level": level, "seed": seed, "copy": copy, "rewind_step": member.run.first,
            "spec": asdict(replace(spec, model_options=self.experiment.all_options)),
            "run": member.run.hash, "labkit": __version__,
        }  # fmt: skip
        found = origin(member.run)
        return Ticket(weights, mask, about | ({SOURCE: found} if found else {}))

    @property
    def asked(self) -> "Planned":
        """These networks as what was asked for, from which more is planned; without those that could not start."""
        members = tuple(member for networks in self.runs.values() for member in networks.members)
        return Planned(self.branch, members, self.experiment, self.tickets, self.root)

    def __repr__(self) -> str:
        seeds = sorted({seed for networks in self.runs.values() for seed in networks.seeds})
        return f"Runs({self.branch}: levels {self.levels}, seeds {seeds})"

    def _repr_html_(self) -> str:
        rows = [
            {"level": level, "weights left, %": 100 * networks.results[0]["density"],
             "networks": len(networks.members), "seconds": networks.seconds}
            for level, networks in self.runs.items()
        ]  # fmt: skip
        return f"<b>{self.branch}</b>" + pd.DataFrame(rows).to_html(index=False, float_format="{:.2f}".format, border=0)


@dataclass(frozen=True)
class Planned:
    """Networks of one branch that are asked for, as plain data: nothing of them need be trained yet.

    Attributes:
        branch, experiment, tickets, root: as those of `Runs`.
        members: the networks, level by level.
    """

    branch: str
    members: tuple[Labelled, ...]
    experiment: Experiment
    tickets: Mapping[tuple[int, int], Run]
    root: Path | None = None

    @property
    def levels(self) -> list[int]:
        """Levels of pruning, as they were asked for."""
        return list(dict.fromkeys(member.level for member in self.members))

    def seeds(self, level: int) -> list[int]:
        """Of the networks at a level."""
        return list(dict.fromkeys(member.run.seed for member in self.members if member.level == level))

    def done(self, blocked: Mapping[str, str], *, gaps: bool = False) -> Runs:
        """The finished runs, without those that could not start.

        Args:
            blocked: what `compute` gave.
            gaps: whether levels may be missing.

        Raises:
            RuntimeError: if at a level there is none, unless levels may be missing.
        """
        members = [one for one in self.members if one.run.hash not in blocked] if gaps else self.members
        return Runs(self.branch, _by_level(members, blocked, self.root), self.experiment, self.tickets, self.root)


def computed(
    planned: Mapping[K, Planned], title: str, root: Path | None, *, moment: Moment = DONE, gaps: bool = False
) -> dict[K, Runs]:
    """Compute all that is asked for by one plan: see `labkit.runs.scheduler.compute`, and `Planned.done`."""
    blocked = compute([member for one in planned.values() for member in one.members], title, root, moment=moment)
    return {key: one.done(blocked, gaps=gaps) for key, one in planned.items()}


def chosen(trunk: Planned, levels: object, default: list[int]) -> list[int]:
    """Levels of some tickets, checked.

    Raises:
        ValueError: for a level that they do not have, one twice, or none.
    """
    wanted = default if levels is None else listed("levels", levels, of=whole, like=str(default))
    for level in wanted:
        choose("level", str(level), map(str, trunk.levels))
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"levels is {wanted}: give at least one of the tickets' levels, each once, {trunk.levels}")
    return wanted


def _by_level(members: Iterable[Labelled], blocked: Mapping[str, str], root: Path | None) -> dict[int, Networks]:
    """Networks by level, without those that could not start.

    Raises:
        RuntimeError: if at a level there is none.
    """
    levels: dict[int, list[Labelled]] = {}
    for member in members:
        levels.setdefault(member.level, []).append(member)
    found = {}
    for level, all_of_it in levels.items():
        started = [member for member in all_of_it if member.run.hash not in blocked]
        if not started:
            raise RuntimeError(
                f"every network of {all_of_it[0].branch} that level {level} would start from diverged: "
                f"{blocked[all_of_it[0].run.hash]}"
            )
        found[level] = Networks(started, root)
    return found
