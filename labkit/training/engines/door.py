"""The one door to how steps are executed: what an engine takes and gives, whatever it does inside.

An engine trains networks of one shape, each in a slot of its own; slots come and go. What it is told once is the
network, the recipe (`TrainSpec`) and the data; data orders, learning rates and augmentation follow from those and from
a slot's seed. Networks cross the door as canonical tensors: "state/NAME" (parameters and buffers), "mask/NAME" and
"SLOT/NAME" for the optimiser's state, in the shapes of the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Canonical = Mapping[str, Tensor]


def canonical(state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Canonical tensors of a state dict and masks."""
    return {f"state/{name}": t for name, t in state.items()} | {f"mask/{name}": mask for name, mask in masks.items()}


def parted(tensors: Canonical) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State dict and masks of canonical tensors."""
    return (
        {name.removeprefix("state/"): t for name, t in tensors.items() if name.startswith("state/")},
        {name.removeprefix("mask/"): t for name, t in tensors.items() if name.startswith("mask/")},
    )


@dataclass(frozen=True)
class Settled:
    """What a slot has done since it was last asked.

    Attributes:
        step: that it has reached.
        losses: mean cross-entropy (nats) of each step's batch, from before the step.
        right: examples of the batch that were right.
        bad: the first of these steps whose loss is not finite, or None; the slot went no further than it had to.
    """

    step: int
    losses: list[float]
    right: list[int]
    bad: int | None


@dataclass(frozen=True)
class View:
    """What a mask update looks at, each layer -> tensor: weights, masks, dense gradients, the optimiser's momentum."""

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    momenta: Mapping[str, Tensor]


class Engine(Protocol):
    """Executes the steps of networks of one shape."""

    @property
    def work(self) -> int:
        """Multiply-accumulates of a forward pass of a batch."""

    @property
    def linear(self) -> bool:
        """Whether all its layers are linear ones."""

    @property
    def alone(self) -> bool:
        """Whether only one slot may advance at a time (they draw from one generator, or share one GPU)."""

    def put(self, slot: int, tensors: Canonical, seed: int, at: int) -> None:
        """Place a network in a slot, at a step; without the optimiser's state, that is zero."""

    def advance(self, slot: int, until: int) -> None:
        """Train the network to a step; the work may only be enqueued when this returns."""

    def settle(self, slot: int) -> Settled:
        """Wait for what was enqueued, and say what came of it."""

    def gradients(self, slot: int) -> View:
        """Gradients of the batch of the slot's step, which is done with it, though weights stay."""

    def rewire(self, slot: int, moved: Mapping[str, tuple[Tensor, Tensor]], *, reset_regrown: bool = True) -> None:
        """Change masks: layer -> (survived, grown); grown weights start at zero, and so does their state."""

    def evaluate(self, slot: int, split: str) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy (a fraction) on a split; NaN for an empty one."""

    def how(self, slot: int) -> tuple[str, str]:
        """How its steps are executed, and why not faster; known once one was done, and written into results."""

    def kept(self, slot: int) -> list[int]:
        """Active weights of each masked layer."""

    def take(self, slot: int) -> dict[str, Tensor]:
        """Canonical tensors, copied to the CPU."""

    def free(self, slot: int) -> None:
        """Give the slot back."""
