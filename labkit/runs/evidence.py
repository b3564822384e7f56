"""What a pruning criterion may look at, of a trained network of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labkit.ground.randomness import generator
from labkit.sparsity.scores import Evidence
from labkit.training import derivatives

if TYPE_CHECKING:
    from labkit.runs.experiment import Experiment

EXAMPLES = 256


def evidence(
    experiment: Experiment, state: Mapping[str, Tensor], seed: int, level: int, examples: int = EXAMPLES
) -> Evidence:
    """The weights, and derivatives on so many training examples where a criterion asks for them.

    Args:
        experiment: of the network.
        state: its state dict.
        seed, level: the examples and what a criterion draws are of them.
        examples: how many.
    """

    def on_examples(derivative: Callable[..., Mapping[str, Tensor]], *, labels: bool) -> Mapping[str, Tensor]:
        network = experiment.model()
        network.load_state_dict(dict(state))
        order = torch.randperm(experiment.data.size("train"), generator=generator(seed, "score examples", level))
        batch = experiment.data.inputs("train", order[:examples])
        return derivative(network, *(batch if labels else batch[:1]))

    return Evidence(
        {name: state[name] for name in experiment.prunable},
        generator(seed, "score", level),
        lambda: on_examples(derivatives.gradient, labels=True),
        lambda: on_examples(derivatives.curvature, labels=False),
    )
