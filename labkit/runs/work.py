"""A plan being carried out: which runs are worked on now, what follows from those that have ended, what is saved."""

import time
import warnings
from collections.abc import Sequence

import torch

from labkit.ground.interrupts import Stopped
from labkit.ground.progress import Progress
from labkit.runs.plan import Plan, Planned
from labkit.runs.run import Run
from labkit.runs.task import Task
from labkit.runs.watching import Progressed, watching
from labkit.runs.weight_sources import DONE, END
from labkit.training.crew import Job, at_once, kernel_threads
from labkit.training.engines.stepping import Stepping

POLL_SECONDS = 0.5  # between looks at a run that another process holds


class Work:
    """A plan being carried out: hands jobs to the crew."""

    def __init__(self, plan: Plan, progress: Progress):
        self.plan, self.progress, self.cores = plan, progress, torch.get_num_threads()
        self.engines: dict[str, Stepping] = {}
        self.active: list[Planned] = []
        self.watching = watching()
        self._slots = 0
        self._waiting_told = False

    def engine(self, run: Run) -> Stepping:
        """That executes it: one for all runs of a recipe."""
        key = run.experiment.recipe_digest
        if key not in self.engines:
            self.engines[key] = run.experiment.engine()
        return self.engines[key]

    def most(self) -> int:
        """Networks that can be worked on at once."""
        left = self.plan.left
        runs = [planned.run for planned in left]
        kinds = {(run.experiment.step_digest, run.experiment.spec.train.batch_size): run for run in runs}
        return max(at_once(self.engine(run), len(left), self.cores) for run in kinds.values())

    def jobs(self, busy: Sequence[Job]) -> list[Job] | None:
        """What can be worked on, the longest way first; None: ask again (the plan has changed, or others are at it)."""
        self._collect()
        self._admit(self.plan.left)
        found, left = [p for p in self.active if p.task and not p.task.done], self.plan.left
        if found or busy or not left:
            return [p.task for p in sorted(found, key=lambda p: -p.rest) if p.task]
        ready = [p for p in left if not p.waits]
        if not ready:
            raise RuntimeError(f"runs wait for each other: {', '.join(self.plan.name(p.run) for p in left)}")
        if any(p.looked for p in ready):
            self._wait()
        return None

    def _admit(self, left: Sequence[Planned]) -> None:
        waiting = [p for p in left if p not in self.active and not p.waits]
        for planned in sorted(waiting, key=lambda p: -p.rest):
            engine = self.engine(planned.run)
            most = at_once(engine, len(left), self.cores)
            few = most > 1 and len(self.active) + len(waiting) <= 2 * most  # all take turns, and none is the last alone
            if (len(self.active) < most or few) and time.monotonic() - planned.looked >= POLL_SECONDS:
                self._take(planned, engine, kernel_threads(engine, self.cores))

    def _take(self, planned: Planned, engine: Stepping, threads: int) -> None:
        folder = self.plan.store.folder(planned.run)
        if not folder.lock():
            planned.looked = time.monotonic()
            return
        try:
            train, planned.replayed = self.plan.lacking(planned.run, planned.moments)
            nothing = not train and planned.replayed is None  # another process has computed it meanwhile
            if not nothing:
                self.progress.total += sum(one.steps for one in self.plan.plan_gone(planned))
            if planned.waits:
                planned.lost.clear()
                folder.unlock()
                return
            if len(planned.lost) > 1:  # it was no other process
                raise planned.lost[-1]
            snapshots = {int(m) for m in planned.moments if m not in (END, DONE) and not folder.has_snapshot(int(m))}
            planned.task = Task(planned.run, folder, self.plan.store, engine, self._slots, threads,
                                snapshots=snapshots, points=self.plan.points(planned.run),
                                replayed=planned.replayed,
                                saved_every=self.watching.saved_every if self.watching else None)  # fmt: skip
        except BaseException:
            folder.unlock()
            raise
        self._slots += 1
        self.active.append(planned)
        if nothing:
            planned.task.leave()

    def _collect(self) -> None:
        """Of what has ended: tell what there is to tell, and let others start."""
        ended = [(planned, planned.task) for planned in self.active if planned.task]
        for planned, task in [(one, task) for one, task in ended if task.done or task.lost]:
            self.active.remove(planned)
            if task.lost:  # if what it starts from is gone, that is computed first
                planned.lost.append(task.lost)
                planned.task = None
                continue
            if task.replayed is None and (lacks := self.plan.lacking(planned.run, planned.moments)[1]) is not None:
                planned.replayed, planned.task = lacks, None  # its checkpoint was begun with fewer evaluations
                self.progress.total += planned.steps
                continue
            if task.told:
                warnings.warn(task.told, stacklevel=6)
            if task.diverged_at >= 0:
                self.plan.diverged[planned.run.hash] = task.diverged_at
                tell_divergence(self.plan.name(planned.run), task.diverged_at, planned.run)
            self._forget(planned.run)
            for child in planned.children:
                child.waits.discard(planned.run.hash)
                for source, at in child.run.needs:
                    if source == planned.run and task.diverged_at >= 0 and (at == END or int(at) > task.diverged_at):
                        self.plan.stop(child, source)

    def _forget(self, run: Run) -> None:
        """Let an engine go whose last network this was."""
        key = run.experiment.recipe_digest
        if not any(planned.run.experiment.recipe_digest == key for planned in self.plan.left):
            self.engines.pop(key, None)

    def _wait(self) -> None:
        """Nothing can be worked on here: another process holds what comes next."""
        if not self._waiting_told:
            self._waiting_told = True
            self.progress.say("what comes next is being computed by another process; waiting for it")
        time.sleep(POLL_SECONDS)

    def told(self) -> None:
        """Show progress, and tell who watches; time that they take is not counted as training."""
        left = self.plan.left
        done = self.progress.total - sum(planned.steps for planned in left)
        self.progress(done, self.note(left))
        if self.watching:
            began, tasks = time.monotonic(), [planned.task for planned in self.active if planned.task]
            rows = {task.run.hash: task.rows() for task in tasks if not task.done}
            self.watching.told(Progressed(done, self.progress.total, rows, waiting=bool(left) and not tasks))
            for task in tasks:
                task.rested(time.monotonic() - began)

    def note(self, left: Sequence[Planned]) -> str:
        """How far it is, in words: the lowest level that is being worked on."""
        levels = [self.plan.labels[p.run.hash].level for p in left if p.run.hash in self.plan.labels]
        highest = max((member.level for member in self.plan.labels.values()), default=0)
        return f"level {min(levels)} of {highest}" if levels and highest else ""

    def stopped(self) -> Stopped:
        """The error that says so."""
        note = self.note(self.plan.left)
        return Stopped(f"stopped{f' at {note}' if note else ''}; run again to go on")

    def save(self) -> None:
        """Keep what is on its way, and give it back."""
        left = [planned.task for planned in self.active if planned.task and not planned.task.done]
        try:
            for task in left:
                task.save()
        finally:
            for task in left:
                task.folder.unlock()


def tell_divergence(label: str, step: int, run: Run) -> None:
    """Warn of a network that diverged."""
    warnings.warn(
        f"{label} stopped at step {step}: its loss was not finite. The others go on without it; try a smaller learning "
        f"rate than {run.experiment.spec.train.lr:g}.",
        stacklevel=6,
    )
