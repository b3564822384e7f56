"""Networks of a user's own, one with everything that a resume can get wrong: batch norm and dropout."""

from torch import Tensor, nn
from torch.nn.functional import dropout

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


class Plain(Noisy):
    """The same in plain steps: what a class inherits does not ask to be captured."""


class PlainLeNet(LeNet300100):
    """LeNet-300-100 in plain steps."""


class PlainConv(ConvNet):
    """A narrow Conv-2 in plain steps."""

    def __init__(self, classes: int = 10):
        super().__init__(1, classes, width=0.1)
