"""Networks, which of their parameters can be pruned, and how they are initialised. One family a file."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labkit.models.conv import conv_2, conv_4, conv_6
from labkit.models.lenet import LeNet300100
from labkit.models.resnet import ResNet20
from labkit.models.resnet50 import ResNet50
from labkit.models.vgg import VGG19
from labkit.models.wide_resnet import wrn_22_2
from labkit.names import choose
from labkit.randomness import derive, generator

__all__ = ["INITS", "MODELS", "build", "builder", "capturable", "initial_states", "output_layer", "prunable"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet_300_100": LeNet300100,
    "conv_2": conv_2,
    "conv_4": conv_4,
    "conv_6": conv_6,
    "vgg19": VGG19,
    "resnet20": ResNet20,
    "resnet50": ResNet50,
    "wrn_22_2": wrn_22_2,
}

_PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def builder(name: str) -> Callable[..., nn.Module]:
    """The function that builds a network: a name of `MODELS`, or your own as `"package.module:function"`.

    Raises:
        ValueError: if there is no such model, module or function, or it cannot be a network.
    """
    return _imported(name) if ":" in name else MODELS[choose("model", name, MODELS)]


def _imported(name: str) -> Callable[..., nn.Module]:
    """What `"package.module:function"` names; importing runs the module, so the standard library's are refused first.

    Not a fence against strangers' code, which any module can hold, but against names that no network can have.
    """
    module, _, attribute = name.partition(":")
    if not _outside_python(module):
        raise ValueError(f"model {name!r} cannot be a network: {module} is part of Python's standard library")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"model {name!r} cannot be imported: {error}") from error
    network = inspect.isclass(found) and issubclass(found, nn.Module)
    if not network and not (inspect.isfunction(found) and _outside_python(found.__module__)):
        raise ValueError(
            f"model {name!r} cannot be a network: it must be a subclass of nn.Module, or a function that returns a "
            "network, written in Python and outside its standard library"
        )
    return found


def _outside_python(module: str) -> bool:
    return module.split(".")[0] not in sys.stdlib_module_names


def build(name: str, options: Mapping[str, Any] | None = None, seed: int = 0) -> nn.Module:
    """Build a network; parameters that its own code draws are drawn from `seed`.

    Raises:
        ValueError: for an unknown model, an option it does not take, or a function that returns no network.
    """
    function = builder(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "build"))
        try:
            network = function(**(options or {}))
        except TypeError as error:
            raise ValueError(f"model {name!r} does not take the options {dict(options or {})}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"model {name!r} returns a {type(network).__name__}, not a network (an nn.Module)")
    return network


def prunable(model: nn.Module) -> list[str]:
    """Names of the weights that pruning may touch: of linear and convolution layers, never a bias or a norm."""
    return [f"{name}.weight".lstrip(".") for name, layer in model.named_modules() if isinstance(layer, _PRUNABLE)]


def output_layer(model: nn.Module) -> str:
    """Name of the last prunable weight, the classifier: the layer that the LTH prunes at half rate."""
    return prunable(model)[-1]


def capturable(model: nn.Module) -> bool:
    """Whether a network asks to be captured, by an attribute `capturable = True` of its own or of its class.

    A captured step does what the step did when it was looked at, once: so its forward pass in training must be the same
    tensor operations every time, keep its counts in buffers, and draw random numbers from PyTorch alone. What a class
    inherits asks for nothing, as the forward pass may be another.
    """
    return bool(vars(model).get("capturable", vars(type(model)).get("capturable", False)))


def glorot_normal(model: nn.Module, rng: torch.Generator) -> None:
    """Gaussian Glorot weights, std = sqrt(2 / (fan_in + fan_out)); biases 0 (Glorot & Bengio 2010; LTH, Figure 2)."""
    for layer in model.modules():
        if isinstance(layer, _PRUNABLE):
            nn.init.xavier_normal_(layer.weight, generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def own(model: nn.Module, rng: torch.Generator) -> None:
    """Leave what the network's own code drew."""


INITS: dict[str, Callable[[nn.Module, torch.Generator], None]] = {"glorot_normal": glorot_normal, "own": own}


def initial_states(
    name: str, options: Mapping[str, Any], init: str, seeds: Sequence[tuple[int, str]]
) -> dict[str, Tensor]:
    """State dicts of freshly initialised networks, stacked along a leading replicate dimension.

    Args:
        name: the model.
        options: its options.
        init: a name of `INITS`.
        seeds: one (seed, purpose) a replicate; the purpose tells the initialisations of one seed apart.

    Returns:
        dict from parameter or buffer name to a tensor (replicates, *shape).
    """
    initialise = INITS[choose("init", init, INITS)]
    states = []
    for seed, purpose in seeds:
        model = build(name, options, derive(seed, "own", purpose))
        initialise(model, generator(seed, "init", purpose))
        states.append(model.state_dict())
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}
