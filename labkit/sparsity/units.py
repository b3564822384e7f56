"""Units and inputs that a mask leaves without weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Units:
    """Outputs of a layer (units, channels) without surviving weights.

    Attributes:
        units: how many there are.
        unfed: those without a weight in.
        unheard: those without a weight out, None where it is not known what comes after the layer.
        dead: those without a weight in, or without one out where that is known.
    """

    units: int
    unfed: int
    unheard: int | None
    dead: int


def weights_per_input(mask: Tensor) -> Tensor:
    """Surviving weights that start from each input of a layer.

    Args:
        mask: bool (outputs, inputs, ...), of a linear layer or a convolution.

    Returns:
        int64 (inputs,).

    >>> import torch
    >>> weights_per_input(torch.tensor([[True, False, True], [True, False, False]])).tolist()
    [2, 0, 1]
    """
    return mask.transpose(0, 1).flatten(1).sum(1)


def dead_units(masks: Mapping[str, Tensor], *, chain: bool) -> dict[str, Units]:
    """Units of each layer that no surviving weight leads to, or from.

    An output of a convolution that is flattened before a linear layer is heard if any of its positions is.

    Args:
        masks: layer -> bool (outputs, inputs, ...), in the order of the network.
        chain: whether each layer's outputs are the inputs of the next one and of no other; else it is not known
            whether a unit is heard. The outputs of the last layer are always heard.

    Returns:
        layer -> what is counted of its outputs.

    Raises:
        ValueError: if in a chain a layer does not take what the one before gives.
    """
    names, found = list(masks), {}
    for name, after in zip(names, [*names[1:], None], strict=True):
        fed = masks[name].flatten(1).any(1)
        heard = None
        if chain and after is not None:
            taken = weights_per_input(masks[after])
            if len(taken) % len(fed):
                raise ValueError(f"{after} takes {len(taken)} inputs: they are not what {name} gives, {len(fed)}")
            heard = taken.reshape(len(fed), -1).any(1)
        alive = fed if heard is None else fed & heard
        lost = int((~heard).sum()) if heard is not None else 0 if chain else None
        found[name] = Units(len(fed), int((~fed).sum()), lost, int((~alive).sum()))
    return found
