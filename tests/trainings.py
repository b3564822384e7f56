"""Networks that train side by side in one engine, without runs and their files: what tests of training work with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from labkit import models
from labkit.data import DataSet
from labkit.ground.device import CPU
from labkit.specs.networks import TrainSpec
from labkit.training.crew import at_once, kernel_threads, train
from labkit.training.engines.door import canonical
from labkit.training.engines.network import Network
from labkit.training.engines.stepping import Stepping
from labkit.training.history import HISTORY, Record
from labkit.training.loop import Training, evaluation_points
from labkit.training.mask_updates import Dynamics


@dataclass
class Together:
    """Networks of one shape, a seed each, from their first step to the last.

    Args:
        model: builds one network.
        states, masks: of each network, name -> tensor, as lists.
        data, spec, device: as of `Stepping`.
        seeds: one a network.
        start: the first step.
        snapshots: steps whose weights are kept.
        dynamics: how masks change.
        saved: canonical tensors with their records to go on from, as `tensors` gave them.
    """

    model: Callable[[], torch.nn.Module]
    states: Sequence[Mapping[str, Tensor]]
    masks: Sequence[Mapping[str, Tensor]]
    data: DataSet
    spec: TrainSpec
    seeds: Sequence[int]
    device: torch.device = CPU
    start: int = 0
    snapshots: Sequence[int] = ()
    dynamics: Dynamics | None = None
    saved: Sequence[Mapping[str, Tensor]] | None = None
    kept: dict[tuple[int, int], Mapping[str, Tensor]] = field(default_factory=dict)  # (position, step) -> canonical

    def __post_init__(self) -> None:
        moves = self.dynamics if self.dynamics and self.dynamics.moments else None
        self.engine = Stepping(
            self.model, self.data, self.spec, self.device,
            dynamic=moves is not None, dense_momentum=bool(moves and moves.dense_momentum),
        )  # fmt: skip
        clock = self.spec.clock(self.data.size("train"))
        points = evaluation_points(self.start, clock.run, clock.iterations(self.spec.evaluate_every))
        self.trainings = []
        for n in range(len(self.seeds)):
            if self.saved is None:
                tensors = canonical(self.states[n], self.masks[n])
                updates = len(moves.moments) if moves else 0
                record = Record(self.start, clock.run, points, updates, len(self.masks[n]))
                self.trainings.append(self._placed(n, tensors, record))
            else:
                self.trainings.append(self._continued(n, self.saved[n]))

    def _placed(self, n: int, tensors: Mapping[str, Tensor], record: Record) -> Training:
        seed, total = self.seeds[n], self.spec.clock(self.data.size("train")).run
        moves = self.dynamics if self.dynamics and self.dynamics.moments else None
        keep = lambda step, tensors: self.kept.update({(n, step): tensors})  # noqa: E731
        self.engine.put(n, tensors, seed, record.step)
        return Training(self.engine, n, seed, record, total, dynamics=moves, snapshots=self.snapshots, keep=keep)

    def _continued(self, n: int, saved: Mapping[str, Tensor]) -> Training:
        tensors = {k: t for k, t in saved.items() if not k.startswith("history/")}
        return self._placed(n, tensors, Record.of(saved))

    def load(self, saved: Sequence[Mapping[str, Tensor]]) -> None:
        """Go on from what `tensors` gave, in the networks that lie in the slots now."""
        for n, tensors in enumerate(saved):
            self.engine.free(n)
            self.trainings[n] = self._continued(n, tensors)

    def network(self, n: int = 0) -> Network:
        """What trains in a slot."""
        return self.engine._slots[n].network

    def record(self, n: int = 0) -> Record:
        """What was recorded of one."""
        return self.trainings[n].record

    def batch(self, n: int, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of a step of one."""
        slot = self.engine._slots[n]
        return self.engine.batch(slot.order, slot.seed, step)

    @property
    def threads(self) -> int:
        """Kernel threads that each has."""
        return kernel_threads(self.engine, torch.get_num_threads())

    @property
    def most(self) -> int:
        """How many train at once."""
        return at_once(self.engine, len(self.trainings), torch.get_num_threads())

    def run(self, told: Callable[[], None] | None = None) -> None:
        """Train all to the end, the furthest behind first."""
        train(self.engine, self.trainings, told)

    def history(self, n: int = 0) -> Tensor:
        """(points, `HISTORY`) of one, NaN where there is no number."""
        rows = self.record(n).rows(self.spec.batch_size)
        return torch.tensor([[float("nan") if r[k] is None else r[k] for k in HISTORY] for r in rows])

    def tensors(self) -> list[dict[str, Tensor]]:
        """All that a later process needs, of each."""
        return [training.tensors() for training in self.trainings]


def stacked_states(name: str, options: Mapping[str, Any], init: str, seeds: Iterable[int]) -> dict[str, Tensor]:
    """Initial states of networks, one a seed, as a stack (R, ...)."""
    states = [models.initial_state(name, options, init, seed, "init") for seed in seeds]
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}


def unstacked(tree: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """A stack (R, ...) of states or masks, one by one."""
    size = len(next(iter(tree.values()))) if tree else 0
    return [{name: tensor[n] for name, tensor in tree.items()} for n in range(size)]
