"""Specs of the search for winning tickets: how networks are pruned, and where their weights are rewound to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from labkit.names import choose, fraction, whole
from labkit.scores import SCORES
from labkit.specs import NetworkSpec, Spec
from labkit.steps import Step

TICKET = "ticket"  # the branch of the tickets themselves; all others are controls


@dataclass(frozen=True)
class PruneSpec(Spec):
    """How tickets are pruned.

    Attributes:
        score: a name of `labkit.scores.SCORES`.
        scope: "layer" (each layer at its rate) or "global" (all layers compete).
        rate: share of the survivors removed a round, in (0, 1).
        conv_rate: the same for convolutions, in [0, 1); None: as the others.
        output_rate: the same for the last layer, in [0, 1); None: as the others.
        layer_rates: the same for layers by parameter name, such as {"fc1.weight": 0.3}, in [0, 1).
            With scope "global" all layers compete at `rate`, except those that are left out by a rate of 0.
        levels: rounds of pruning; level 0 is the dense network, so `levels + 1` networks are trained.
        iterative: prune each level from the one before; otherwise all from level 0 (one-shot pruning).

    Raises:
        ValueError: for a value out of range.
    """

    score: str = "magnitude"
    scope: str = "layer"
    rate: float = 0.2
    conv_rate: float | None = None
    output_rate: float | None = None
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    levels: int = 0
    iterative: bool = True

    __hash__ = Spec.__hash__

    def __post_init__(self) -> None:
        choose("score", self.score, SCORES)
        choose("scope", self.scope, ["layer", "global"])
        self._become("levels", whole("levels", self.levels))
        self._become("rate", fraction("rate", self.rate))
        for name in ("conv_rate", "output_rate"):
            if getattr(self, name) is not None:
                self._become(name, fraction(name, getattr(self, name), zero=True))
        rates = {name: fraction(f"rate of {name}", rate, zero=True) for name, rate in self.layer_rates.items()}
        self._become("layer_rates", rates)
        if self.scope == "global" and any((self.conv_rate, self.output_rate, *rates.values())):
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

    prune: PruneSpec = PruneSpec()
    rewind: str = "0it"

    __hash__ = Spec.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        self._nest("prune", PruneSpec)
        if self.data.validation == 0:
            raise ValueError("validation is 0: tickets stop early by the validation loss, so some must be held out")
        self._become("rewind", str(Step.parse(self.rewind)))
