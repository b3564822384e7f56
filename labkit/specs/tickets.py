"""Specs of the search for winning tickets: how networks are pruned, and where their weights are rewound to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from labkit.ground.lists import mapped
from labkit.ground.names import choose, fraction, switch, whole
from labkit.ground.steps import moment
from labkit.sparsity.scores import SCORES
from labkit.specs.base import Spec, checked, nested
from labkit.specs.networks import NetworkSpec

MOST_LEVELS = 1000  # by then 1 % a round leaves a weight in 20,000
_own_rate = partial(fraction, zero=True)

TICKET = "ticket"  # the branch of the tickets themselves; all others are controls


@dataclass(frozen=True)
class PruneSpec(Spec):
    """How tickets are pruned.

    Attributes:
        score: a name of `labkit.sparsity.scores.SCORES`.
        scope: "layer" (each layer at its rate) or "global" (all layers compete).
        rate: share of the survivors removed a round, in (0, 1).
        conv_rate: the same for convolutions, in [0, 1); None: as the others.
        output_rate: the same for the last layer, in [0, 1); None: as the others.
        layer_rates: the same for layers by parameter name, such as {"fc1.weight": 0.3}, in [0, 1).
            With scope "global" all layers compete at `rate`, except those that are left out by a rate of 0.
        levels: rounds of pruning; level 0 is the dense network, so `levels + 1` networks are trained (0: it alone).
            None: not said; a search wants it said.
        iterative: prune each level from the one before; otherwise all from level 0 (one-shot pruning).

    Raises:
        ValueError: for a value out of range.
    """

    score: str = checked("magnitude", choose, choices=SCORES)
    scope: str = checked("layer", choose, choices=("layer", "global"))
    rate: float = checked(0.2, fraction)
    conv_rate: float | None = checked(None, _own_rate)
    output_rate: float | None = checked(None, _own_rate)
    layer_rates: Mapping[str, float] = checked({}, mapped, of=_own_rate, like="{'fc1.weight': 0.3}")
    levels: int | None = checked(None, whole, most=MOST_LEVELS)
    iterative: bool = checked(True, switch)

    __hash__ = Spec.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope == "global" and any((self.conv_rate, self.output_rate, *self.layer_rates.values())):
            raise ValueError(
                'with scope "global" all layers compete at one rate; a layer\'s own rate can only be 0 (left out)'
            )


@dataclass(frozen=True)
class TicketSpec(NetworkSpec):
    """An experiment that looks for winning tickets: a `NetworkSpec` with pruning, and where to rewind to.

    Attributes:
        prune: a `PruneSpec`.
        init: "default" is Gaussian Glorot for the kit's networks, and your own model's own for yours.
        rewind: the moment of level 0's training whose weights every ticket starts from (a `Step`; "0it": the
            initialisation). A ticket continues there: its schedule and data order go on from that step.

    Raises:
        ValueError: for a value out of range.
    """

    kit_init: ClassVar[str] = "glorot_normal"  # LTH, Figure 2

    prune: PruneSpec = checked(PruneSpec(), nested, kind=PruneSpec)
    rewind: str = checked("0it", moment)

    __hash__ = Spec.__hash__
