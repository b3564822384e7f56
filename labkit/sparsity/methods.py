"""Methods of sparse training. A row of `METHODS` says all that tells one from another; a new method is a new row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.ground.names import choose, switch, text
from labkit.sparsity.flops import RULES

COSTS = ("dense", "masked", "rigl", "dense momentum")  # rules that follow from what a method computes
MASKS = ("none", "fixed", "pruned", "moving")
SHARES = ("none", "gradient", "momentum")


@dataclass(frozen=True)
class Signals:
    """What the weights of a layer are scored by.

    Attributes:
        weight: any shape.
        mask: bool, the same shape.
        rng: of random scores, on the CPU.
        given: "gradient" (dense, of the loss at the masked weights) and "momentum" (what `training.optimizers.momentum`
            gives), each of the same shape, where the score says that it looks at them.
    """

    weight: Tensor
    mask: Tensor
    rng: torch.Generator
    given: Mapping[str, Tensor]

    @property
    def gradient(self) -> Tensor:
        """The dense gradient."""
        return self._signal("gradient")

    @property
    def momentum(self) -> Tensor:
        """The momentum."""
        return self._signal("momentum")

    def _signal(self, name: str) -> Tensor:
        if name not in self.given:
            raise ValueError(f"a score reads the {name} of weights and does not say so: Score(function, ({name!r},))")
        return self.given[name]


@dataclass(frozen=True)
class Score:
    """How the weights of a layer are ranked.

    Attributes:
        of: signals -> real numbers of the weights' shape.
        looks_at: of "gradient" and "momentum" those that it reads.

    Raises:
        ValueError: for another signal.
    """

    of: Callable[[Signals], Tensor]
    looks_at: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for signal in self.looks_at:
            choose("signal", signal, SHARES[1:])


def _random(at: Signals) -> Tensor:
    return torch.rand(at.mask.shape, generator=at.rng).to(at.mask.device)


# of active weights the lowest are dropped, of inactive ones the highest grow
DROPS: dict[str, Score] = {"magnitude": Score(lambda at: at.weight.abs())}
GROWS: dict[str, Score] = {
    "random": Score(_random),
    "gradient": Score(lambda at: at.gradient.abs(), ("gradient",)),
    "momentum": Score(lambda at: at.momentum.abs(), ("momentum",)),
}


@dataclass(frozen=True)
class Method:
    """A method of sparse training.

    Attributes:
        title: its name in tables.
        masks: "none" (dense), "fixed" (drawn once), "pruned" (full at first, then pruned globally by magnitude along a
            schedule) or "moving" (connections are dropped and grown).
        flops: a name of `flops.RULES`: what a step of training costs.
        drop: of moving masks, what active weights are scored by: a name of `DROPS`.
        grow: of moving masks, what inactive weights are scored by: a name of `GROWS`.
        redistribute: what growth is shared out among layers by, each layer weighing with the mean of its active
            weights: "none" (a layer grows what it dropped), "gradient" or "momentum" (absolute; under Adam that of its
            mean over its root mean square).
        dense_momentum: whether the momentum of inactive weights is kept.

    Raises:
        ValueError: for an unknown name, moving masks without a growth score, others with one, or growth by a momentum
            that inactive weights do not have.
    """

    title: str
    masks: str
    flops: str
    grow: str = ""
    drop: str = "magnitude"
    redistribute: str = "none"
    dense_momentum: bool = False

    def __post_init__(self) -> None:
        text("title", self.title)
        choose("masks", self.masks, MASKS)
        choose("FLOP rule", self.flops, RULES)
        choose("drop score", self.drop, DROPS)
        choose("redistribution", self.redistribute, SHARES)
        switch("dense_momentum", self.dense_momentum)
        if self.masks == "moving":
            choose("growth score", self.grow, GROWS)
        elif self.grow or self.redistribute != "none" or self.dense_momentum:
            raise ValueError(f'masks that are {self.masks!r} do not grow: only those of masks="moving" do')
        if self.grow and "momentum" in GROWS[self.grow].looks_at and not self.dense_momentum:
            raise ValueError(
                f"growth by {self.grow!r} looks at momentum and needs dense_momentum=True: otherwise that of all "
                "inactive weights is zero, and they would grow in the order of their places"
            )

        if self.flops in COSTS and self.flops != (due := self._cost()):
            raise ValueError(
                f"FLOP rule {self.flops!r} is not what such a method costs: that is {due!r}, or a rule of your own"
            )

    def _cost(self) -> str:
        """Which of the rules here follows from what it computes."""
        if self.dense_momentum:
            return "dense momentum"
        if self.looks_at("gradient"):
            return "rigl"
        return "dense" if self.masks == "none" else "masked"

    def looks_at(self, signal: str) -> bool:
        """Whether it drops, grows or redistributes by "gradient" or "momentum"."""
        scores = [DROPS[self.drop], *([GROWS[self.grow]] if self.grow else [])] if self.masks == "moving" else []
        return signal == self.redistribute or any(signal in score.looks_at for score in scores)


METHODS: dict[str, Method] = {
    "dense": Method("Dense", "none", flops="dense"),
    "static": Method("Static", "fixed", flops="masked"),
    "gradual": Method("Pruning", "pruned", flops="masked"),  # Zhu & Gupta 2017
    "set": Method("SET", "moving", flops="masked", grow="random"),  # Mocanu et al. 2018
    "snfs": Method(  # Dettmers & Zettlemoyer 2019
        "SNFS", "moving", flops="dense momentum", grow="momentum", redistribute="momentum", dense_momentum=True
    ),
    "rigl": Method("RigL", "moving", flops="rigl", grow="gradient"),  # Evci et al. 2020
    "rigl_sg": Method("RigL-SG", "moving", flops="rigl", grow="gradient", redistribute="gradient"),
    "rigl_sm": Method("RigL-SM", "moving", flops="rigl", grow="gradient", redistribute="momentum"),
}  # the last two: Sundar & Dwaraknath 2021, section 6.2
