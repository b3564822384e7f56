"""ResNet-20 for CIFAR (He et al. 2015, section 4.2): what Frankle & Carbin 2019 call ResNet-18."""

from torch import Tensor, nn

from labkit.models.layers import check_classes, scaled


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (batch, after, height / stride, width / stride)."""
        hidden = self.norm1(self.conv1(inputs)).relu()
        return (self.norm2(self.conv2(hidden)) + self.shortcut(inputs)).relu()


class ResNet20(nn.Module):
    """16, 3 blocks of 16, 3 of 32, 3 of 64 channels, global average, one linear layer.

    270,256 convolution and 640 linear weights at width 1 and 10 classes, for 3x32x32 images; the paper prints 270K and
    274K parameters in all (here 272,474). Its first author has said that the network called ResNet-18 is a ResNet-20.

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
        channels = scaled(16, width)
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        blocks = []
        for stage, full in enumerate((16, 32, 64)):
            for n in range(3):
                after = scaled(full, width)
                blocks.append(Block(channels, after, 2 if stage and not n else 1))
                channels = after
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, check_classes(classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        return self.classifier(self.blocks(self.stem(images)).mean((2, 3)))
