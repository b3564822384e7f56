"""What of some runs, and of those that they start from, is still to be computed, and in which order."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.runs.missing import ends, lacking
from labkit.runs.networks import Labelled
from labkit.runs.run import Run
from labkit.runs.store import Store
from labkit.runs.task import Task
from labkit.runs.weight_sources import DONE, END, Moment


@dataclass
class Planned:
    """A run that must be computed, or replayed."""

    run: Run
    moments: set[Moment]  # that others take from it
    replayed: int | None
    children: list["Planned"] = field(default_factory=list)
    waits: set[str] = field(default_factory=set)  # for these runs
    task: Task | None = None
    after: int = 0  # steps on the longest way from its end
    looked: float = 0.0  # when another process was last found to hold it
    blocked: str = ""
    lost: list[Exception] = field(default_factory=list)  # it could not start, though all was there when it was planned

    @property
    def done(self) -> bool:
        """Whether it has been computed."""
        return bool(self.task and self.task.done)

    @property
    def steps(self) -> int:
        """To do."""
        return self.task.left if self.task else ends(self.run, self.replayed) - self.run.first

    @property
    def rest(self) -> int:
        """Steps on the longest way from here to an end."""
        return self.steps + self.after


class Plan:
    """What of some runs, and of those that they start from, is still to be computed.

    Args:
        wanted: runs with their labels; of runs that are the same the evaluations of all are wanted.
        store: where runs lie.
        moment: what is wanted of them: that they are finished, or their weights at the end.

    Raises:
        ValueError: if a run was computed by what has changed since, or what it started from is not what is there now.
    """

    def __init__(self, wanted: Sequence[Labelled], store: Store, moment: Moment = DONE):
        self.store, self.labels = store, {member.run.hash: member for member in wanted}
        self.planned: dict[str, Planned] = {}
        self.diverged: dict[str, int] = {}  # finished runs, and where
        self._asked: dict[str, set[Moment]] = {}
        self._abouts: dict[str, dict[str, Any] | None] = {}  # of runs that are asked for now
        self._points: dict[str, set[int]] = {}
        for member in wanted:
            self._points.setdefault(member.run.hash, set()).update(member.run.experiment.points(member.run.first))
        for member in wanted:
            self._ask(member.run, moment)
        self._settle(self.planned)

    def _settle(self, names: Iterable[str]) -> None:
        self._abouts.clear()  # what is there may change from now on
        self._link(names)
        self._block()

    def _link(self, names: Iterable[str]) -> None:
        """Let what is planned wait for what it starts from."""
        for planned in [self.planned[name] for name in names]:
            for source in {source for source, _ in planned.run.needs}:
                if source.hash in self.planned and not self.planned[source.hash].done:
                    self.planned[source.hash].children.append(planned)
                    planned.waits.add(source.hash)
        for planned in reversed(self._in_order()):
            planned.after = max((child.rest for child in planned.children), default=0)

    def points(self, run: Run) -> set[int]:
        """Steps at which its evaluation is wanted; of one that is trained for others alone, its own."""
        return self._points.get(run.hash) or set(run.experiment.points(run.first))

    def lacking(self, run: Run, moments: Collection[Moment]) -> tuple[bool, int | None]:
        """What of a run is missing now (see `labkit.runs.missing.lacking`)."""
        folder = self.store.folder(run)
        return lacking(folder, folder.about(), moments, self._points.get(run.hash, ()))

    def plan_gone(self, planned: Planned) -> list[Planned]:
        """Plan what a run starts from anew, where it is not there any more: another process let it go.

        Returns:
            What was planned for it alone; if all is there, or was planned anew for another, nothing.
        """
        gone = [(run, at) for run, at in planned.run.needs if self.lacking(run, [at]) != (False, None)]
        if not gone:
            return []
        self._asked = {name: asked for name, asked in self._asked.items() if not self._done(name)}
        self.planned = {name: one for name, one in self.planned.items() if not one.done}
        before = set(self.planned)
        for run, at in gone:
            self._ask(run, at)
        new = [name for name in self.planned if name not in before]
        self._settle([*new, planned.run.hash])
        return [self.planned[name] for name in new]

    def _done(self, name: str) -> bool:
        return name not in self.planned or self.planned[name].done

    def _in_order(self) -> list[Planned]:
        """What is planned, each after what it waits for."""
        found = [planned for planned in self.planned.values() if not planned.waits and not planned.done]
        left = {planned.run.hash: len(planned.waits) for planned in self.planned.values()}
        for planned in found:  # grows
            for child in planned.children:
                left[child.run.hash] -= 1
                if not left[child.run.hash]:
                    found.append(child)
        return found

    def _ask(self, run: Run, moment: Moment) -> None:
        asked = self._asked.setdefault(run.hash, set())
        if moment in asked:
            return
        asked.add(moment)
        folder = self.store.folder(run)
        if run.hash not in self._abouts:
            self._abouts[run.hash] = folder.about()
            self._check_finished(run, self._abouts[run.hash])
        train, replayed = lacking(folder, self._abouts[run.hash], asked, self._points.get(run.hash, ()))
        if not train and replayed is None:
            return
        if run.hash in self.planned:
            self.planned[run.hash].moments, self.planned[run.hash].replayed = asked, replayed
            return
        self.planned[run.hash] = Planned(run, asked, replayed)
        for source, at in run.needs:
            self._ask(source, at)

    def _check_finished(self, run: Run, about: Mapping[str, Any] | None) -> None:
        """See that what a finished run started from is what is there now; note where it diverged."""
        if about is None:
            return
        if about["result"]["diverged_at"] is not None:
            self.diverged[run.hash] = about["result"]["diverged_at"]
        self.check_sources(run, about["sources"])

    def check_sources(self, run: Run, recorded_sources: Mapping[str, str]) -> None:
        """See that what a run, finished or on its way, started from is what is there now.

        Raises:
            ValueError: if it came out otherwise since.
        """
        for source, at in run.needs:
            recorded = recorded_sources.get(f"{source.hash}@{at}")
            try:
                found = self.store.content(source, at)
            except (FileNotFoundError, ValueError):
                continue  # gone or damaged: it is not needed, or computed again
            if recorded != found:
                raise ValueError(
                    f"{self.store.folder(run).path} started from {self.store.folder(source).path} ({at}), which was "
                    "computed again since and came out otherwise. Delete the first to compute it from what is there now"
                )

    def _block(self) -> None:
        """Leave out what can never start, as its source has diverged."""
        for planned in self.planned.values():
            for source, at in planned.run.needs:
                step = self.diverged.get(source.hash)
                if step is not None and (at == END or int(at) > step):
                    self.stop(planned, source)

    def stop(self, planned: Planned, source: Run) -> None:
        """It, and what starts from it, cannot be computed: what it starts from diverged."""
        reason, stopped = f"{self.name(source)} diverged", [planned]
        for one in stopped:  # grows
            one.blocked = reason
            stopped += [child for child in one.children if not child.blocked]

    def name(self, run: Run) -> str:
        """How messages call a run."""
        return self.labels[run.hash].label if run.hash in self.labels else repr(run)

    @property
    def left(self) -> list[Planned]:
        """What is to be done."""
        return [p for p in self.planned.values() if not p.blocked and not p.done]
