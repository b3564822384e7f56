"""Geometry: the layers of a network as `flops` counts them, read off one forward pass."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from labkit.ground.interrupts import import_whole
from labkit.ground.randomness import ambient
from labkit.models import build, prunable
from labkit.sparsity.flops import Layer

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def layers(model: nn.Module, input_shape: Sequence[int] | None = None, *, unreached: bool = False) -> dict[str, Layer]:
    """Every prunable layer of a network with its weight's shape and how often an example uses each weight.

    A layer that runs several times counts as often. The network is not changed: a copy of it sees a blank example in
    evaluation mode. Counted are calls of the layers, and, where a weight is handed to a function instead (attention
    does so), the products and convolutions that it takes part in.

    Args:
        model: the network.
        input_shape: of one example, (channels, height, width); default `model.input_shape`.
        unreached: whether there may be layers that no forward pass reaches.

    Returns:
        name of the weight, as in `models.prunable` -> layer; one that evaluation does not reach has no positions.

    Raises:
        ValueError: if no shape is given and the network does not name one, or if no forward pass, in training or
            evaluation, reaches a prunable layer.
    """
    shape = _shape(model, input_shape)
    weights, macs, _ = _pass(copy.deepcopy(model).eval(), (1, *shape))
    missing = [name for name, count in macs.items() if not count]
    if missing and not unreached:
        _, trained, _ = _pass(copy.deepcopy(model).train(), (2, *shape))
        _refuse([name for name in missing if not trained[name]])
    return {name: Layer(tuple(weight.shape), _quotient(macs[name], weight.numel())) for name, weight in weights.items()}


def planned(name: str, options: Mapping[str, Any] | None = None) -> dict[str, Layer]:
    """What `layers` gives of a network that is built of shapes alone: no weights are drawn or kept in memory.

    Args:
        name, options: of the network, as of `models.build`; one of a model that names its input.

    Raises:
        ValueError: as `models.build` and `layers` do.

    >>> planned("lenet_300_100")["fc1.weight"]
    Layer(shape=(300, 784), positions=1)
    """
    with torch.device("meta"):
        network = build(name, options)
    return layers(network)


def output_layer(model: nn.Module, input_shape: Sequence[int] | None = None) -> str:
    """Name of the classifier: the prunable weight that a forward pass in evaluation mode uses last.

    That is the layer which the LTH prunes at half rate, and the head that a carried ticket may draw anew; the order in
    which layers were written down in the network has no say.

    Args:
        model: the network.
        input_shape: of one example, as of `layers`.

    Raises:
        ValueError: if no shape is given and the network does not name one, or no prunable layer is reached.
    """
    *_, last = _pass(copy.deepcopy(model).eval(), (1, *_shape(model, input_shape)))
    if not last:
        raise ValueError("the forward pass reaches no layer that can be pruned")
    return last


def _shape(model: nn.Module, given: Sequence[int] | None) -> Sequence[int]:
    shape = getattr(model, "input_shape", None) if given is None else given
    if shape is None:
        raise ValueError("input_shape is missing: (channels, height, width) of an example, as the network names none")
    return shape


def _pass(network: nn.Module, shape: Sequence[int]) -> tuple[dict[str, Tensor], dict[str, int], str]:
    """Prunable weights of a network, their multiply-accumulates in a forward pass of blank examples, the last used."""
    import_whole("torch._inductor")  # which dispatch modes begin to import
    weights: dict[str, Tensor] = {name: network.get_parameter(name) for name in prunable(network)}
    used: list[str] = []
    called = _count_calls(network, weights, used)
    products, first = _Products(weights, used), next(network.parameters())
    with ambient(), torch.no_grad(), _plain_attention(), products:
        network(torch.zeros(*shape, dtype=first.dtype, device=first.device))
    return weights, {name: max(called[name], products.macs[name]) for name in weights}, used[-1] if used else ""


def _refuse(unreached: Sequence[str]) -> None:
    if unreached:
        raise ValueError(
            f"the forward pass does not reach {', '.join(unreached)}: pruning would count weights that do nothing; "
            "use these layers in forward, or leave them out of the network"
        )


def _quotient(macs: int, weights: int) -> int | float:
    return macs / weights if macs % weights else macs // weights


def _count_calls(network: nn.Module, weights: Mapping[str, Tensor], used: list[str]) -> dict[str, int]:
    """Multiply-accumulates of the layers that are called, by weight; filled, as `used` is, while the network runs."""
    macs = dict.fromkeys(weights, 0)

    def hook(name: str, weight: Tensor) -> Any:
        def count(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            images = inputs[0] if isinstance(layer, _TRANSPOSED) else output  # its inputs' pixels use each weight once
            macs[name] += images.numel() // weight.shape[0] * weight.numel()
            used.append(name)

        return count

    for name, weight in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            network.get_submodule(layer).register_forward_hook(hook(name, weight))
    return macs


class _Products(TorchDispatchMode):
    """Multiply-accumulates of the products and convolutions that weights take part in, as PyTorch counts them."""

    def __init__(self, weights: Mapping[str, Tensor], used: list[str]):
        super().__init__()
        self._used = used
        self.macs = dict.fromkeys(weights, 0)
        self._owners = {weight.untyped_storage()._cdata: name for name, weight in weights.items()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            for given in args:
                if isinstance(given, Tensor) and (name := self._owners.get(given.untyped_storage()._cdata)):
                    self.macs[name] += formula(*args, **(kwargs or {}), out_val=result) // 2
                    self._used.append(name)
        return result


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Without the fused attention of evaluation mode, in which single products are not seen."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
