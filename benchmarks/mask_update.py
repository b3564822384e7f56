"""Time and memory of one mask update of ResNet-50 (23.7 million weights), beside the weights' own size and a step.

    python benchmarks/mask_update.py [--density 0.1] [--batch 16]

Memory is the growth of the process's peak during updates, in multiples of the float32 weights; the step beside it is a
plain forward and backward pass on a batch of 32x32 images.
"""

import argparse
import resource
import statistics
import time

import torch
from torch import nn

from labkit import models
from labkit.runs import provenance
from labkit.sparsity import allocation
from labkit.sparsity.methods import METHODS
from labkit.sparsity.topology import update


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    model = models.build("resnet50", {"classes": 100})
    names = models.prunable(model)
    weights = {name: model.get_parameter(name).detach() for name in names}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    rng = torch.Generator().manual_seed(0)
    keep = allocation.counts(shapes, allocation.allocate("erk", shapes, arguments.density))
    masks = allocation.draw(shapes, keep, rng)
    for name, mask in masks.items():
        weights[name].mul_(mask)
    gradients = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    momenta = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    size = sum(weight.numel() for weight in weights.values())
    print(f"{provenance.describe()}\nResNet-50: {size:,} weights, ERK at density {arguments.density}")
    print(f"{'method':10}{'seconds':>10}{'memory, x the weights':>24}")
    for name, method in METHODS.items():
        if method.masks != "moving":
            continue
        times, before = [], peak()
        for _ in range(5):
            began = time.perf_counter()
            update(method, 0.3, weights, masks, gradients, momenta, rng)
            times.append(time.perf_counter() - began)
        print(f"{name:10}{statistics.median(times):>10.3f}{(peak() - before) / (4 * size):>24.2f}", flush=True)
    inputs, labels = torch.randn(arguments.batch, 3, 32, 32), torch.zeros(arguments.batch, dtype=torch.long)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        times.append(time.perf_counter() - began)
    print(f"forward and backward, batch {arguments.batch}: {statistics.median(times):.3f} s")


if __name__ == "__main__":
    main()
