"""The run: one network, trained once, as plain data: a recipe, a seed, a first step, where weights and mask come from.

Everything that the kit computes is a graph of runs. What a run is hashes to its name; what it starts from are other
runs' ends, steps and masks (`labkit.runs.starts`), so that the graph and the order of work follow from the data alone.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from labkit.runs.experiment import Experiment, State
from labkit.runs.starts import Controlled, Start
from labkit.runs.weight_sources import Drawn, Moment, Reader
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks
from labkit.specs.base import digest


@dataclass(frozen=True, eq=False)
class Run:
    """One network, trained once.

    Attributes:
        experiment: how it trains.
        seed: batches, and all that the network draws, come from it.
        start: where weights and mask come from.
        first: the first step of training; schedules and data order begin there too.
    """

    experiment: Experiment
    seed: int
    start: Start | Controlled
    first: int = 0

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines its trajectory, as plain values; other runs are named by their hashes."""
        return {"recipe": self.experiment.recipe, "seed": self.seed, "first": self.first,
                "start": self.start.plain(self)}  # fmt: skip

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that name it."""
        return digest(self.identity)

    def __post_init__(self) -> None:
        self.hash  # noqa: B018  # now, while those of its sources are known: chains may be long

    @property
    def steps(self) -> int:
        """That it trains."""
        return self.experiment.iterations - self.first

    @cached_property
    def needs(self) -> list[tuple["Run", Moment]]:
        """Runs that it starts from, and what of them: a step, or the end."""
        found = {(run.hash, moment): (run, moment) for run, moment in self.start.needs()}
        return list(found.values())

    @property
    def behaviour(self) -> dict[str, Any]:
        """What its names stand for (see `identity.behaviour`); what it makes of examples, if its weights are drawn."""
        found = self.experiment.behaviour
        if isinstance(self.start, Start) and isinstance(self.start.weights, Drawn):
            return found
        return found | {"network": {k: v for k, v in found["network"].items() if k != "logits"}}

    def make_start(self, reader: Reader) -> tuple[State, Masks]:
        """State dict and masks that it starts from; weights outside the mask are zero."""
        state, masks = self.start.make(self, reader)
        mask_sets.apply(masks, state)
        return state, masks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Run({self.hash}: {self.experiment.spec.model}, seed {self.seed}, from step {self.first})"
