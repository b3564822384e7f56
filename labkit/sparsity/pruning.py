"""Pruning: mask x scores x counts -> sparser mask. Counts are exact; what was pruned stays pruned."""

import math
from collections.abc import Mapping

from torch import Tensor, cat, ones_like
from torch import bool as boolean

from labkit.ground.names import choose, fraction
from labkit.sparsity.masks import Masks, keep_top

SCOPES = ("layer", "global")


def surviving(size: int, rate: float, rounds: int) -> int:
    """Weights left of `size` after `rounds` rounds that each remove `rate` of the survivors: size * (1 - rate)**rounds.

    Rounded once, from the original size, so that no rounding error accumulates over rounds; at least one is left.

    Raises:
        ValueError: if the rate is not in [0, 1).

    >>> [surviving(235_200, 0.2, n) for n in (0, 1, 7)]
    [235200, 188160, 49325]
    """
    return max(1, round(size * (1 - fraction("rate", rate, zero=True)) ** rounds))


def keep_counts(sizes: Mapping[str, int], rates: Mapping[str, float], rounds: int) -> dict[str, int]:
    """Weights to keep in each layer after `rounds` rounds at the layer's own rate."""
    return {name: surviving(size, rates[name], rounds) for name, size in sizes.items()}


def prune_layers(masks: Mapping[str, Tensor], scores: Mapping[str, Tensor], keep: Mapping[str, int]) -> Masks:
    """Keep the best `keep[name]` of each layer's survivors (layerwise pruning; LeNet and Conv-2/4/6 of the LTH).

    Raises:
        ValueError: if a layer is asked to keep more weights than it has left.
    """
    pruned = dict(masks)
    for name, count in keep.items():
        pruned[name] = keep_top(_eligible(masks[name], scores[name], count, name), count)
    return pruned


def prune_global(masks: Mapping[str, Tensor], scores: Mapping[str, Tensor], keep: int) -> Masks:
    """Keep the best `keep` survivors of all the layers in `scores` together (VGG-19 and ResNet of the LTH).

    Layers without scores are left as they are. Scores are compared across layers as they stand.

    Raises:
        ValueError: if more weights are asked for than are left.
    """
    names = list(scores)
    pool = cat([scores[name].reshape(-1) for name in names])
    left = cat([masks[name].reshape(-1) for name in names])
    parts = keep_top(_eligible(left, pool, keep, "all layers"), keep).split([masks[name].numel() for name in names])
    return dict(masks) | {name: part.reshape(masks[name].shape) for name, part in zip(names, parts, strict=True)}


def _eligible(mask: Tensor, scores: Tensor, keep: int, where: str) -> Tensor:
    """Scores with the already pruned weights out of the running."""
    if keep > int(mask.sum()):
        raise ValueError(f"{where}: cannot keep {keep} weights, only {int(mask.sum())} are left")
    return scores.masked_fill(~mask, -math.inf)


def prune_to(scores: Mapping[str, Tensor], density: float, scope: str) -> Masks:
    """Prune dense layers once, to a density: the best-scored share of each layer, or of all layers together.

    Args:
        scores: layer -> scores of its weights.
        density: share of the weights that is kept, in (0, 1]; of each layer, or of all.
        scope: "layer" or "global".

    Raises:
        ValueError: for a density out of range or an unknown scope.
    """
    kept = fraction("density", density, one=True)
    whole = {name: ones_like(one, dtype=boolean) for name, one in scores.items()}
    if choose("scope", scope, SCOPES) == "global":
        return prune_global(whole, scores, max(1, round(kept * sum(one.numel() for one in scores.values()))))
    return prune_layers(whole, scores, {name: max(1, round(kept * one.numel())) for name, one in scores.items()})
