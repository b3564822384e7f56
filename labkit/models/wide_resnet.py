"""Wide residual networks for CIFAR-10 (Zagoruyko & Komodakis 2016); WRN-22-2 is RigL's smaller network."""

from torch import Tensor, nn

from labkit.ground.names import whole
from labkit.models.layers import check_classes, check_dropout, fan_out_normal, scaled


class PreActivationBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice, with dropout between, plus a shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the normalised input, without a norm.
    """

    def __init__(self, before: int, after: int, stride: int, dropout: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        same = stride == 1 and before == after
        self.shortcut = None if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (batch, after, height / stride, width / stride)."""
        active = self.norm1(inputs).relu()
        hidden = self.dropout(self.norm2(self.conv1(active)).relu())
        return self.conv2(hidden) + (inputs if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """A stem of 16, three stages of (depth - 4) / 6 blocks of 16, 32 and 64 times the widening, one linear layer.

    Its own initialisation is normal, std = sqrt(2 / fan_out), as in the code of Sundar & Dwaraknath 2021.

    Args:
        depth: convolutions on the longest path, shortcuts included: 6 n + 4.
        widening: channels of the stages / channels of the plain network.
        classes: outputs.
        width: multiplies all channels, the stem's included; 1.0 is the published network.
        dropout: probability of dropping a unit between the convolutions of a block; 0.3 in Sundar & Dwaraknath 2021.

    Raises:
        ValueError: for a depth that is not 6 n + 4, or a number out of range.
    """

    input_shape = (3, 32, 32)
    capturable = True

    def __init__(self, depth: int, widening: int, classes: int = 10, width: float = 1.0, dropout: float = 0.0):
        super().__init__()
        if whole("depth", depth, 10, 1000) % 6 != 4:
            raise ValueError(f"depth is {depth}: it must be 10, 16, 22, 28, ... (6 n + 4)")
        widening = whole("widening", widening, 1, 64)
        channels, dropout = scaled(16, width), check_dropout(dropout)
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        blocks = []
        for stage, plain in enumerate((16, 32, 64)):
            for n in range(depth // 6):
                after = scaled(plain * widening, width)
                blocks.append(PreActivationBlock(channels, after, 2 if stage and not n else 1, dropout))
                channels = after
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, check_classes(classes))
        fan_out_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        return self.classifier(self.norm(self.blocks(self.stem(images))).relu().mean((2, 3)))


def wrn_22_2(classes: int = 10, width: float = 1.0, dropout: float = 0.0) -> WideResNet:
    """WideResNet-22-2: see `WideResNet`.

    1,079,642 parameters, of which 1,076,912 weights, and 157,730,048 MACs an image of 3x32x32, at width 1, 10 classes.
    """
    return WideResNet(22, 2, classes, width, dropout)
