"""Networks and masks as files hold them: a bit a weight for the mask, and of a masked tensor only what survives."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from labkit.sparsity.masks import Masks


def pack(mask: Tensor) -> Tensor:
    """One bit per weight, for files: uint8, ceil(numel / 8)."""
    return torch.from_numpy(np.packbits(mask.reshape(-1).cpu().numpy()))


def unpack(bits: Tensor, shape: Iterable[int]) -> Tensor:
    """The inverse of `pack`.

    Raises:
        ValueError: if the number of bits does not fit the shape.
    """
    shape = tuple(shape)
    size = int(np.prod(shape, dtype=np.int64))
    if bits.numel() != (size + 7) // 8:
        raise ValueError(f"{bits.numel()} bytes cannot hold a mask of shape {shape}")
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=size).astype(bool)).reshape(shape)


def pack_masks(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks as `mask/NAME` (bytes) and `shape/NAME`."""
    packed = {f"mask/{name}": pack(mask) for name, mask in masks.items()}
    return packed | {f"shape/{name}": torch.tensor(mask.shape) for name, mask in masks.items()}


def unpack_masks(packed: Mapping[str, Tensor]) -> Masks:
    """The inverse of `pack_masks`; what else is packed there is left alone.

    Raises:
        ValueError: if bits and shape do not fit together.
    """
    names = [key.removeprefix("mask/") for key in packed if key.startswith("mask/")]
    return {name: unpack(packed[f"mask/{name}"], packed[f"shape/{name}"].tolist()) for name in names}


def pack_network(state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network as `pack_masks`, with `kept/NAME` (surviving values) of masked tensors and `whole/NAME` of others.

    At density d it takes about d of the dense bytes plus one bit a weight.
    """
    kept = {f"kept/{name}": tensor[masks[name]] for name, tensor in state.items() if name in masks}
    return pack_masks(masks) | kept | {f"whole/{name}": t for name, t in state.items() if name not in masks}


def unpack_network(packed: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Masks]:
    """The inverse of `pack_network`: (state, masks), pruned weights exactly zero.

    Raises:
        ValueError: if masks and values do not fit together.
    """
    masks = unpack_masks(packed)
    state = {key.removeprefix("whole/"): tensor for key, tensor in packed.items() if key.startswith("whole/")}
    for name, mask in masks.items():
        values = packed[f"kept/{name}"]
        if int(mask.sum()) != values.numel():
            raise ValueError(f"{name}: {values.numel()} values do not fit a mask of {int(mask.sum())}")
        state[name] = torch.zeros(mask.shape, dtype=values.dtype)
        state[name][mask] = values
    return state, masks
