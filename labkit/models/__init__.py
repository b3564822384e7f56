"""Networks, which of their parameters can be pruned, and how they are initialised. One family a file."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from labkit.ground.names import choose
from labkit.ground.randomness import ambient, derive, generator
from labkit.models.conv import conv_2, conv_4, conv_6
from labkit.models.lenet import LeNet300100
from labkit.models.own import imported
from labkit.models.resnet import ResNet20
from labkit.models.resnet50 import ResNet50
from labkit.models.vgg import VGG19
from labkit.models.wide_resnet import wrn_22_2

__all__ = [
    "INITS", "MODELS", "build", "builder", "capturable", "initial_state", "left_out", "prunable",
]  # fmt: skip

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

_PRUNABLE = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_ATTENTION = (
    "in_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
)  # out_proj is a linear layer of its own


def builder(name: str) -> Callable[..., nn.Module]:
    """The function that builds a network: a name of `MODELS`, or your own as `"package.module:function"`.

    Raises:
        ValueError: if there is no such model, module or function, or it cannot be a network.
    """
    return imported(name) if ":" in name else MODELS[choose("model", name, MODELS)]


def build(name: str, options: Mapping[str, Any] | None = None, seed: int = 0) -> nn.Module:
    """Build a network; parameters that its own code draws are drawn from `seed`.

    Raises:
        ValueError: for an unknown model, an option it does not take, a function that returns no network, or layers
            that wait for their first batch.
    """
    function = builder(name)
    known = inspect.signature(function).parameters
    for option in options or {}:
        if not any(entry.kind is entry.VAR_KEYWORD for entry in known.values()):
            choose(f"option of model {name!r}", option, known)
    with ambient(derive(seed, "build")):
        try:
            network = function(**(options or {}))
        except TypeError as error:
            raise ValueError(f"model {name!r} does not take the options {dict(options or {})}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"model {name!r} returns a {type(network).__name__}, not a network (an nn.Module)")
    if lazy := [weight for weight, found in network.named_parameters() if is_lazy(found)]:
        raise ValueError(
            f"model {name!r} leaves the shape of {', '.join(lazy)} to its first batch: write the sizes out "
            "(nn.Linear, not nn.LazyLinear), so that weights can be drawn and counted before"
        )
    return network


def prunable(model: nn.Module) -> list[str]:
    """Names of the weights that pruning may touch: of linear, (transposed) convolution and attention layers.

    Never a bias or a norm, nor a weight that is computed from others (weight norm and other parametrisations).
    """
    return [f"{name}.{weight}".lstrip(".") for name, layer in model.named_modules() for weight in _weights(layer)]


def _weights(layer: nn.Module) -> list[str]:
    attention = _ATTENTION if isinstance(layer, nn.MultiheadAttention) else ()
    wanted = ("weight",) if isinstance(layer, _PRUNABLE) else attention
    return [name for name, _ in layer.named_parameters(recurse=False) if name in wanted]


def left_out(model: nn.Module) -> list[str]:
    """Names of the other trainable matrices (two dimensions or more), which are neither pruned nor counted.

    Embeddings, recurrent layers, parameters of a module's own, and what parametrised weights are computed from.
    """
    taken = set(prunable(model))
    matrices = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.ndim > 1]
    return [name for name in matrices if name not in taken]


def capturable(model: nn.Module) -> bool:
    """Whether a network asks to be captured, by an attribute `capturable = True` of its own or of its class.

    A captured step does what the step did when it was looked at, once: so its forward pass in training must be the same
    tensor operations every time, keep its counts in buffers, and draw random numbers from PyTorch alone. What a class
    inherits asks for nothing, as the forward pass may be another.
    """
    return bool(vars(model).get("capturable", vars(type(model)).get("capturable", False)))


def glorot_normal(model: nn.Module, rng: torch.Generator) -> None:
    """Gaussian Glorot weights, std = sqrt(2 / (fan_in + fan_out)); biases 0 (Glorot & Bengio 2010; LTH, Figure 2).

    Others call it Xavier's. The three projections of attention that share one tensor are drawn as the three matrices
    they are.
    """
    for layer in model.modules():
        for name in _weights(layer):
            weight = getattr(layer, name).data
            for matrix in weight.chunk(3) if name == "in_proj_weight" else (weight,):
                nn.init.xavier_normal_(matrix, generator=rng)
        _clear_biases(layer)


def kaiming_normal(model: nn.Module, rng: torch.Generator) -> None:
    """He normal weights, std = sqrt(2 / fan); biases 0 (He et al. 2015, "Delving deep into rectifiers", section 2.2).

    Of convolutions the fan is that of the outputs (kernel area * out channels), as in torchvision's ResNets and in the
    code of Gohil et al. 2020; of other layers that of the inputs, since an output layer's is but the classes.
    """
    for layer in model.modules():
        for name in _weights(layer):
            weight = getattr(layer, name).data
            nn.init.kaiming_normal_(weight, mode="fan_out" if weight.ndim > 2 else "fan_in", nonlinearity="relu",
                                    generator=rng)  # fmt: skip
        _clear_biases(layer)


def _clear_biases(layer: nn.Module) -> None:
    for name, bias in layer.named_parameters(recurse=False):
        if _weights(layer) and name in ("bias", "in_proj_bias"):
            nn.init.zeros_(bias)


def own(model: nn.Module, rng: torch.Generator) -> None:
    """Leave what the network's own code drew."""


INITS: dict[str, Callable[[nn.Module, torch.Generator], None]] = {
    "glorot_normal": glorot_normal,
    "kaiming_normal": kaiming_normal,
    "own": own,
}


def initial_state(name: str, options: Mapping[str, Any], init: str, seed: int, purpose: str) -> dict[str, Tensor]:
    """State dict of a freshly initialised network.

    Args:
        name: the model.
        options: its options.
        init: a name of `INITS`.
        seed: of the network.
        purpose: tells the initialisations of one seed apart.
    """
    initialise = INITS[choose("init", init, INITS)]
    model = build(name, options, derive(seed, "own", purpose))
    initialise(model, generator(seed, "init", purpose))
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}
