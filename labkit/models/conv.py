"""Conv-2, Conv-4 and Conv-6: scaled-down VGGs for CIFAR-10, as in Frankle & Carbin 2019, Figure 2."""

from torch import Tensor, nn

from labkit.ground.names import whole
from labkit.models.layers import check_classes, check_dropout, scaled


class ConvNet(nn.Module):
    """Pairs of 3x3 convolutions with max-pooling, then 256-256-classes, for 3x32x32 images.

    Weights at width 1 and 10 classes: Conv-2 4,300,992, Conv-4 2,425,024, Conv-6 2,261,184 (the paper prints 1.7M for
    Conv-6, which its own percentages contradict; this is the network that the text describes).

    Args:
        pairs: pairs of convolutions, of 64, 128, 256 channels: 1, 2 or 3.
        classes: outputs.
        width: multiplies all channels and hidden units.
        dropout: probability of dropping a unit of the two hidden fully connected layers.

    Raises:
        ValueError: for a number of pairs or classes, a width or a dropout out of range.
    """

    input_shape = (3, 32, 32)
    capturable = True

    def __init__(self, pairs: int, classes: int = 10, width: float = 1.0, dropout: float = 0.0):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for pair in range(whole("pairs", pairs, 1, 3)):
            after = scaled(64 * 2**pair, width)
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels = after
        self.features = nn.Sequential(*layers)
        hidden, side = scaled(256, width), 32 // 2**pairs
        drop = [nn.Dropout(dropout)] if check_dropout(dropout) else []
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * side * side, hidden), nn.ReLU(), *drop,
            nn.Linear(hidden, hidden), nn.ReLU(), *drop, nn.Linear(hidden, check_classes(classes)),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        return self.classifier(self.features(images))


def conv_2(classes: int = 10, width: float = 1.0, dropout: float = 0.0) -> ConvNet:
    """Conv-2: see `ConvNet`."""
    return ConvNet(1, classes, width, dropout)


def conv_4(classes: int = 10, width: float = 1.0, dropout: float = 0.0) -> ConvNet:
    """Conv-4: see `ConvNet`."""
    return ConvNet(2, classes, width, dropout)


def conv_6(classes: int = 10, width: float = 1.0, dropout: float = 0.0) -> ConvNet:
    """Conv-6: see `ConvNet`."""
    return ConvNet(3, classes, width, dropout)
