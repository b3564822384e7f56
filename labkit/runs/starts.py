"""Where weights and the mask of a run come from, as plain data that names other runs, and makes tensors of them.

Weights are `Drawn`, those of another run `At` a step, or `Given` (a ticket's). A mask is `Whole`, drawn by an
allocation (`Allocated`), `Pruned` from another run's trained weights, the `EndMask` of another run, or `Given`.
`Controlled` stands for both: a control makes them from a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from labkit.ground import tensor_files
from labkit.ground.randomness import generator
from labkit.runs.experiment import Experiment, State
from labkit.runs.revisions import named
from labkit.sparsity import allocation
from labkit.sparsity.masks import Masks
from labkit.sparsity.pruning import keep_counts, prune_global, prune_layers, surviving
from labkit.sparsity.scores import score

if TYPE_CHECKING:
    from labkit.runs.run import Run

END = "end"
DONE = "done"  # nothing of it but that it is finished
Moment = int | str  # a step, END or DONE
Control = Callable[[Experiment, Masks, int, int, int], tuple[State, Masks]]  # ..., mask, seed, copy, level


class Reader(Protocol):
    """Gives what runs have left: canonical tensors at a step (weights) or at the end (weights and masks)."""

    def weights(self, run: Run, moment: Moment) -> State:
        """State dict of a run at a step or at its end."""

    def end_mask(self, run: Run) -> Masks:
        """Masks of a run at its end."""


class _Rootless:
    """What starts from no other run."""

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield from ()


@dataclass(frozen=True)
class Drawn(_Rootless):
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
class Given(_Rootless):
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
class Whole(_Rootless):
    """Every weight that can be pruned is kept."""

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return "whole"

    def make(self, run: Run, reader: Reader) -> Masks:
        """The masks."""
        return {name: torch.ones(shape, dtype=torch.bool) for name, shape in run.experiment.shapes.items()}


@dataclass(frozen=True)
class Allocated(_Rootless):
    """A mask drawn from the run's seed, with so many weights in each layer."""

    counts: tuple[tuple[str, int], ...]

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"drawn": dict(self.counts)}

    def make(self, run: Run, reader: Reader) -> Masks:
        """The masks."""
        return allocation.draw(run.experiment.shapes, dict(self.counts), generator(run.seed, "masks"))


@dataclass(frozen=True)
class Pruned:
    """The mask that pruning leaves of a trained network: the best of its mask's survivors, at a level."""

    trained: Run
    level: int

    def plain(self, run: Run) -> Any:
        """As plain values: rates are of each layer, so that what means the same is written the same."""
        of, rates = self.trained.experiment, {k: float(v) for k, v in self.trained.experiment.rates.items()}
        prune = of.spec.prune
        by: Any = rates
        if prune.scope == "global":
            by = {"rate": float(prune.rate), "pool": [name for name in of.prunable if rates[name] > 0]}
        return {"pruned": self.trained.hash, "round": self.level, "score": named("score", prune.score), "by": by}

    def make(self, run: Run, reader: Reader) -> Masks:
        """The masks."""
        return prune(self.trained.experiment, reader.end_mask(self.trained),
                     reader.weights(self.trained, END), self.trained.seed, self.level)  # fmt: skip

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield self.trained, END


@dataclass(frozen=True)
class EndMask:
    """The mask that another run ends with."""

    run: Run

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"end of": self.run.hash}

    def make(self, run: Run, reader: Reader) -> Masks:
        """The masks."""
        return reader.end_mask(self.run)

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield self.run, END


@dataclass(frozen=True)
class Controlled:
    """Weights and mask that a control makes from a ticket's mask: it waits for that mask, not for the ticket."""

    name: str
    control: Control = field(compare=False, repr=False)
    level: int
    copy: int
    mask: Mask

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"control": named("control", self.name), "level": self.level, "copy": self.copy,
                "init": named("init", run.experiment.spec.init), "mask": self.mask.plain(run)}  # fmt: skip

    def make(self, run: Run, reader: Reader) -> tuple[State, Masks]:
        """The tensors and the masks."""
        given = self.mask.make(run, reader)
        found = self.control(run.experiment, dict(given), run.seed, self.copy, self.level)
        _check_control(self.name, found, given)
        return found

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield from self.mask.needs()


Weights = Drawn | At | Given
Mask = Whole | Allocated | Pruned | EndMask | Given


@dataclass(frozen=True)
class Start:
    """Weights and a mask, each from a place of its own; weights that the mask leaves out are zero."""

    weights: Weights
    mask: Mask

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"weights": self.weights.plain(run), "mask": self.mask.plain(run)}

    def make(self, run: Run, reader: Reader) -> tuple[State, Masks]:
        """The tensors and the masks."""
        return self.weights.make(run, reader), self.mask.make(run, reader)

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield from self.weights.needs()
        yield from self.mask.needs()


def prune(experiment: Experiment, masks: Masks, state: State, seed: int, level: int) -> Masks:
    """The mask of a network at a level, from its last mask and its trained weights, by the rates of the spec."""
    spec, at, evidence = experiment.spec.prune, experiment.rates, experiment.evidence(state, seed, level)
    pool = [name for name in experiment.prunable if at[name] > 0]
    scores = score(spec.score, replace(evidence, weights={name: evidence.weights[name] for name in pool}))
    if spec.scope == "layer":
        return prune_layers(masks, scores, keep_counts({name: experiment.sizes[name] for name in pool}, at, level))
    return prune_global(masks, scores, surviving(sum(experiment.sizes[name] for name in pool), spec.rate, level))


def _check_control(name: str, found: object, masks: Masks) -> None:
    whole = isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Mapping) for part in found)
    if not whole or found[1].keys() != masks.keys():  # type: ignore[index]
        raise ValueError(f"control {name!r} must give (weights, masks), with a mask for each layer that has one")
    for layer, mask in masks.items():
        theirs = found[1][layer]  # type: ignore[index]
        if not isinstance(theirs, Tensor) or theirs.dtype != torch.bool or theirs.shape != mask.shape:
            raise ValueError(f"control {name!r}: the mask of {layer} must be bool of shape {tuple(mask.shape)}")
