"""What a run has recorded so far, replicate by replicate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# train_* are means over the batches since the last evaluation, as the network saw them
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")


class Record:
    """Steps done, losses, evaluations and counts of active weights of R replicates.

    Args:
        size: R.
        points: the steps at which networks are evaluated, rising; the first is where the run starts.
        batch: examples a step.
        updates: mask updates of the run.
        layers: masked layers.

    Attributes:
        step: steps that each replicate has done.
        diverged: the step at which its loss was not finite, or -1.
        history: float64 (R, points, `HISTORY`).
        kept: int64 (R, updates + 1, layers): active weights at the start and after each update.
    """

    def __init__(self, size: int, points: Sequence[int], batch: int, updates: int = 0, layers: int = 0):
        self.points, self.batch = points, batch
        self._point_of = {step: index for index, step in enumerate(points)}
        self.step, self.diverged = [points[0]] * size, [-1] * size
        self.history = torch.full((size, len(points), len(HISTORY)), math.nan, dtype=torch.float64)
        self.kept = torch.zeros(size, updates + 1, layers, dtype=torch.int64)
        self._losses, self._right = [0.0] * size, [0] * size  # since the last evaluation
        self._waiting: list[list[Tensor]] = [[] for _ in range(size)]  # losses and right answers, on the device

    def goes_on(self, replicate: int) -> bool:
        """Whether the replicate has steps left."""
        return self.step[replicate] < self.points[-1] and self.diverged[replicate] < 0

    @property
    def unfinished(self) -> list[int]:
        """Replicates that have steps left, the furthest behind first."""
        return sorted(filter(self.goes_on, range(len(self.step))), key=lambda r: self.step[r])

    def at_evaluation(self, replicate: int) -> bool:
        """Whether the replicate has arrived at an evaluation."""
        return self.step[replicate] in self._point_of

    def add_step(self, replicate: int, result: Tensor, most: int) -> None:
        """One step more: note its loss and right answers, and read those noted once there are `most`."""
        self._waiting[replicate].append(result)
        self.step[replicate] += 1
        if len(self._waiting[replicate]) >= most:
            self.read(replicate)

    def read(self, replicate: int) -> None:
        """Add up the losses and right answers that wait on the device; stop at one that is not finite."""
        waiting, self._waiting[replicate] = self._waiting[replicate], []
        first = self.step[replicate] - len(waiting)
        for step, (loss, right) in enumerate(torch.stack(waiting).tolist() if waiting else [], first):
            if not math.isfinite(loss):
                self.diverged[replicate] = self.step[replicate] = step
                return
            self._losses[replicate] += loss
            self._right[replicate] += int(right)

    def add_evaluation(self, replicate: int, values: Sequence[float]) -> None:
        """Write a line of the history: means over the steps since the last one, and the values of an evaluation.

        A replicate whose validation loss is not finite has diverged (its test loss, where there is no validation set).

        Args:
            replicate: which.
            values: losses and accuracies on validation, then on test data; NaN of an empty validation set.
        """
        point = self._point_of[self.step[replicate]]
        steps = self.step[replicate] - self.points[point - 1] if point else 0
        trained = [math.nan, math.nan]
        if steps:
            trained = [self._losses[replicate] / steps, self._right[replicate] / (steps * self.batch)]
        self.history[replicate, point] = torch.tensor([*trained, *values], dtype=torch.float64)
        validation, _, test, _ = values
        if not math.isfinite(validation) and not (math.isnan(validation) and math.isfinite(test)):
            self.diverged[replicate] = self.step[replicate]
        self._losses[replicate], self._right[replicate] = 0.0, 0

    def rows(self, replicate: int) -> list[dict[str, Any]]:
        """What a replicate's evaluations gave: iteration and `HISTORY`, None where there is no number."""
        return [
            {"iteration": step, **{k: None if math.isnan(v) else v for k, v in zip(HISTORY, values, strict=True)}}
            for step, values in zip(self.points, self.history[replicate].tolist(), strict=True)
            if step <= self.step[replicate]
        ]

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name; what waits must have been read."""
        found = {f"loop/{name}": torch.tensor(values, dtype=torch.float64) for name, values in self._counters().items()}
        return found | {"loop/history": self.history, "loop/kept": self.kept}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.history.copy_(tensors["loop/history"])
        self.kept.copy_(tensors["loop/kept"])
        for name, values in self._counters().items():
            for replicate, value in enumerate(tensors[f"loop/{name}"].tolist()):
                values[replicate] = type(values[replicate])(value)

    def _counters(self) -> dict[str, Any]:
        return {"step": self.step, "diverged": self.diverged, "losses": self._losses, "right": self._right}
