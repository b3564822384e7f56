"""Batch norm statistics of a network whose weights were changed without training."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure running means and variances anew, as plain averages over batches, in place; weights stay.

    The statistics of a network that was pruned in one shot are those of the network before; its accuracy is then that
    of the pruning and of stale statistics together. Report both.

    Args:
        model: any network; one without batch norm is left as it is.
        batches: inputs (B, ...), of training data.

    Raises:
        ValueError: if there is no batch.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    momenta, was_training = [layer.momentum for layer in norms], model.training
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # an average over all batches
    seen = 0
    for module in model.modules():
        module.training = isinstance(module, _BatchNorm)  # dropout stays off
    try:
        for inputs in batches:
            model(inputs)
            seen += 1
    finally:
        model.train(was_training)
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
    if norms and not seen:
        raise ValueError("batch norm cannot be recalibrated without a batch")
