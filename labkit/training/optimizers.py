"""Optimisers as functions: one step in place on lists of tensors, fused into one kernel, their state in our hands.

The learning rate is a tensor (float32, no dimensions), so that a captured step can be run again at another one.

State lives in "slots", lists of tensors of the parameters' shapes (and, for Adam, the step counts), so that it can be
masked, saved and restored like the weights.

The fused kernels walk through memory without a look at strides, and autograd may hand over a gradient in another order
than its weight (of a convolution whose images are channels-last, for one): gradients are brought into their weights'.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, empty_like
from torch.optim.adam import adam as _adam_step
from torch.optim.sgd import sgd as _sgd_step

from labkit.ground.names import choose


class Options(Protocol):
    """What of a training spec an optimiser looks at."""

    @property
    def optimizer(self) -> str:
        """A name of `OPTIMIZERS`."""

    @property
    def momentum(self) -> float:
        """Of SGD."""

    @property
    def nesterov(self) -> bool:
        """Whether SGD's momentum is Nesterov's."""


Slots = Mapping[str, list[Tensor]]
Update = Callable[[list[Tensor], list[Tensor], Slots, Tensor, float, Options], None]


def adam(weights: list[Tensor], gradients: list[Tensor], slots: Slots, lr: Tensor, decay: float, spec: Options) -> None:
    """Adam (Kingma & Ba 2015, Algorithm 1; betas 0.9 and 0.999, epsilon 1e-8), L2 penalty added to the gradient."""
    _adam_step(
        weights, _laid_out(gradients, weights), slots["exp_avg"], slots["exp_avg_sq"], [], slots["step"],
        fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=lr, weight_decay=decay, eps=1e-8, maximize=False,
    )  # fmt: skip


def sgd(weights: list[Tensor], gradients: list[Tensor], slots: Slots, lr: Tensor, decay: float, spec: Options) -> None:
    """SGD with (Nesterov) momentum as in Sutskever et al. 2013, the learning rate outside the momentum."""
    buffers: list[Any] = slots.get("momentum_buffer") or [None] * len(weights)
    _sgd_step(
        weights, _laid_out(gradients, weights), buffers, fused=True, weight_decay=decay, momentum=spec.momentum, lr=lr,
        dampening=0.0, nesterov=spec.nesterov, maximize=False,
    )  # fmt: skip


def _laid_out(gradients: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    return [
        gradient if gradient.stride() == weight.stride() else empty_like(weight).copy_(gradient)
        for gradient, weight in zip(gradients, weights, strict=True)
    ]


def momentum(slots: Mapping[str, Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """What weights keep moving along, for growth and redistribution by momentum.

    SGD: the momentum buffer. Adam: exp_avg / (sqrt(exp_avg_sq) + 1e-8), without bias correction, as in the code of
    Dettmers & Zettlemoyer 2019 and of Sundar & Dwaraknath 2021; a weight that never had a gradient has 0.

    Args:
        slots: slot -> parameter -> tensor.

    Returns:
        parameter -> tensor; empty for an optimiser that keeps no momentum.
    """
    if "exp_avg" in slots:
        squares = slots["exp_avg_sq"]
        return {name: mean / (squares[name].sqrt() + 1e-8) for name, mean in slots["exp_avg"].items()}
    return slots.get("momentum_buffer", {})


OPTIMIZERS: dict[str, Update] = {"adam": adam, "sgd": sgd}


def optimizer(spec: Options) -> tuple[Update, Sequence[str]]:
    """The update function of a spec and the names of its slots ("step" counts, the others have the weights' shape).

    Raises:
        ValueError: for an unknown optimiser.
    """
    name = choose("optimizer", spec.optimizer, OPTIMIZERS)
    slots = {"adam": ("exp_avg", "exp_avg_sq", "step"), "sgd": ("momentum_buffer",) if spec.momentum else ()}
    return OPTIMIZERS[name], slots[name]
