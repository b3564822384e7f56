"""Geometry: the layers of a network as `flops` counts them, read off one forward pass."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from labkit.flops import Layer
from labkit.models import prunable


def layers(model: nn.Module, input_shape: Sequence[int] | None = None) -> dict[str, Layer]:
    """Every prunable layer of a network with its weight's shape and its output positions an example.

    A layer that runs several times counts as often; one that never runs has no positions. The network is not changed:
    a copy of it sees a blank example in evaluation mode.

    Args:
        model: the network.
        input_shape: of one example, (channels, height, width); default `model.input_shape`.

    Returns:
        name of the weight, as in `models.prunable` -> layer.

    Raises:
        ValueError: if no shape is given and the network does not name one.
    """
    shape = getattr(model, "input_shape", None) if input_shape is None else input_shape
    if shape is None:
        raise ValueError("input_shape is missing: (channels, height, width) of an example, as the network names none")
    network = copy.deepcopy(model).eval()
    weights = {name: network.get_parameter(name) for name in prunable(network)}
    positions = dict.fromkeys(weights, 0)

    def hook(name: str) -> Any:
        def count(_layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            positions[name] += output.numel() // weights[name].shape[0]

        return count

    for name in positions:
        network.get_submodule(name.rpartition(".")[0]).register_forward_hook(hook(name))
    first = next(network.parameters())
    with torch.no_grad():
        network(torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    return {name: Layer(tuple(weights[name].shape), count) for name, count in positions.items()}
