"""A network tried on two examples of its data, before any training."""

import warnings
from functools import cache

import torch
from torch import Tensor, nn

from labkit.data import DataSet


def first_logits(model: str, network: nn.Module, data: DataSet) -> Tensor:
    """What a network makes of two training examples: (2, outputs).

    Args:
        model: its name, for messages.
        network: in evaluation mode afterwards.
        data: its data set.

    Raises:
        ValueError: if it does not take the images, or gives no tensor with an output for each class.
    """
    inputs, _ = data.inputs("train", slice(0, 2))
    try:
        with torch.no_grad():
            logits = network.eval()(inputs)
    except RuntimeError as error:
        hint = (
            " (with `input_shape = (channels, height, width)` on its class, or `shape` of DataSpec, images are brought "
            "to that size)"
        )
        own = getattr(network, "input_shape", None)
        if own is not None:
            hint = f" (it is made for {tuple(own)})" if tuple(own) != data.shape else ""
        raise ValueError(f"model {model!r} does not take {data.shape} images{hint}: {error}") from error
    if not isinstance(logits, Tensor):
        raise ValueError(f"model {model!r} gives a {type(logits).__name__}: it must give one tensor of logits")
    if logits.ndim != 2 or logits.shape[1] < len(data.classes):
        raise ValueError(
            f"model {model!r} gives {tuple(logits.shape[1:])} outputs; {data.name} has {len(data.classes)} classes"
        )
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-4).all()):
        _tell_probabilities(model)
    return logits


@cache  # said once
def _tell_probabilities(model: str) -> None:
    warnings.warn(
        f"model {model!r} gives probabilities, which sum to 1: the loss takes the softmax itself, so let the network "
        "end before it",
        stacklevel=5,
    )
