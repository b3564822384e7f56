"""Where the weights of a run come from, as plain data that names other runs, and makes tensors of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from labkit.ground import tensor_files
from labkit.runs.experiment import State
from labkit.runs.revisions import named
from labkit.sparsity.masks import Masks

if TYPE_CHECKING:
    from labkit.runs.run import Run

END = "end"
DONE = "done"  # nothing of it but that it is finished
Moment = int | str  # a step, END or DONE


class Reader(Protocol):
    """Gives what runs have left: canonical tensors at a step (weights) or at the end (weights and masks)."""

    def weights(self, run: Run, moment: Moment) -> State:
        """State dict of a run at a step or at its end."""

    def end_mask(self, run: Run) -> Masks:
        """Masks of a run at its end."""


class Rootless:
    """What starts from no other run."""

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield from ()


@dataclass(frozen=True)
class Drawn(Rootless):
    """Weights drawn from the run's seed, for a purpose."""

    purpose: str

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"drawn": self.purpose, "init": named("init", run.experiment.spec.init)}

    def make(self, run: Run, reader: Reader) -> State:
        """The tensors."""
        return run.experiment.initial(run.seed, self.purpose)


@dataclass(frozen=True)
class At:
    """Weights of another run at a step, or at its end."""

    run: Run
    moment: Moment

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"of": self.run.hash, "at": self.moment}

    def make(self, run: Run, reader: Reader) -> State:
        """The tensors."""
        return reader.weights(self.run, self.moment)

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield self.run, self.moment


@dataclass(frozen=True)
class Given(Rootless):
    """Weights, or a mask, that somebody brings: known by what is in them."""

    tensors: Mapping[str, Tensor] = field(compare=False, repr=False)
    digest: str

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Given:
        """From tensors."""
        return cls(tensors, tensor_files.digest(tensors)[:16])

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"given": self.digest}

    def make(self, run: Run, reader: Reader) -> dict[str, Tensor]:
        """The tensors."""
        return {name: tensor.clone() for name, tensor in self.tensors.items()}


@dataclass(frozen=True)
class Carried:
    """Weights that somebody else's network brings for all but the head: that is the one that the run's seed draws.

    Attributes:
        body: where they come from.
        head: names of what is drawn.
    """

    body: At | Given
    head: tuple[str, ...]

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {
            "carried": self.body.plain(run),
            "head": list(self.head),
            "drawn": "init/0",
            "init": named("init", run.experiment.spec.init),
        }

    def make(self, run: Run, reader: Reader) -> State:
        """The tensors."""
        body = self.body.make(run, reader)
        drawn = run.experiment.initial(run.seed, "init/0")
        return {name: tensor if name in self.head else body[name] for name, tensor in drawn.items()}

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield from self.body.needs()
