"""FLOPs from layer shapes and densities; a multiply-accumulate (MAC) is two FLOPs.

Only weights of convolution, linear and attention layers count: not biases, norms, activations or optimisers, nor the
products of activations with each other inside attention, which no mask makes cheaper; padding counts like any pixel. A
weight does one MAC an output position, and none where it is masked, so a layer costs 2 * density * weights * positions
an example. A backward pass costs two forward passes: one for the gradient of the
activations, one for the gradient of the weights (Evci et al. 2020, "Rigging the Lottery", section 4 and appendix H;
the counts of Sundar & Dwaraknath 2021). All results are FLOPs per example.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from labkit.ground.names import choose, fraction, whole


@dataclass(frozen=True)
class Layer:
    """What the cost of a layer depends on.

    Attributes:
        shape: of the weight: (out, in / groups, *kernel), or (out, in) for a linear layer; (in, out / groups, *kernel)
            for a transposed convolution.
        positions: output pixels an example (of a transposed convolution input pixels); 1 for a linear layer on a
            vector; of attention's joint projection the mean number of queries, keys and values.
    """

    shape: tuple[int, ...]
    positions: int | float = 1

    @property
    def weights(self) -> int:
        """Weights of the dense layer."""
        return prod(self.shape)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer, an example."""
        return round(self.weights * self.positions)


def linear(inputs: int, outputs: int) -> Layer:
    """A linear layer on a vector: inputs * outputs MACs."""
    return Layer((whole("outputs", outputs, 1), whole("inputs", inputs, 1)))


def convolution(
    inputs: int, outputs: int, kernel: int, size: int, *,
    stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1,
) -> Layer:  # fmt: skip
    """A square 2-d convolution: outputs * inputs / groups * kernel**2 MACs at each of its output pixels.

    The output has floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 pixels a side.

    Args:
        inputs, outputs: channels.
        kernel, size: of the kernel and the input image, pixels a side.
        stride, padding, dilation: pixels.
        groups: that the channels are split into; `inputs` for a depthwise convolution.

    Raises:
        ValueError: if the groups do not divide the channels, or the kernel does not fit into the image.

    >>> convolution(3, 16, 3, 32, padding=1).macs
    442368
    """
    if inputs % groups or outputs % groups:
        raise ValueError(f"{groups} groups do not divide {inputs} input and {outputs} output channels")
    side = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if side < 1:
        raise ValueError(f"a kernel of {kernel} (dilation {dilation}) does not fit into {size} + 2 * {padding} pixels")
    return Layer((outputs, inputs // groups, kernel, kernel), side * side)


def inference(layers: Mapping[str, Layer], densities: Mapping[str, float] | None = None) -> float:
    """FLOPs of a forward pass, an example: the sum of 2 * density * weights * positions over layers.

    Args:
        layers: name -> layer.
        densities: name -> density in [0, 1]; a layer without one is dense.

    Raises:
        ValueError: for a density out of range, or of a layer that is not there.

    >>> inference({"a": linear(10, 20), "b": linear(20, 5)}, {"a": 0.5})
    400.0
    """
    densities = densities or {}
    for name, density in densities.items():
        fraction(f"density of {choose('layer', name, layers)}", density, zero=True, one=True)
    return float(sum(2 * densities.get(name, 1.0) * layer.macs for name, layer in layers.items()))


def dense(sparse: float, dense: float, every: int | None = None) -> float:
    """A step of dense training: 3 f_D."""
    return 3 * dense


def masked(sparse: float, dense: float, every: int | None = None) -> float:
    """A step of training under a mask: 3 f_S. A fixed mask, SET (growth at random is free), or a step of pruning."""
    return 3 * sparse


def dense_momentum(sparse: float, dense: float, every: int | None = None) -> float:
    """A step of SNFS: 2 f_S + f_D, for the dense weight gradient that its momentum needs at every step."""
    return 2 * sparse + dense


def rigl(sparse: float, dense: float, every: int | None = None) -> float:
    """A step of RigL: (3 f_S every + 2 f_S + f_D) / (every + 1), one dense weight gradient a mask update.

    Evci et al. 2020, appendix H, and Sundar & Dwaraknath 2021.

    Raises:
        ValueError: if the period is not a whole number of at least one step.
    """
    every = whole("every", every, 1)
    return (3 * sparse * every + 2 * sparse + dense) / (every + 1)


# name -> (f_S, f_D, every) -> FLOPs of a training step, an example
RULES: dict[str, Callable[[float, float, int | None], float]] = {
    "dense": dense,
    "masked": masked,
    "dense momentum": dense_momentum,
    "rigl": rigl,
}


def training(rule: str, sparse: float | Sequence[float], dense: float, every: int | None = None) -> float:
    """FLOPs of a training step, an example, averaged over the masks that the run went through.

    Every rule is linear in f_S, so the cost of the mean is the mean of the costs.

    Args:
        rule: a name of `RULES`, which a method names (`methods.Method`). The cost of gradual pruning follows its
            schedule: the mean of 3 f_t.
        sparse: f_S, `inference` FLOPs under the mask; or one value an equal stretch of training, as the masks change.
        dense: f_D, `inference` FLOPs of the dense network.
        every: steps between mask updates, for RigL and its variants.

    Raises:
        ValueError: for an unknown rule, no values, or a period that RigL cannot have.

    >>> training("rigl", 10.0, 100.0, every=99)
    30.9
    >>> training("masked", [100.0, 50.0, 30.0], 100.0)
    180.0
    """
    step = RULES[choose("FLOP rule", rule, RULES)]
    average = mean(sparse) if isinstance(sparse, Sequence) else sparse
    return step(average, dense, every)


def mean(values: Iterable[float], steps: Iterable[int] | None = None) -> float:
    """Mean of the FLOPs of successive masks, weighted by the steps that each was held for (equally, if not given).

    Raises:
        ValueError: if there are no values, not one number of steps a value, or no steps at all.

    >>> mean([100.0, 50.0], [1, 4])
    60.0
    """
    values = list(values)
    held = [1] * len(values) if steps is None else list(steps)
    if len(held) != len(values) or sum(held) < 1 or min(held) < 0:
        raise ValueError(f"{len(values)} values cannot be averaged over {len(held)} stretches of {sum(held)} steps")
    return sum(value * length for value, length in zip(values, held, strict=True)) / sum(held)
