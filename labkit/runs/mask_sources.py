"""Where the mask of a run comes from, as plain data that names other runs, and makes tensors of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from labkit.ground.randomness import generator
from labkit.runs.evidence import evidence
from labkit.runs.experiment import Experiment, State
from labkit.runs.revisions import named
from labkit.runs.weight_sources import END, Given, Moment, Reader, Rootless
from labkit.sparsity import allocation
from labkit.sparsity.masks import Masks
from labkit.sparsity.pruning import keep_counts, prune_global, prune_layers, surviving
from labkit.sparsity.scores import score

if TYPE_CHECKING:
    from labkit.runs.run import Run


@dataclass(frozen=True)
class Whole(Rootless):
    """Every weight that can be pruned is kept."""

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return "whole"

    def make(self, run: Run, reader: Reader) -> Masks:
        """The masks."""
        return {name: torch.ones(shape, dtype=torch.bool) for name, shape in run.experiment.shapes.items()}


@dataclass(frozen=True)
class Allocated(Rootless):
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
class Headless:
    """The mask that somebody else's network brings, with the head of this one whole.

    Attributes:
        mask: where it comes from.
        head: names of what is whole.
    """

    mask: Whole | Pruned | EndMask | Given
    head: tuple[str, ...]

    def plain(self, run: Run) -> Any:
        """As plain values."""
        return {"carried": self.mask.plain(run), "head": list(self.head)}

    def make(self, run: Run, reader: Reader) -> Masks:
        """The masks."""
        shapes = run.experiment.shapes
        return {name: torch.ones(shapes[name], dtype=torch.bool) if name in self.head else mask
                for name, mask in self.mask.make(run, reader).items()}  # fmt: skip

    def needs(self) -> Iterator[tuple[Run, Moment]]:
        """Runs, and what of them."""
        yield from self.mask.needs()


def prune(experiment: Experiment, masks: Masks, state: State, seed: int, level: int) -> Masks:
    """The mask of a network at a level, from its last mask and its trained weights, by the rates of the spec."""
    spec, at, found = experiment.spec.prune, experiment.rates, evidence(experiment, state, seed, level)
    pool = [name for name in experiment.prunable if at[name] > 0]
    scores = score(spec.score, replace(found, weights={name: found.weights[name] for name in pool}))
    if spec.scope == "layer":
        return prune_layers(masks, scores, keep_counts({name: experiment.sizes[name] for name in pool}, at, level))
    return prune_global(masks, scores, surviving(sum(experiment.sizes[name] for name in pool), spec.rate, level))
