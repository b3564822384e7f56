"""What several families of networks share."""

from torch import nn

from labkit.ground.names import fraction, number, whole


def scaled(channels: int, width: float) -> int:
    """Channels of a layer of a network `width` times as wide, at least one.

    Raises:
        ValueError: if the width is not a positive number of at most 64; 1.0 is the published network.
    """
    return max(1, round(channels * number("width", width, most=64)))


def check_classes(classes: int) -> int:
    """Return a number of outputs.

    Raises:
        ValueError: if it is not a whole number from 1 to 100,000.
    """
    return whole("classes", classes, 1, 100_000)


def check_dropout(dropout: float) -> float:
    """Return a probability of dropping a unit, in [0, 1).

    Raises:
        ValueError: outside that range.
    """
    return fraction("dropout", dropout, zero=True)


def fan_out_normal(model: nn.Module) -> None:
    """Convolutions normal, std = sqrt(2 / (kernel area * out channels)), and biases of linear layers 0.

    He et al. 2015, "Delving deep into rectifiers", section 2.2, backward case. Draws from the ambient generator, which
    `models.build` seeds.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
