"""Scores: how much each weight is worth keeping. Higher is better; the selection is `masks.keep_top`'s."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.ground.names import choose
from labkit.sparsity.masks import ranked

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Evidence:
    """What a score may look at; gradients and curvature are computed only if it asks.

    Attributes:
        weights: trained weights, one tensor a layer.
        generator: for scores that draw.
        gradient: mean gradient of the training loss, as `weights`.
        curvature: diagonal of the loss's Gauss-Newton matrix, as `weights`.
    """

    weights: Mapping[str, Tensor]
    generator: torch.Generator
    gradient: Callable[[], Mapping[str, Tensor]]
    curvature: Callable[[], Mapping[str, Tensor]]


def magnitude(evidence: Evidence) -> Tensors:
    """|w| (Han et al. 2015; the criterion of Frankle & Carbin 2019)."""
    return {name: weight.abs() for name, weight in evidence.weights.items()}


def random(evidence: Evidence) -> Tensors:
    """Uniform in [0, 1): pruning that knows nothing of the weights."""
    rng = evidence.generator
    return {name: torch.rand(w.shape, generator=rng).to(w.device) for name, w in evidence.weights.items()}


def gradient(evidence: Evidence) -> Tensors:
    """|w * dL/dw|: the change of the loss to first order if the weight is removed (Mozer & Smolensky 1989)."""
    slope = evidence.gradient()
    return {name: (weight * slope[name]).abs() for name, weight in evidence.weights.items()}


def obd(evidence: Evidence) -> Tensors:
    """h * w**2 / 2 with h the diagonal curvature: the change to second order at a minimum (LeCun et al. 1990, OBD)."""
    curvature = evidence.curvature()
    return {name: 0.5 * curvature[name] * weight**2 for name, weight in evidence.weights.items()}


SCORES: dict[str, Callable[[Evidence], Tensors]] = {
    "magnitude": magnitude,
    "random": random,
    "gradient": gradient,
    "obd": obd,
}


def score(name: str, evidence: Evidence) -> Tensors:
    """Scores of the named criterion, one tensor per weight tensor and of its shape.

    Raises:
        ValueError: if there is no criterion of that name, or it does not give a number for each weight.
    """
    found = SCORES[choose("score", name, SCORES)](evidence)
    if not isinstance(found, Mapping) or found.keys() != evidence.weights.keys():
        raise ValueError(f"score {name!r} must give a tensor for each of {', '.join(evidence.weights)}")
    return {layer: ranked(f"score {name!r} of {layer}", found[layer], w) for layer, w in evidence.weights.items()}
