"""What several families of networks share."""

from torch import nn

from labkit.names import fraction


def scaled(channels: int, width: float) -> int:
    """Channels of a layer of a network `width` times as wide, at least one.

    Raises:
        ValueError: if the width is not a positive number.
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 64:
        raise ValueError(f"width is {width!r}: it must be a positive number; 1.0 is the published network")
    return max(1, round(channels * width))


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
