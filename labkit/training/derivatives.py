"""First and second derivatives of the training loss, for pruning criteria that want them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from labkit.models import prunable


def gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Gradient of the mean cross-entropy with respect to every parameter, zero for unused ones; in evaluation mode."""
    model.eval()
    parameters = dict(model.named_parameters())
    loss = nn.functional.cross_entropy(model(inputs), labels)
    slopes = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, slopes, strict=True))


def contributions(model: nn.Module, inputs: Tensor, blank: Tensor, outputs: Tensor) -> Tensor:
    """What each input adds to an output, to first order: (x - blank) * d output / d x; in evaluation mode.

    Of a network that is linear they add up to output(x) - output(blank). Pruned weights pass nothing on, so an input
    speaks by surviving weights alone.

    Args:
        model: the network.
        inputs: (B, ...) examples.
        blank: an example without content, that can be subtracted from them.
        outputs: int64 (B,), of each example the output that is looked at.

    Returns:
        a tensor of the shape of `inputs`.
    """
    model.eval()
    seen = inputs.detach().clone().requires_grad_()
    chosen = model(seen).gather(1, outputs[:, None]).sum()
    (slope,) = torch.autograd.grad(chosen, seen)
    return (inputs - blank) * slope


def curvature(model: nn.Module, inputs: Tensor, chunk: int = 32) -> dict[str, Tensor]:
    """Diagonal of the Gauss-Newton matrix of the mean cross-entropy, nothing sampled, in evaluation mode.

    h = mean over examples of sum_c p_c * (d log p_c / d w)**2, with p the network's own softmax: for cross-entropy the
    Gauss-Newton matrix is the Fisher matrix (Martens 2020, section 9). It equals the Hessian's diagonal for a network
    that is linear in w. LeCun et al. 1990 use the same approximation. A linear layer's squared derivatives are the
    product of squared inputs and squared output slopes, so no derivative of a single example is ever formed there.

    Args:
        model: of linear and (ungrouped) 2-d convolution layers, each used once; other layers may stand between them.
        inputs: (B, ...) examples; their labels do not matter.
        chunk: examples at a time.

    Returns:
        name -> tensor of the weight's shape, for the weights of those layers.

    Raises:
        ValueError: for another prunable layer (attention, a transposed or 1-d or 3-d convolution), a layer that is used
            twice, or a grouped convolution.
    """
    model.eval()
    known = {
        f"{name}.weight".lstrip("."): (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    if others := [weight for weight in prunable(model) if weight not in known]:
        raise ValueError(f"{', '.join(others)}: only linear and 2-d convolution layers have a curvature here")
    layers = dict(known[weight] for weight in prunable(model))
    total = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    passed: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(layer: nn.Module, arguments: Any, output: Tensor) -> None:
            if name in passed:
                raise ValueError(f"layer {name} is used twice: its curvature is not known here")
            passed[name] = arguments[0].detach(), output

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        for part in inputs.split(chunk):
            passed.clear()
            log_p = model(part).log_softmax(1)  # (B, classes)
            probability = log_p.detach().exp()
            if unseen := [name for name in layers if name not in passed]:
                raise ValueError(
                    f"layer {unseen[0]} is not called in the forward pass: its curvature is not known here"
                )
            outputs = [passed[name][1] for name in layers]
            for target in range(log_p.shape[1]):
                slopes = torch.autograd.grad(log_p[:, target].sum(), outputs, retain_graph=True)
                for (name, layer), slope in zip(layers.items(), slopes, strict=True):
                    squares = _squares(name, layer, passed[name][0], slope, probability[:, target])
                    total[name] += squares.reshape(layer.weight.shape)
    finally:
        for handle in handles:
            handle.remove()
    return {f"{name}.weight".lstrip("."): value.detach() / len(inputs) for name, value in total.items()}


def _squares(name: str, layer: nn.Module, inputs: Tensor, slopes: Tensor, weight: Tensor) -> Tensor:
    """Sum over examples of weight * (derivative with respect to the layer's weights)**2."""
    if isinstance(layer, nn.Linear) and inputs.ndim == 2:
        return (weight[:, None] * slopes**2).T @ inputs**2  # (out, in)
    if isinstance(layer, nn.Conv2d):
        if layer.groups > 1 or isinstance(layer.padding, str):
            raise ValueError(f"layer {name}: grouped convolutions and padding by name have no curvature here")
        patches = nn.functional.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        per_example = slopes.flatten(2) @ patches.mT  # (B, out, in * k * k)
    else:
        per_example = slopes.flatten(1, -2).mT @ inputs.flatten(1, -2)  # (B, out, in)
    return torch.einsum("b,boi->oi", weight, per_example**2)
