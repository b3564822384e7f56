"""Methods of sparse training. A row of `METHODS` says all that tells one from another; a new method is a new row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.ground.names import choose, switch, text
from labkit.sparsity.flops import RULES

MASKS = ("none", "fixed", "pruned", "moving")
SHARES = ("none", "gradient", "momentum")


@dataclass(frozen=True)
class Signals:
    """What the weights of a layer can be scored by.

    Attributes:
        weight: any shape.
        mask: bool, the same shape.
        gradient: dense gradient of the loss at the masked weights; None where no score asks for it.
        momentum: what `training.optimizers.momentum` gives; None likewise.
        rng: of random scores, on the CPU.
    """

    weight: Tensor
    mask: Tensor
    gradient: Tensor | None
    momentum: Tensor | None
    rng: torch.Generator


def _magnitude(at: Signals) -> Tensor:
    return at.weight.abs()


def _random(at: Signals) -> Tensor:
    return torch.rand(at.mask.shape, generator=at.rng).to(at.mask.device)


def _gradient(at: Signals) -> Tensor:
    assert at.gradient is not None, "`topology.update` asks for it"
    return at.gradient.abs()


def _momentum(at: Signals) -> Tensor:
    assert at.momentum is not None, "`topology.update` asks for it"
    return at.momentum.abs()


Score = Callable[[Signals], Tensor]
DROPS: Mapping[str, Score] = {"magnitude": _magnitude}  # active weights: the lowest are dropped
GROWS: Mapping[str, Score] = {"random": _random, "gradient": _gradient, "momentum": _momentum}  # inactive: the highest


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
        elif self.grow or self.redistribute != "none":
            raise ValueError(f'masks that are {self.masks!r} do not grow: only those of masks="moving" do')
        if self.grow == "momentum" and not self.dense_momentum:
            raise ValueError(
                "growth by momentum needs dense_momentum=True: otherwise that of all inactive weights is zero, and "
                "they would grow in the order of their places"
            )

    def looks_at(self, signal: str) -> bool:
        """Whether it drops, grows or redistributes by "gradient" or "momentum"."""
        return signal in (self.drop, self.grow, self.redistribute)


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
