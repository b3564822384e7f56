"""The one training loop: it computes the next stop, lets an engine get there, and does what is due there."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from labkit.training.engines.door import Engine
from labkit.training.history import Record
from labkit.training.mask_updates import Dynamics

SLICE_SECONDS = 0.25  # after which others may go on, progress is told, and an interrupt is heard

Snapshot = Callable[[int, Mapping[str, Tensor]], None]


class Training:
    """One network's way from its first step to its last.

    Args:
        engine: that executes its steps; the network has been put into the slot.
        slot: of the engine.
        seed: of the network; growth is drawn from it.
        record: what has been recorded so far; its step is where the network is.
        total: the last step.
        dynamics: how masks change; the engine must be `dynamic` if they do.
        snapshots: steps at which `keep` is called.
        keep: with a step and the network's canonical tensors.
    """

    def __init__(
        self, engine: Engine, slot: int, seed: int, record: Record, total: int, *, dynamics: Dynamics | None = None,
        snapshots: Iterable[int] = (), keep: Snapshot | None = None,
    ):  # fmt: skip
        self.engine, self.slot, self.seed, self.record, self.total = engine, slot, seed, record, total
        self.dynamics, self._keep = dynamics, keep
        self._snapshots = {step for step in snapshots if record.start <= step <= total}
        updates = dynamics.moments if dynamics else []
        self._updates = {step: place for place, step in enumerate(updates)}
        self._stops = sorted({*record.points, *self._snapshots, *updates, total})
        self._steps = 1  # of a slice
        if record.step == record.start:
            record.kept[:] = torch.tensor(engine.kept(slot), dtype=torch.int64)

    @property
    def goes_on(self) -> bool:
        """Whether there are steps left, or an evaluation of the last."""
        return self.record.diverged < 0 and (self.record.step < self.total or self.record.due)

    def work(self) -> None:
        """Go on to the next stop, or for a while, and do what is due there."""
        self._arrive()
        record = self.record
        if record.diverged < 0 and record.step < self.total:
            if record.step in self._updates:
                self._update(self._updates[record.step])
            else:
                self._advance()
            self._arrive()

    def _advance(self) -> None:
        record, began = self.record, time.monotonic()
        until = min(record.step + self._steps, next(stop for stop in self._stops if stop > record.step))
        steps = until - record.step
        self.engine.advance(self.slot, until)
        record.add(self.engine.settle(self.slot))
        seconds = time.monotonic() - began
        if steps == self._steps and seconds < SLICE_SECONDS / 2:
            self._steps *= 2
        elif seconds > SLICE_SECONDS:
            self._steps = max(1, self._steps // 2)

    def _update(self, place: int) -> None:
        """A mask update, which takes the place of the optimiser's step (Evci et al. 2020, Algorithm 1).

        A network whose loss is not finite stays as it is.
        """
        assert self.dynamics is not None
        step = self.record.step
        view = self.engine.gradients(self.slot)
        self.record.add(self.engine.settle(self.slot))
        if self.record.diverged < 0:
            moved = self.dynamics.moved(view, step, self.seed)
            if self.record.moves is not None:
                self.record.moves.add(view.masks, moved)
            self.engine.rewire(self.slot, moved, reset_regrown=self.dynamics.spec.reset_regrown)
            self.record.kept[place + 1 :] = torch.tensor(self.engine.kept(self.slot), dtype=torch.int64)

    def _arrive(self) -> None:
        """Do what is due at the step that was reached."""
        record = self.record
        if record.diverged >= 0:
            return
        if record.step in self._snapshots:
            self._snapshots.remove(record.step)
            if self._keep:
                self._keep(record.step, self.engine.take(self.slot))
        if record.due:
            record.evaluate([v for split in ("validation", "test") for v in self.engine.evaluate(self.slot, split)])

    def tensors(self) -> dict[str, Tensor]:
        """All that a later process needs to go on bit for bit."""
        return self.engine.take(self.slot) | self.record.tensors()


def evaluation_points(start: int, total: int, every: int) -> Sequence[int]:
    """The steps at which a run is evaluated: its first, every so many from there, and its last.

    >>> evaluation_points(0, 45, 20)
    [0, 20, 40, 45]
    """
    return [*range(start, total, max(1, every)), total]
