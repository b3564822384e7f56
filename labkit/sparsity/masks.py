"""Mask sets: `dict[str, BoolTensor]` keyed by parameter name. True keeps a weight; an absent name is dense.

The mask is the only truth about what is pruned. Nothing in the kit asks whether a weight is zero.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Masks = dict[str, Tensor]


def keep_top(scores: Tensor, keep: int) -> Tensor:
    """Mask of the `keep` largest scores, exactly; among equal scores the lower (row-major) index wins.

    Args:
        scores: any shape; higher is better. `-inf` marks what may only be kept when nothing else is left.
        keep: how many to keep, from 0 to `scores.numel()`.

    Returns:
        bool tensor of the shape of `scores` with exactly `keep` True.

    Raises:
        ValueError: if `keep` is out of range or a score is NaN.

    >>> keep_top(torch.tensor([[1., 3.], [3., 2.]]), 1).tolist()
    [[False, True], [False, False]]
    """
    flat = scores.reshape(-1)
    if not 0 <= keep <= flat.numel():
        raise ValueError(f"cannot keep {keep} of {flat.numel()} weights")
    if torch.isnan(flat).any():
        raise ValueError("a score is NaN: the network it is computed from has diverged, or it has no value there")
    if keep == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = _largest(flat, keep)
    mask = flat > threshold
    missing = keep - int(mask.count_nonzero())
    mask[(flat == threshold).nonzero().squeeze(1)[:missing]] = True
    return mask.reshape(scores.shape)


def ranked(what: str, scores: object, like: Tensor) -> Tensor:
    """Return scores that `keep_top` can rank beside `-inf`, which marks what must not be chosen: theirs is made finite.

    Args:
        what: whose scores, for the message.
        scores: as a scoring function gave them.
        like: a tensor of the shape they must have.

    Raises:
        ValueError: for anything but real numbers of that shape.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point() or scores.shape != like.shape:
        kind = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"{what} gives {kind}: it must give a number for each weight, floats {tuple(like.shape)}")
    return scores.clamp(min=torch.finfo(scores.dtype).min)


def _largest(flat: Tensor, rank: int) -> Tensor:
    """The value of the given rank, 1 for the largest."""
    if flat.dtype == torch.float32:
        flat = flat[flat > -torch.inf]  # equal values make selection slow
        if rank > flat.numel():
            return flat.new_tensor(-torch.inf)
        if flat.device.type == "cpu":  # NumPy selects ten times as fast
            place = flat.numel() - rank
            return flat.new_tensor(np.partition(flat.numpy(), place)[place])
    return torch.kthvalue(flat, flat.numel() - rank + 1).values


def apply(masks: Mapping[str, Tensor], *trees: Mapping[str, Tensor]) -> None:
    """Set masked entries of every tree (weights, gradients, optimiser state) to exactly zero, in place.

    Entries may carry a leading replicate dimension. Infinite or NaN values under a mask become zero as well.
    """
    for tree in trees:
        for name, mask in masks.items():
            tree[name].masked_fill_(~mask, 0.0)


def multiply(tensors: list[Tensor], masks: list[Tensor]) -> None:
    """`apply` for the hot loop: tensors and their masks as floats (1.0 keeps, 0.0 drops), in place, in one call."""
    if tensors:
        torch._foreach_mul_(tensors, masks)


def counts(masks: Mapping[str, Tensor]) -> dict[str, int]:
    """Kept weights per layer."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def density(masks: Mapping[str, Tensor]) -> float:
    """Kept weights / all weights of the masked layers, in (0, 1] (P_m / 100 of the lottery ticket papers)."""
    return sum(counts(masks).values()) / sum(mask.numel() for mask in masks.values())


def overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Share of the first set's kept weights that the second keeps too: |a and b| / |a|."""
    both = sum(int((mask & second[name]).sum()) for name, mask in first.items())
    return both / max(1, sum(counts(first).values()))


def shuffle(masks: Mapping[str, Tensor], generator: torch.Generator) -> Masks:
    """Permute each layer's mask within the layer: layer counts stay ("random sparse" nets of LTH Figure 1)."""
    return {
        name: mask.reshape(-1)[_order(mask.numel(), generator, mask)].reshape(mask.shape)
        for name, mask in masks.items()
    }


def permute(masks: Mapping[str, Tensor], generator: torch.Generator) -> Masks:
    """Permute all masks together: only the total stays ("random ticket" of Morcos et al. 2019)."""
    pool = torch.cat([mask.reshape(-1) for mask in masks.values()])
    parts = pool[_order(pool.numel(), generator, pool)].split([mask.numel() for mask in masks.values()])
    return {name: part.reshape(mask.shape) for (name, mask), part in zip(masks.items(), parts, strict=True)}


def _order(size: int, generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randperm(size, generator=generator, device=generator.device).to(like.device)
