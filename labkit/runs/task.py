"""What is left to do for one run: train it, or replay it as far as something is missing; from its checkpoint on."""

import time
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from labkit.runs.folder import RunFolder
from labkit.runs.missing import ends
from labkit.runs.outcome import outcome
from labkit.runs.run import Run
from labkit.runs.store import Store
from labkit.sparsity.masks import Masks
from labkit.training.engines.door import Engine, canonical, parted
from labkit.training.history import Record
from labkit.training.loop import Training

CHECKPOINT_SECONDS = 20.0


class Task:
    """A run on its way; a job of `labkit.training.crew`.

    Args:
        run: to be computed.
        folder: of the run, locked; it is given back at the end.
        store: what it starts from.
        engine: that executes it.
        slot: of the engine, for this task alone.
        threads: kernel threads that it is given.
        snapshots: steps at which its weights are kept.
        points: steps at which it is evaluated.
        replayed: the step up to which a finished run is trained again, to have what it lacks; None: it is not finished.
        saved_every: seconds between checkpoints; default `CHECKPOINT_SECONDS`.
    """

    def __init__(
        self, run: Run, folder: RunFolder, store: Store, engine: Engine, slot: int, threads: int, *,
        snapshots: Collection[int], points: Collection[int], replayed: int | None = None,
        saved_every: float | None = None,
    ):  # fmt: skip
        self.run, self.store, self.engine, self.slot, self.threads = run, store, engine, slot, threads
        self.folder, self._every = folder, CHECKPOINT_SECONDS if saved_every is None else saved_every
        self.snapshots, self.points, self.replayed = sorted(snapshots), sorted(points), replayed
        self.done, self.diverged_at, self.told = False, -1, ""
        self.lost: Exception | None = None  # why it could not begin
        self._training: Training | None = None
        self._seconds = self._began = self._saved = 0.0
        self._broken = False  # it raised an error on its way
        self._start: dict[str, Tensor] = {}
        self._sources: dict[str, str] = {}

    @property
    def alone(self) -> bool:
        """Whether nothing else may run meanwhile."""
        return self.engine.alone

    @property
    def last(self) -> int:
        """The step at which it ends."""
        return ends(self.run, self.replayed)

    @property
    def left(self) -> int:
        """Steps to do."""
        return 0 if self.done else self.last - (self._training.record.step if self._training else self.run.first)

    def leave(self) -> None:
        """Nothing is to be done after all."""
        about = self.folder.about()
        step = about["result"]["diverged_at"] if about else None
        self.done, self.diverged_at = True, -1 if step is None else step
        self.folder.unlock()

    def work(self) -> None:
        """Go on for a slice; at the end, write what came of it."""
        try:
            self._work()
        except BaseException:
            self._broken = True
            raise

    def _work(self) -> None:
        if self._training is None:
            try:
                self._training = self._begin()
            except (FileNotFoundError, ValueError) as error:
                self.lost = error
                self.folder.unlock()
                return
            if torch.get_num_threads() != self.threads:  # a checkpoint goes on with those that it had
                torch.set_num_threads(self.threads)
            self._began = self._saved = time.monotonic()
        training = self._training
        if training.goes_on:
            training.work()
        if not training.goes_on:
            self._finish(training)
        elif time.monotonic() - self._saved > self._every:
            self.save()

    def _begin(self) -> Training:
        experiment, run = self.run.experiment, self.run
        found = self.folder.checkpoint() if self.replayed is None else None
        if found is not None:
            tensors, about = found
            record, self._seconds, self._sources = Record.of(tensors), about["seconds"], about["sources"]
            self._start = {name: t for name, t in tensors.items() if name.startswith("start/")}
            self.threads = about["threads"]
            tensors = {name: t for name, t in tensors.items() if not name.startswith(("history/", "start/"))}
        else:
            if self.replayed is not None:  # with as many as it had, so that it goes the same way
                self.threads = self._recorded()["result"]["threads"]
            state, masks = run.make_start(self.store)
            self._sources = {f"{other.hash}@{at}": self.store.content(other, at) for other, at in run.needs}
            tensors = canonical(state, masks)
            self._start = {f"start/{name}": mask for name, mask in masks.items()} if experiment.moving else {}
            updates = len(experiment.dynamics.moments) if experiment.dynamics else 0
            points = [point for point in self.points if run.first <= point <= self.last]
            record = Record(run.first, self.last, points, updates, len(masks))
        self.engine.put(self.slot, tensors, run.seed, record.step)
        moves = experiment.dynamics if experiment.moving else None
        return Training(self.engine, self.slot, run.seed, record, self.last, dynamics=moves,
                        snapshots=self.snapshots, keep=self._keep)  # fmt: skip

    def _keep(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        self.folder.write_snapshot(step, parted(tensors)[0])

    def spent(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self._seconds + time.monotonic() - self._began

    def rested(self, seconds: float) -> None:
        """So long it was kept from training."""
        self._began += seconds

    def rows(self) -> list[dict[str, Any]]:
        """What its evaluations gave so far (see `Record.rows`)."""
        return self._training.record.rows(self.run.experiment.spec.train.batch_size) if self._training else []

    def save(self) -> None:
        """Write a checkpoint, if something was done."""
        if self._training is None or self._broken or self.replayed is not None:
            return
        about = {"seconds": self.spent(), "threads": self.threads, "sources": self._sources}
        self.folder.write_checkpoint(self._training.tensors() | self._start, about)
        self._saved = time.monotonic()

    def _finish(self, training: Training) -> None:
        tensors, record = self.engine.take(self.slot), training.record
        how, why = self.engine.how(self.slot)
        self.engine.free(self.slot)
        self.diverged_at = record.diverged
        if self.replayed is not None:
            self._accept(record, *parted(tensors))
        else:
            state, masks = parted(tensors)
            start = {name.removeprefix("start/"): mask for name, mask in self._start.items()} or masks
            self.folder.finish(state, masks, start, record, {
                "result": outcome(self.run, masks, record, seconds=self.spent(), threads=self.threads,
                                  how=how, why=why),
                "sources": self._sources,
            })  # fmt: skip
        self.done = True
        self.folder.unlock()

    def _accept(self, record: Record, state: Mapping[str, Tensor], masks: Masks) -> None:
        """Add what a replay found to the finished run, and see whether it went the same way.

        Raises:
            ValueError: if its weights at the end are wanted again, and are not what they were.
        """
        old, about = self.folder.record(), self._recorded()
        steps = min(record.step, old.step) - record.start
        mine, theirs = record.losses[:steps].nan_to_num(), old.losses[:steps].nan_to_num()
        if not torch.equal(mine, theirs):
            first, most = int((mine != theirs).nonzero()[0]) + record.start, float((mine - theirs).abs().max())
            self.told = (
                f"{self.folder.path} was trained again up to step {record.step}, and its loss differs from the one "
                f"recorded from step {first} on, by up to {most:.1g}: this machine computes otherwise. What starts "
                "from there is not strictly of the run that was finished"
            )
        if record.step == self.run.experiment.iterations and not about["weights"]:
            self.folder.add_weights(state, masks)
        if set(record.points) - set(old.points):
            self.folder.add_evaluations(record)

    def _recorded(self) -> dict[str, Any]:
        """The description of the finished run."""
        about = self.folder.about()
        if about is None:
            raise FileNotFoundError(f"{self.folder.path} is gone: run again to compute it again")
        return about
