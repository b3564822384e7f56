"""Networks and masks as files hold them: a bit a weight for the mask, and of a masked tensor only what survives."""

import math
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from labkit.ground.tensor_headers import addressable
from labkit.sparsity.masks import Masks

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_BESIDE = (*FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_MOST_DIMENSIONS = 8


class Laid(Protocol):
    """A tensor, or what a header says of one."""

    @property
    def dtype(self) -> torch.dtype:
        """Of its elements."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of itself."""


def pack(mask: Tensor) -> Tensor:
    """One bit per weight, for files: uint8, ceil(numel / 8)."""
    return torch.from_numpy(np.packbits(mask.reshape(-1).cpu().numpy()))


def unpack(bits: Tensor, shape: Iterable[int]) -> Tensor:
    """The inverse of `pack`.

    Raises:
        ValueError: if the number of bits does not fit the shape, or one is set beyond its end.
    """
    shape = tuple(shape)
    size = math.prod(shape)
    if min(shape, default=0) < 0 or not addressable(shape) or bits.numel() != (size + 7) // 8:
        raise ValueError(f"{bits.numel()} bytes cannot hold a mask of shape {shape}")
    if size % 8 and int(bits[-1]) & (0xFF >> size % 8):
        raise ValueError(f"a mask of shape {shape} has a bit beyond its end")
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=size).view(bool)).reshape(shape)


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


def check_packed(laid: Mapping[str, Laid]) -> list[str]:
    """Names of the masked tensors of what `pack_network` gave, once its names, types and dimensions are right.

    Raises:
        ValueError: naming what is wrong.
    """
    masked = [key.removeprefix("mask/") for key in laid if key.startswith("mask/")]
    wanted = {f"{part}/{name}" for name in masked for part in ("mask", "shape", "kept")}
    wanted |= {key for key in laid if key.startswith("whole/")}
    if odd := sorted(wanted ^ set(laid)) + [f"whole/{name}" for name in masked if f"whole/{name}" in laid]:
        raise ValueError(f"{odd[0][:80]!r} is missing, or is there and should not be")
    kinds = {"mask": (torch.uint8,), "shape": (torch.int64,), "kept": FLOATS, "whole": _BESIDE}
    for key, one in laid.items():
        part = key.partition("/")[0]
        if one.dtype not in kinds[part] or (part != "whole" and len(one.shape) != 1):
            raise ValueError(f"{key[:80]!r} is {one.dtype} of {len(one.shape)} dimensions")
        if part == "shape" and one.shape[0] > _MOST_DIMENSIONS:
            raise ValueError(f"{key[:80]!r} has {one.shape[0]} dimensions; at most {_MOST_DIMENSIONS}")
    return masked


def unpacked_bytes(laid: Mapping[str, Laid], shapes: Mapping[str, Iterable[int]]) -> int:
    """What `unpack_network` would take in memory: of masked tensors all weights and a byte each for the mask.

    Args:
        laid: what `check_packed` found right.
        shapes: of the masked tensors.

    Raises:
        ValueError: if bits or values do not fit a shape.
    """
    total = sum(math.prod(one.shape) * one.dtype.itemsize for key, one in laid.items() if key.startswith("whole/"))
    for name, shape in shapes.items():
        sizes = list(shape)
        size, bits, kept = math.prod(sizes), laid[f"mask/{name}"].shape[0], laid[f"kept/{name}"]
        fits = addressable(sizes) and bits == (size + 7) // 8 and kept.shape[0] <= size
        if min(sizes, default=0) < 0 or not fits:
            raise ValueError(f"{name[:80]!r}: {bits:,} bytes and {kept.shape[0]:,} values cannot be of shape {sizes}")
        total += size * (kept.dtype.itemsize + 1)
    return total


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
