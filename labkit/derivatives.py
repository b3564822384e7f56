"""First and second derivatives of the training loss, for pruning criteria that want them."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


def gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Gradient of the mean cross-entropy with respect to every parameter, in evaluation mode."""
    model.eval()
    parameters = dict(model.named_parameters())
    loss = nn.functional.cross_entropy(model(inputs), labels)
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def curvature(model: nn.Module, inputs: Tensor, chunk: int = 16) -> dict[str, Tensor]:
    """Diagonal of the Gauss-Newton matrix of the mean cross-entropy, exact, in evaluation mode.

    h = mean over examples of sum_c p_c * (d log p_c / d w)**2, with p the network's own softmax: for cross-entropy the
    Gauss-Newton matrix is the Fisher matrix (Martens 2020, section 9). It equals the Hessian's diagonal for a network
    that is linear in w. LeCun et al. 1990 use the same approximation.

    Args:
        model: in whose parameters.
        inputs: (B, ...) examples; their labels do not matter.
        chunk: examples at a time; memory is about chunk x classes x parameters.
    """
    model.eval()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def log_probability(weights: dict[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(model, {**weights, **buffers}, (example[None],))[0]
        return logits.log_softmax(0) @ target

    per_example = vmap(vmap(grad(log_probability), (None, None, 0)), (None, 0, None))  # over examples, over targets
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with torch.no_grad():
        for part in inputs.split(chunk):
            probabilities = functional_call(model, {**parameters, **buffers}, (part,)).softmax(1)  # (B, classes)
            targets = torch.eye(probabilities.shape[1], device=inputs.device)
            for name, slope in per_example(parameters, part, targets).items():  # (B, classes, *shape)
                total[name] += torch.einsum("bc,bc...->...", probabilities, slope**2)
    return {name: value / len(inputs) for name, value in total.items()}
