"""Networks whose masks hold in anybody's training loop: a masked weight is computed from a free one and its mask.

The weight that a layer uses is `original` where the mask is true, and exactly zero elsewhere, whatever an optimiser
does to `original` (momentum, Adam's moments, decoupled decay); no gradient reaches what is pruned. This is a
parametrisation (`torch.nn.utils.parametrize`) of the layer's weight: layers, their names and their code stay as they
were.
"""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Masked(nn.Module):
    """A weight under its mask.

    Args:
        mask: bool, of the weight's shape; a buffer, so it goes with the network to devices and into state dicts.
    """

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask.clone())

    def forward(self, weight: Tensor) -> Tensor:
        """The weight where the mask is true, else zero; its gradient likewise."""
        return weight.masked_fill(~self.mask, 0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is kept of a weight that is assigned."""
        return weight.masked_fill(~self.mask, 0)


def mask_network(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Put masks on a network's weights, in place.

    Args:
        model: the network.
        masks: parameter name -> bool, True where a weight exists.

    Raises:
        ValueError: if a name is no parameter, a mask is not bool and of its shape, or a weight is computed already.
    """
    own = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in own:
            raise ValueError(f"the network has no parameter {name} to mask, or computes it from others")
        if mask.dtype != torch.bool or mask.shape != own[name].shape:
            said = f"{mask.dtype} {tuple(mask.shape)}"
            raise ValueError(f"the mask of {name} is {said}: it must be torch.bool {tuple(own[name].shape)}")
    for name, mask in masks.items():
        owner, _, leaf = name.rpartition(".")
        layer = model.get_submodule(owner)
        parametrize.register_parametrization(layer, leaf, Masked(mask.to(own[name].device)))
        type(layer).__reduce_ex__ = _reduced  # type: ignore[method-assign,assignment]  # of this layer's class alone
    return model


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The masks of a network by the names of the weights: of what `mask_network` gave, also trained or copied."""
    return {
        f"{name}.{leaf}".lstrip("."): chain.mask
        for name, layer in model.named_modules()
        for leaf, chain in _masked(layer).items()
    }


def unmasked(model: nn.Module) -> nn.Module:
    """A copy of a network as it was before `mask_network`, its pruned weights zero; the network itself stays.

    Nothing keeps these zeros: what trains the copy revives them.

    Raises:
        ValueError: if a masked layer has parametrisations of another kind as well.
    """
    plain = copy.deepcopy(model)
    for name, layer in list(plain.named_modules()):
        if not (masked := _masked(layer)):
            continue
        if len(masked) < len(cast(Any, layer.parametrizations)):
            raise ValueError(f"{name or 'the network'} has parametrisations of another kind beside its masks")
        weights = {leaf: getattr(layer, leaf).detach().clone() for leaf in masked}
        wanted = {leaf: cast(Any, layer.parametrizations)[leaf].original.requires_grad for leaf in masked}
        layer.__class__ = type(layer).__bases__[0]  # copies share the class, so its properties must stay
        del layer.parametrizations
        for leaf, weight in weights.items():
            layer.register_parameter(leaf, nn.Parameter(weight, requires_grad=wanted[leaf]))
    return plain


def _masked(layer: nn.Module) -> dict[str, Masked]:
    chains = cast(Any, layer.parametrizations) if parametrize.is_parametrized(layer) else {}
    return {leaf: chain[0] for leaf, chain in chains.items() if isinstance(chain[0], Masked)}


def _reduced(layer: nn.Module, protocol: int) -> tuple[Any, ...]:
    """How a masked layer is pickled: PyTorch refuses layers whose class was made at run time."""
    return _masked_again, (unmasked(layer), masks_of(layer))


def _masked_again(layer: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    return mask_network(layer, masks)
