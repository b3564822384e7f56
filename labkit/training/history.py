"""What the training of one network has recorded so far."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.sparsity.moves import Moves
from labkit.training.engines.door import Settled

# train_* are means over the batches since the last evaluation, as the network saw them
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
EVALUATED = HISTORY[2:]


class Record:
    """Steps done, the loss of each, evaluations, and counts of active weights.

    Args:
        start, total: first and last step.
        points: the steps at which the network is evaluated, rising.
        updates: mask updates of the run.
        layers: masked layers.

    Attributes:
        step: that was reached.
        diverged: the step at which the loss was not finite, or -1.
        losses: float32 (total - start,): of each step's batch; NaN for steps to come.
        right: int32, likewise: examples that were right.
        points: the steps of evaluations.
        evaluations: float64 (points, `EVALUATED`); NaN for those to come.
        kept: int64 (updates + 1, layers): active weights at the start and after each update.
        moves: what updates dropped and grew; None of a run without updates, or begun before that was written down.
    """

    def __init__(self, start: int, total: int, points: Sequence[int], updates: int = 0, layers: int = 0):
        self.start, self.points = start, list(points)
        self.step, self.diverged = start, -1
        self.losses = torch.full((total - start,), math.nan)
        self.right = torch.zeros(total - start, dtype=torch.int32)
        self.evaluations = torch.full((len(self.points), len(EVALUATED)), math.nan, dtype=torch.float64)
        self._evaluated = -1  # the last point that was
        self.kept = torch.zeros(updates + 1, layers, dtype=torch.int64)
        self.moves = Moves() if updates else None

    def add(self, settled: Settled) -> None:
        """Note what an engine has done."""
        first = self.step - self.start
        last = first + len(settled.losses)
        self.losses[first:last] = torch.tensor(settled.losses)
        self.right[first:last] = torch.tensor(settled.right, dtype=torch.int32)
        self.step = settled.step
        if settled.bad is not None:
            self.diverged = settled.bad

    @property
    def due(self) -> bool:
        """Whether an evaluation is due at the step that was reached."""
        return self.step in self.points and self.step > self._evaluated

    def evaluate(self, values: Sequence[float]) -> None:
        """Note an evaluation: losses and accuracies on validation, then on test data.

        A network whose validation loss is not finite has diverged (its test loss, where there is no validation set).
        """
        self.evaluations[self.points.index(self.step)] = torch.tensor(values, dtype=torch.float64)
        self._evaluated = self.step
        validation, _, test, _ = values
        if not math.isfinite(validation) and not (math.isnan(validation) and math.isfinite(test)):
            self.diverged = self.step

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        state = torch.tensor([self.start, self.step, self.diverged, self._evaluated])
        moves = self.moves.tensors() if self.moves is not None else {}
        return {"history/losses": self.losses, "history/right": self.right, "history/kept": self.kept,
                "history/points": torch.tensor(self.points), "history/evaluations": self.evaluations,
                "history/state": state, **{f"history/{name}": t for name, t in moves.items()}}  # fmt: skip

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Record":
        """What `tensors` gave, as it was."""
        start, step, diverged, evaluated = tensors["history/state"].tolist()
        losses, kept = tensors["history/losses"], tensors["history/kept"]
        found = cls(start, start + len(losses), tensors["history/points"].tolist(), len(kept) - 1, kept.shape[1])
        found.step, found.diverged, found._evaluated = step, diverged, evaluated
        found.losses, found.kept, found.right = losses, kept, tensors["history/right"]
        found.evaluations = tensors["history/evaluations"]
        moves = {name.removeprefix("history/"): t for name, t in tensors.items() if name.startswith("history/moves/")}
        found.moves = Moves.of(moves) if moves else None
        return found

    def with_evaluations(self, other: "Record") -> "Record":
        """The same with the evaluations of another record of the same run beside its own."""
        rows = dict(zip(other.points, other.evaluations, strict=True))
        rows |= dict(zip(self.points, self.evaluations, strict=True))
        found = Record.of(self.tensors())
        found.points = sorted(rows)
        found.evaluations = torch.stack([rows[point] for point in found.points])
        return found

    def rows(self, batch: int, points: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """What evaluations gave, up to where training stopped: iteration and `HISTORY`, None where there is no number.

        Args:
            batch: examples a step.
            points: evaluations that are wanted; default all.
        """
        rows, before = [], self.start
        for point in self.points if points is None else points:
            if point > self.step:
                break
            part = slice(before - self.start, point - self.start)
            count = point - before
            trained = [float("nan")] * 2
            if count:
                trained = [
                    float(self.losses[part].double().sum()) / count,
                    int(self.right[part].sum()) / (count * batch),
                ]
            values = [*trained, *self.evaluations[self.points.index(point)].tolist()]
            named = {name: None if math.isnan(value) else value for name, value in zip(HISTORY, values, strict=True)}
            rows.append({"iteration": point, **named})
            before = point
        return rows
