"""Scores: how much each weight is worth keeping. Higher is better; the selection is `masks.keep_top`'s."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from labkit.names import choose

Score = Callable[[Mapping[str, Tensor], torch.Generator], dict[str, Tensor]]


def magnitude(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """|w| (Han et al. 2015; the criterion of Frankle & Carbin 2019). The generator is not used."""
    return {name: weight.abs() for name, weight in weights.items()}


def random(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform in [0, 1): pruning that knows nothing of the weights."""
    return {
        name: torch.rand(weight.shape, generator=generator, device=generator.device).to(weight.device)
        for name, weight in weights.items()
    }


SCORES: dict[str, Score] = {"magnitude": magnitude, "random": random}


def score(name: str, weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Scores of the named criterion, one tensor per weight tensor and of its shape.

    Raises:
        ValueError: if there is no criterion of that name.
    """
    return SCORES[choose("score", name, SCORES)](weights, generator)
