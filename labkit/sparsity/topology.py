"""Dynamic sparse training: which connections are dropped and grown, by the scores that a method names.

Every layer drops its worst active weights and grows the best inactive ones (Mocanu et al. 2018; Dettmers & Zettlemoyer
2019; Evci et al. 2020, Algorithm 1). What methods differ in, their rows say (`methods`).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from labkit.sparsity.masks import keep_top, ranked
from labkit.sparsity.methods import DROPS, GROWS, Method, Signals


def drop_and_grow(
    weight: Tensor,
    mask: Tensor,
    score: Tensor,
    drop: int,
    grow: int,
    *,
    regrow: bool = True,
    worth: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Drop the active weights of a layer that are worth least, then grow the inactive ones of the highest score.

    Args:
        weight: any shape.
        mask: bool, the same shape.
        score: the same shape; higher grows first.
        drop: how many active weights to drop.
        grow: how many to grow.
        regrow: whether just-dropped weights may grow again (Evci et al. 2020 and its reproduction); otherwise they do
            so only when nothing else is left.
        worth: what active weights are ranked by, the lowest drop; default their magnitude.

    Returns:
        (survived, grown): bool, disjoint, `mask.sum() - drop` and `grow` of them. Their union is the new mask. A weight
        that was dropped and grown again is among the grown.

    Raises:
        ValueError: if the layer has not so many to drop or to grow.

    >>> w = torch.tensor([3.0, -1.0, 2.0, 0.0]); m = w != 0
    >>> survived, grown = drop_and_grow(w, m, torch.tensor([0.0, 0.0, 0.0, 9.0]), drop=1, grow=1)
    >>> survived.tolist(), grown.tolist()
    ([True, False, True, False], [False, False, False, True])
    """
    active = int(mask.count_nonzero())
    if not 0 <= drop <= active or not 0 <= grow <= mask.numel() - active + drop:
        raise ValueError(f"a layer of {mask.numel()} weights, {active} active, cannot drop {drop} and grow {grow}")
    worth = ranked("what active weights are ranked by", weight.abs() if worth is None else worth, weight)
    score = ranked("what inactive weights are ranked by", score, weight)
    kept = keep_top(worth.masked_fill(~mask, -torch.inf), active - drop)
    barred = kept if regrow else kept | mask
    scores = score.masked_fill(barred, -torch.inf)
    free = int((~barred).count_nonzero())
    grown = keep_top(scores, min(grow, free))
    if grow > free:  # nothing else is left
        grown |= keep_top(worth.masked_fill(~(mask & ~kept), -torch.inf), grow - free)
    return kept, grown


def share_out(total: int, signal: Mapping[str, float], capacity: Mapping[str, int]) -> dict[str, int]:
    """Share out growth among layers in proportion to a signal, none above its capacity, the total conserved exactly.

    What a full layer cannot take goes to the others in the same proportions; fractions go to the largest remainders.

    Args:
        total: connections to grow.
        signal: layer -> a number >= 0; if all are 0, layers with room share alike.
        capacity: layer -> free places.

    Raises:
        ValueError: if the layers have not enough room, or a signal is negative or not finite.
    """
    if total > sum(capacity.values()):
        raise ValueError(f"{total} connections do not fit into {sum(capacity.values())} free places")
    if not all(0 <= value < float("inf") for value in signal.values()):
        raise ValueError(f"signals must be finite and not negative: {dict(signal)}")
    given = dict.fromkeys(capacity, 0)
    while (left := total - sum(given.values())) > 0:
        room = {name: capacity[name] - given[name] for name in capacity if given[name] < capacity[name]}
        weights = {name: float(signal[name]) for name in room}
        if not any(weights.values()):
            weights = dict.fromkeys(room, 1.0)
        whole = sum(weights.values())
        exact = {name: left * weight / whole for name, weight in weights.items()}
        if full := [name for name in room if exact[name] > room[name]]:
            for name in full:
                given[name] = capacity[name]
            continue
        for name, amount in exact.items():
            given[name] += int(amount)
        remainders = sorted(exact, key=lambda name: int(exact[name]) - exact[name])
        for name in [name for name in remainders if given[name] < capacity[name]][: total - sum(given.values())]:
            given[name] += 1
    return given


def update(
    method: Method, fraction: float, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor], momenta: Mapping[str, Tensor], rng: torch.Generator, *, regrow: bool = True,
) -> dict[str, tuple[Tensor, Tensor]]:  # fmt: skip
    """One update of all masks of a network.

    Args:
        method: how.
        fraction: of the active weights of each layer that are dropped, rounded down.
        weights: layer -> weights.
        masks: layer -> bool; layers that are not named stay dense. A full layer takes part only in redistribution.
        gradients: dense gradients of the loss at the masked weights; of every layer, if the method looks at them.
        momenta: what `optimizers.momentum` gives; likewise.
        rng: of random growth, on the CPU.
        regrow: as in `drop_and_grow`.

    Returns:
        layer -> (survived, grown) as of `drop_and_grow`, for layers that take part. The total count is conserved, and
        each layer's too unless growth is redistributed.

    Raises:
        ValueError: if the method looks at a gradient or a momentum that a layer does not have.
    """
    sources = {"gradient": gradients, "momentum": momenta}
    _check_signals(method, masks, sources)
    active = {name: int(mask.count_nonzero()) for name, mask in masks.items()}
    shared = method.redistribute != "none"
    moving = [name for name, mask in masks.items() if shared or active[name] < mask.numel()]
    drops = {name: int(fraction * active[name]) for name in moving}
    grows = dict(drops)
    if shared:
        source = sources[method.redistribute]
        signal = {name: float(source[name][masks[name]].abs().mean()) if active[name] else 0.0 for name in moving}
        capacity = {name: masks[name].numel() - active[name] + drops[name] * regrow for name in moving}
        grows = share_out(sum(drops.values()), signal, capacity)
    new = {}
    for name in moving:
        worth, score = (
            score.of(
                Signals(weights[name], masks[name], rng, {signal: sources[signal][name] for signal in score.looks_at})
            )
            for score in (DROPS[method.drop], GROWS[method.grow])
        )
        new[name] = drop_and_grow(
            weights[name], masks[name], score, drops[name], grows[name], regrow=regrow, worth=worth
        )
    return new


def _check_signals(method: Method, masks: Mapping[str, Tensor], sources: Mapping[str, Mapping[str, Tensor]]) -> None:
    for signal, given in sources.items():
        lacking = [name for name in masks if name not in given]
        if lacking and method.looks_at(signal):
            hint = ": train with SGD and momentum above 0, or Adam" if signal == "momentum" else ""
            raise ValueError(f"{method.title} looks at the {signal} of every layer; {lacking[0]} has none{hint}")
