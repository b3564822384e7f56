"""LeNet-300-100: the fully connected network of LeCun et al. 1998, as in Frankle & Carbin 2019."""

from torch import Tensor, nn

from labkit.ground.names import choose
from labkit.models.layers import check_classes

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class LeNet300100(nn.Module):
    """784-300-100-10 for 1x28x28 images: 266,200 weights and 410 biases.

    Args:
        activation: "relu" (the first author's code) or "sigmoid" (some reproductions; the paper does not say).
        classes: outputs.

    Raises:
        ValueError: for an unknown activation, or a number of classes out of range.
    """

    input_shape = (1, 28, 28)
    capturable = True

    def __init__(self, activation: str = "relu", classes: int = 10):
        super().__init__()
        self.act = ACTIVATIONS[choose("activation", activation, ACTIVATIONS)]()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, check_classes(classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 1, 28, 28)."""
        hidden = self.act(self.fc1(images.flatten(1)))  # (B, 300)
        return self.fc3(self.act(self.fc2(hidden)))
