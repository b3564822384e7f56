"""Allocation: how a density of the whole network is shared out over its layers, and random masks with those counts."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from labkit.ground.names import choose, fraction
from labkit.sparsity.masks import Masks, keep_top

Shapes = Mapping[str, Sequence[int]]


def uniform(shapes: Shapes, density: float, dense: Collection[str] | None = None) -> dict[str, float]:
    """Every layer at `density`, except the first, which is dense ("Random" of Evci et al. 2020, section 3).

    The network as a whole is denser than `density`: (N_1 + D (N - N_1)) / N for N weights, N_1 in the first layer.

    Args:
        shapes: layer -> shape of its weight, in the order of the network.
        density: D of the other layers, in (0, 1].
        dense: layers to leave dense instead of the first; `()` for none.

    Returns:
        layer -> density.

    Raises:
        ValueError: for a density out of range or an unknown layer.

    >>> uniform({"a": (20, 10), "b": (5, 20)}, 0.1)
    {'a': 1.0, 'b': 0.1}
    """
    density = fraction("density", density, one=True)
    kept = _known(shapes, list(shapes)[:1] if dense is None else dense)
    return {name: 1.0 if name in kept else density for name in shapes}


def erdos_renyi(shapes: Shapes, density: float, dense: Collection[str] | None = None) -> dict[str, float]:
    """ER: density of a layer in proportion to (out + in) / (out * in), whatever its kernel (Mocanu et al. 2018).

    Layers that would be over-full are dense and the rest makes up for them, as in `erdos_renyi_kernel`.
    """
    raw = {name: (shape[0] + shape[1]) / (shape[0] * shape[1]) for name, shape in shapes.items()}
    return _in_proportion(shapes, density, raw, dense or ())


def erdos_renyi_kernel(shapes: Shapes, density: float, dense: Collection[str] | None = None) -> dict[str, float]:
    """ERK: density of a layer in proportion to (out + in + height + width) / (out * in * height * width).

    Evci et al. 2020, section 3. The factor e solves sum of min(1, e * raw) * N_l = D * N: a layer that would be
    over-full is made dense, and e solved again for the others, until none is. The first layer is not special.

    Args:
        shapes: layer -> shape of its weight, (out, in / groups, *kernel).
        density: D of the whole network, in (0, 1]; the layers' weighted mean is D exactly.
        dense: layers to leave dense in any case; they count towards D.

    Returns:
        layer -> density in (0, 1].

    Raises:
        ValueError: for a density out of range, an unknown layer, or dense layers that are more than D together.

    >>> found = erdos_renyi_kernel({"a": (10, 10), "b": (100, 100), "c": (2, 2)}, 0.1)
    >>> {name: round(value, 4) for name, value in found.items()}
    {'a': 0.9149, 'b': 0.0915, 'c': 1.0}
    """
    raw = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}
    return _in_proportion(shapes, density, raw, dense or ())


def _in_proportion(
    shapes: Shapes, density: float, raw: Mapping[str, float], dense: Collection[str]
) -> dict[str, float]:
    target = fraction("density", density, one=True) * sum(map(math.prod, shapes.values()))
    full = _known(shapes, dense)
    while True:
        room = target - sum(math.prod(shapes[name]) for name in full)
        others = [name for name in shapes if name not in full]
        if room < 0 or (others and room == 0):
            raise ValueError(
                f"density {density:g} is {target:.0f} weights, and the layers that stay dense "
                f"({', '.join(sorted(full))}) have {target - room:.0f}"
            )
        factor = room / sum(raw[name] * math.prod(shapes[name]) for name in others) if others else 0.0
        over = {name for name in others if factor * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in full else factor * raw[name] for name in shapes}
        full |= over


def _known(shapes: Shapes, names: Collection[str]) -> set[str]:
    return {choose("layer", name, shapes) for name in names}


ALLOCATIONS: dict[str, Callable[[Shapes, float, Collection[str] | None], dict[str, float]]] = {
    "uniform": uniform,
    "er": erdos_renyi,
    "erk": erdos_renyi_kernel,
}


def allocate(name: str, shapes: Shapes, density: float, dense: Collection[str] | None = None) -> dict[str, float]:
    """Layer -> density, by the named rule of `ALLOCATIONS`; arguments as of `erdos_renyi_kernel`.

    Raises:
        ValueError: for an unknown rule, or as the rule does.
    """
    return ALLOCATIONS[choose("allocation", name, ALLOCATIONS)](shapes, density, dense)


def counts(shapes: Shapes, densities: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers of weights to keep, as near as can be to the densities, and exact in total.

    The total is rounded once: round(sum of density * N_l). A layer gets the whole part of its share, and what is then
    left over goes to the largest remainders (Hamilton's method), among equals to the earlier layer. Every layer keeps
    one weight at least, since an empty one cuts the network in two.

    Args:
        shapes: layer -> shape of its weight.
        densities: layer -> density in (0, 1], of some or all of the layers; the others are left out (dense).

    Raises:
        ValueError: for a density out of range, an unknown layer, or a total of fewer weights than layers.

    >>> counts({"a": (3, 1), "b": (3, 1), "c": (4, 1)}, {"a": 0.5, "b": 0.5, "c": 0.5})
    {'a': 2, 'b': 1, 'c': 2}
    """
    sizes = {choose("layer", name, shapes): math.prod(shapes[name]) for name in densities}
    share = {n: fraction(f"density of {n}", densities[n], one=True) * size for n, size in sizes.items()}
    total = round(math.fsum(share.values()))
    if total < len(sizes):
        raise ValueError(f"{total} weights are too few for {len(sizes)} layers: each keeps one at least")
    kept = {name: max(1, math.floor(amount)) for name, amount in share.items()}
    while missing := total - sum(kept.values()):
        sign = 1 if missing > 0 else -1
        free = [name for name in kept if (kept[name] < sizes[name] if missing > 0 else kept[name] > 1)]
        kept[max(free, key=lambda name: sign * (share[name] - kept[name]))] += sign
    return kept


def draw(shapes: Shapes, keep: Mapping[str, int], generator: torch.Generator) -> Masks:
    """Random masks with exactly `keep[name]` weights a layer, every choice of them equally likely; one network's.

    Args:
        shapes: layer -> shape of its weight.
        keep: layer -> weights to keep, as of `counts`; layers without one get no mask (dense).
        generator: on the CPU; a population draws once a replicate, from a generator each.

    Returns:
        layer -> bool tensor of the layer's shape, on the CPU.

    Raises:
        ValueError: for an unknown layer or a count that it does not have.
    """
    masks = {}
    for name, count in keep.items():
        shape = tuple(shapes[choose("layer", name, shapes)])
        order = torch.randperm(math.prod(shape), generator=generator)  # distinct scores: no ties
        masks[name] = keep_top(order.reshape(shape), count)
    return masks
