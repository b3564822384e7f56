"""ResNet-50 (He et al. 2015) with a stem for small images, as in the RigL papers, or with that for ImageNet."""

from torch import Tensor, nn

from labkit.ground.names import choose, switch
from labkit.models.layers import check_classes, fan_out_normal, scaled

STEMS = ("cifar", "imagenet")
_EXPANSION = 4  # channels out of a block / channels of its 3x3 convolution


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride) and 1x1 convolutions with batch norm, and a shortcut.

    The shortcut is a 1x1 convolution with batch norm where the shape changes.
    """

    def __init__(self, before: int, middle: int, stride: int):
        super().__init__()
        after = _EXPANSION * middle
        self.conv1 = nn.Conv2d(before, middle, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, after, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (batch, 4 * middle, height / stride, width / stride)."""
        hidden = self.norm1(self.conv1(inputs)).relu()
        hidden = self.norm2(self.conv2(hidden)).relu()
        return (self.norm3(self.conv3(hidden)) + self.shortcut(inputs)).relu()


class ResNet50(nn.Module):
    """A stem of 64 channels, 3, 4, 6 and 3 bottlenecks, global average, one linear layer.

    With the stem "cifar", a 3x3 convolution at full resolution, 23,705,252 parameters, of which 23,652,032 weights, and
    1,298,014,208 MACs an image of 3x32x32, at width 1 and 100 classes. Sundar & Dwaraknath 2021 write "two 3x3
    convolutions" for the stem; their code has one, and their FLOPs agree with one.

    With the stem "imagenet", a 7x7 convolution and a 3x3 max-pool, each of stride 2, it is torchvision's layout, which
    Gohil et al. 2020 train on 32x32 images too: 23,528,522 parameters, of which 23,475,392 weights, at 10 classes.

    Its own initialisation is normal, std = sqrt(2 / fan_out).

    Args:
        classes: outputs.
        width: multiplies all channels.
        zero_last_norm: start the last batch norm of every block at zero, so that blocks begin as their shortcuts
            (Goyal et al. 2017); on in the RigL papers.
        stem: "cifar" or "imagenet".

    Raises:
        ValueError: for a width or a number of classes out of range, a switch that is neither true nor false, or an
            unknown stem.
    """

    input_shape = (3, 32, 32)
    capturable = True

    def __init__(self, classes: int = 10, width: float = 1.0, zero_last_norm: bool = False, stem: str = "cifar"):
        super().__init__()
        channels = scaled(64, width)
        large = choose("stem", stem, STEMS) == "imagenet"
        first = nn.Conv2d(3, channels, 7 if large else 3, 2 if large else 1, padding=3 if large else 1, bias=False)
        pool = [nn.MaxPool2d(3, 2, padding=1)] if large else []
        self.stem = nn.Sequential(first, nn.BatchNorm2d(channels), nn.ReLU(), *pool)
        blocks = []
        for stage, (depth, full) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)):
            for n in range(depth):
                middle = scaled(full, width)
                blocks.append(Bottleneck(channels, middle, 2 if stage and not n else 1))
                channels = _EXPANSION * middle
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, check_classes(classes))
        fan_out_normal(self)
        if switch("zero_last_norm", zero_last_norm):
            for block in blocks:
                nn.init.zeros_(block.norm3.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        return self.classifier(self.blocks(self.stem(images)).mean((2, 3)))
