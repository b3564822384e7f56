"""What a run starts from: weights and a mask, each from a place of its own, or both from a control.

Weights are `Drawn`, those of another run `At` a step, or `Given` (a ticket's); `Carried`, they meet a head that is
drawn. A mask is `Whole`, drawn by an allocation (`Allocated`), `Pruned` from another run's trained weights, the
`EndMask` of another run, or `Given`; `Headless`, it meets a head that is whole.
`Controlled` stands for both: a control makes them from a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from labkit.ground.randomness import ambient, derive
from labkit.runs.experiment import Experiment, State
from labkit.runs.mask_sources import Allocated, EndMask, Headless, Pruned, Whole
from labkit.runs.revisions import named
from labkit.runs.weight_sources import At, Carried, Drawn, Given, Moment, Reader
from labkit.sparsity.masks import Masks

if TYPE_CHECKING:
    from labkit.runs.run import Run

Weights = Drawn | At | Given | Carried
Mask = Whole | Allocated | Pruned | EndMask | Given | Headless
Control = Callable[[Experiment, Masks, int, int, int], tuple[State, Masks]]  # ..., mask, seed, copy, level


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
        with ambient(derive(run.seed, "control", self.level, self.copy)):  # for one that draws from no generator
            found = self.control(run.experiment, dict(given), run.seed, self.copy, self.level)
        _check_control(self.name, found, given)
        return found

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield from self.mask.needs()


def _check_control(name: str, found: object, masks: Masks) -> None:
    whole = isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Mapping) for part in found)
    if not whole or found[1].keys() != masks.keys():  # type: ignore[index]
        raise ValueError(f"control {name!r} must give (weights, masks), with a mask for each layer that has one")
    for layer, mask in masks.items():
        theirs = found[1][layer]  # type: ignore[index]
        if not isinstance(theirs, Tensor) or theirs.dtype != torch.bool or theirs.shape != mask.shape:
            raise ValueError(f"control {name!r}: the mask of {layer} must be bool of shape {tuple(mask.shape)}")
