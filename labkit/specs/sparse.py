"""Specs of sparse training from the start: which masks a network begins with, and how they change."""

from dataclasses import dataclass

from labkit.ground.names import choose, fraction, switch
from labkit.ground.steps import moment
from labkit.sparsity.allocation import ALLOCATIONS
from labkit.sparsity.methods import METHODS, Method
from labkit.specs.base import Spec, checked, nested
from labkit.specs.networks import NetworkSpec


@dataclass(frozen=True)
class TopologySpec(Spec):
    """The masks of a network, from the first step to the last.

    Attributes:
        method: a name of `labkit.sparsity.methods.METHODS`: "dense" (no masks), "static" (drawn once), "gradual" (dense
            at first, then pruned globally by magnitude along the cubic of Zhu & Gupta 2017), or one that moves masks.
        density: of the masks: in each layer or overall as the allocation says; of gradual pruning, at the end.
        allocation: how density is shared out over layers at the start: a name of
            `labkit.sparsity.allocation.ALLOCATIONS`.
        rate: share of the active weights dropped at the first update, in (0, 1); it falls along half a cosine to zero
            at `until`.
        every: distance of updates (a `Step`); it does not scale when training is made longer.
        begin: the first update of gradual pruning (a `Step`).
        until: no update at or after this moment (a `Step`).
        regrow: whether weights that were just dropped may grow again.
        reset_regrown: whether those start at zero, as all grown weights do.

    Raises:
        ValueError: for a value out of range.
    """

    method: str = checked("rigl", choose, choices=METHODS)
    density: float = checked(0.1, fraction, one=True)
    allocation: str = checked("uniform", choose, choices=ALLOCATIONS)
    rate: float = checked(0.3, fraction)
    every: str = checked("100it", moment, zero=False)
    begin: str = checked("0it", moment)
    until: str = checked("0.75run", moment)
    regrow: bool = checked(True, switch)
    reset_regrown: bool = checked(True, switch)

    @property
    def row(self) -> Method:
        """What the method is."""
        return METHODS[self.method]


@dataclass(frozen=True)
class SparseSpec(NetworkSpec):
    """An experiment of sparse training: a `NetworkSpec` with the masks from start to end.

    Attributes:
        topology: a `TopologySpec`.

    Raises:
        ValueError: for a value out of range.
    """

    topology: TopologySpec = checked(TopologySpec(), nested, kind=TopologySpec)

    __hash__ = NetworkSpec.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        by_momentum = self.topology.row.looks_at("momentum")
        if by_momentum and self.train.optimizer == "sgd" and not self.train.momentum:
            raise ValueError(
                f"{self.topology.method} needs a momentum above 0, or Adam: it looks at the momentum of weights"
            )
