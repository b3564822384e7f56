"""VGG-19 for CIFAR-10 as in Frankle & Carbin 2019: batch norm, average pooling and one linear layer."""

from torch import Tensor, nn

from labkit.models.layers import check_classes, scaled

_BLOCKS = (2, 2, 4, 4, 4)  # convolutions a block
_CHANNELS = (64, 128, 256, 512, 512)


class VGG19(nn.Module):
    """Sixteen 3x3 convolutions with batch norm in five blocks, four max-pools, global average, one linear layer.

    20,018,880 convolution and 5,120 linear weights at width 1 and 10 classes, for 3x32x32 images. It is the network of
    Gohil et al. 2020 too, whose masks also cover its 5,504 weights of batch norm; here they are no part of a mask.

    Args:
        classes: outputs.
        width: multiplies all channels.

    Raises:
        ValueError: for a width or a number of classes out of range.
    """

    input_shape = (3, 32, 32)
    capturable = True

    def __init__(self, classes: int = 10, width: float = 1.0):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block, (depth, full) in enumerate(zip(_BLOCKS, _CHANNELS, strict=True)):
            layers += [nn.MaxPool2d(2)] if block else []
            for _ in range(depth):
                after = scaled(full, width)
                layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
                channels = after
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, check_classes(classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        return self.classifier(self.features(images).mean((2, 3)))
