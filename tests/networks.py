"""Networks of a user's own: with what a resume can get wrong, and with layers that the kit's networks do not have."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from torch.nn.utils import parametrizations

from labkit.models.conv import ConvNet
from labkit.models.lenet import LeNet300100


class Noisy(nn.Module):
    """A convolution with batch norm, dropout that is not a module, and a classifier."""

    input_shape = (1, 12, 12)
    capturable = True

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.classifier = nn.Linear(6 * 9, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = nn.functional.max_pool2d(self.norm(self.conv(images)).relu(), 4)
        return self.classifier(dropout(hidden.flatten(1), 0.3, self.training))


class Attention(nn.Module):
    """A transformer in small: patches, attention, a classifier. Its FLOPs are 37,024 by hand, see the test."""

    input_shape = (1, 16, 16)

    def __init__(self, classes: int = 10, **options: int):
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, stride=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.classifier = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT  # (B, 64, 8)
        return self.classifier(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


class LeavesOut(nn.Module):
    """A trainable matrix of every kind that is not pruned, and two linear layers that are, one used as a function."""

    input_shape = (1, 4, 4)

    def __init__(self, classes: int = 10):
        super().__init__()
        self.table = nn.Embedding(256, 4)
        self.scale = nn.Parameter(torch.ones(16, 1))
        self.memory = nn.LSTM(4, 5, batch_first=True)
        self.normed = parametrizations.weight_norm(nn.Linear(5, 6))
        self.function = nn.Linear(6, 7)
        self.classifier = nn.Linear(7, classes)

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.table((images.flatten(1).abs() * 9).long().clamp(0, 255)) * self.scale  # (B, 16, 4)
        hidden = self.normed(self.memory(pixels)[0][:, -1]).relu()
        return self.classifier(linear(hidden, self.function.weight, self.function.bias).relu())


class Unreached(nn.Module):
    """Has a layer that it does not use."""

    input_shape = (1, 4, 4)

    def __init__(self, classes: int = 10):
        super().__init__()
        self.used, self.forgotten = nn.Linear(16, classes), nn.Linear(16, 16)

    def forward(self, images: Tensor) -> Tensor:
        return self.used(images.flatten(1))


class Plain(Noisy):
    """The same in plain steps: what a class inherits does not ask to be captured."""


class PlainLeNet(LeNet300100):
    """LeNet-300-100 in plain steps."""


class Failing(PlainLeNet):
    """Raises an error in the training step after so many others."""

    steps_left = math.inf

    def forward(self, images: Tensor) -> Tensor:
        Failing.steps_left -= self.training
        if Failing.steps_left < 0:
            Failing.steps_left = math.inf
            raise RuntimeError("a fault")
        return super().forward(images)


class PlainConv(ConvNet):
    """A narrow Conv-2 in plain steps."""

    def __init__(self, classes: int = 10):
        super().__init__(1, classes, width=0.1)
