"""How exact a training step in float32 is on a CPU: its gradients against float64, by labkit and by plain PyTorch.

    python benchmarks/exactness.py [--networks resnet20 vgg19] [--width 1.0] [--batch 32] [--seeds 0 1 2]

Two float64 copies of each network see the same batch. The free one makes its own choices: which ReLUs are open, which
pixel wins a pool. The other follows the choices of the float32 run (`Choices`), so that what is left is rounding. For
both, the relative error of each gradient tensor, |float32 - float64| / |float64| by Euclidean norms: the worst and the
median over tensors and seeds. With them how many choices a step makes otherwise than float64 (mean over seeds), and the
largest errors of batch means (in standard deviations of their channel) and batch variances (relative), each layer's
against float64 on the same float32 input.
"""

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from labkit import data, models
from labkit.runs import provenance
from labkit.training.engines.kernels import accelerate

WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "labkit, channels-last": lambda network: accelerate(network).to(memory_format=torch.channels_last),
    "PyTorch, channels-last": lambda network: network.to(memory_format=torch.channels_last),
    "PyTorch, channels-first": lambda network: network,
}
RELUS = (functional.relu, torch.relu, torch.Tensor.relu)
POOLS = (functional.max_pool2d, torch.max_pool2d)
Gradients = dict[str, Tensor]


class Choices(TorchFunctionMode):
    """Writes down, or follows, the choices of a forward pass: which ReLUs are open, and which pixels win a max-pool.

    Args:
        given: choices to follow, in the order of the pass; None: make them, and write them down in `found`.
    """

    def __init__(self, given: list[Tensor] | None = None):
        super().__init__()
        self.found: list[Tensor] = []
        self._given: Iterator[Tensor] | None = None if given is None else iter(given)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RELUS:
            chosen = args[0] > 0 if self._given is None else next(self._given)
            result = args[0] * chosen
        elif func in POOLS:
            best, places = functional.max_pool2d(*args, **{**(kwargs or {}), "return_indices": True})
            chosen = places if self._given is None else next(self._given)
            result = (
                best if self._given is None else args[0].flatten(2).gather(2, chosen.flatten(2)).reshape(best.shape)
            )
        else:
            return func(*args, **(kwargs or {}))
        self.found.append(chosen)
        return result


def gradients(network: nn.Module, inputs: Tensor, labels: Tensor, choices: Choices) -> Gradients:
    """Of the mean cross-entropy, in training mode, by parameter."""
    with choices:
        loss = functional.cross_entropy(network(inputs), labels)
    parameters = dict(network.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def errors(found: Gradients, true: Gradients) -> list[float]:
    """Relative error of each tensor, smallest first."""
    return sorted(float((found[name].double() - true[name]).norm() / true[name].norm()) for name in true)


def statistics_errors(network: nn.Module, inputs: Tensor) -> tuple[float, float]:
    """Largest errors of batch means, in standard deviations, and of batch variances, relative, over all layers."""
    network, worst = copy.deepcopy(network), [0.0, 0.0]

    def compare(layer: nn.Module, given: tuple[Tensor], _output: Tensor) -> None:
        variance, mean = torch.var_mean(given[0].double(), (0, 2, 3))
        worst[0] = max(worst[0], float(((layer.running_mean - mean).abs() / variance.sqrt()).max()))
        worst[1] = max(worst[1], float(((layer.running_var - variance).abs() / variance).max()))

    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # what it keeps is of this batch
            layer.register_forward_hook(compare)
    with torch.no_grad():
        network(inputs)
    return worst[0], worst[1]


def measure(network: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Errors of one step of a network as it is, its layout and kernels included."""
    network.train()
    exact = copy.deepcopy(network).double().to(memory_format=torch.contiguous_format)
    made, free = Choices(), Choices()
    found = gradients(copy.deepcopy(network), inputs, labels, made)
    alone = gradients(copy.deepcopy(exact), inputs.double(), labels, free)
    guided = gradients(exact, inputs.double(), labels, Choices(made.found))
    pairs = list(zip(made.found, free.found, strict=True))
    means, variances = statistics_errors(network, inputs)
    return {
        "free": errors(found, alone), "guided": errors(found, guided),
        "flipped": sum(int((mine != theirs).sum()) for mine, theirs in pairs),
        "choices": sum(mine.numel() for mine, _ in pairs), "means": means, "variances": variances,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet20", "vgg19"], choices=list(models.MODELS))
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", default="digits")
    arguments = parser.parse_args()
    print(provenance.describe())
    print(
        "| network | step | own choices: worst | median | same choices: worst | median | flipped | means | variances |"
    )
    for name in arguments.networks:
        options = {"width": arguments.width}
        dataset = data.load(arguments.data, shape=models.build(name, options).input_shape)
        inputs, labels = dataset.inputs("train", slice(0, arguments.batch))
        for label, way in WAYS.items():
            rows = [measure(way(models.build(name, options, seed)), inputs, labels) for seed in arguments.seeds]
            cells = [name, label]
            for kind in ("free", "guided"):
                cells += [f"{max(row[kind][-1] for row in rows):.1e}",
                          f"{statistics.median(error for row in rows for error in row[kind]):.1e}"]  # fmt: skip
            cells += [f"{statistics.mean(row['flipped'] for row in rows):,.1f} of {rows[0]['choices']:,}"]
            cells += [f"{max(row[key] for row in rows):.0e}" for key in ("means", "variances")]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
