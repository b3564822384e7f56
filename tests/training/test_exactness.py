"""How far a float32 step lies from float64: what is rounding, and what are choices at zero that rounding flips."""

import pytest
import torch

from benchmarks.exactness import WAYS, Choices, gradients, measure
from labkit import models
from labkit.specs.networks import TrainSpec
from labkit.training.engines.kernels import accelerate
from labkit.training.engines.network import Network

OURS, _, FIRST = WAYS


@pytest.mark.parametrize("way", [OURS, FIRST])
@pytest.mark.parametrize("name", ["resnet20", "vgg19"])
def test_gradients_are_those_of_float64_to_1e_4_once_relus_and_pools_choose_alike(name, way, digits_in_colour):
    images, labels = digits_in_colour
    found = measure(WAYS[way](models.build(name, {"width": 0.25}, seed=1)), images, labels)
    assert found["guided"][-1] <= 1e-4, "PyTorch's channels-last batch norm: 4e-3 and 2e-4"
    assert found["flipped"] <= 4, "of millions; PyTorch's channels-last batch norm: 20 to 30"
    assert found["means"] <= 2e-6 and found["variances"] <= 4e-6, "PyTorch's: 2e-5 and more"


def test_what_is_measured_is_the_step_that_trains(digits_in_colour):
    images, labels = digits_in_colour
    state = models.initial_state("resnet20", {"width": 0.25}, "own", 1, "init")
    mine = Network(models.build("resnet20", {"width": 0.25}), state, {}, TrainSpec())
    network = models.build("resnet20", {"width": 0.25})
    network.load_state_dict(state)
    measured = gradients(WAYS[OURS](network), images, labels, Choices())
    trained = mine.gradients(images, labels)[1]
    assert mine.captured and all(torch.equal(trained[name], measured[name]) for name in measured)


@pytest.mark.parametrize("shape", [(8, 4, 6, 6), (2, 3, 5, 7), (3, 2048, 2, 2), (4, 5, 1, 1)])
def test_batch_norm_is_the_same_function(shape):
    torch.manual_seed(0)
    plain = torch.nn.BatchNorm2d(shape[1])
    torch.nn.init.normal_(plain.weight)
    ours = accelerate(torch.nn.BatchNorm2d(shape[1]))
    ours.load_state_dict(plain.state_dict())
    images = (3 + torch.randn(shape)).to(memory_format=torch.channels_last)
    slopes, results = torch.randn(shape), []
    for layer in (plain, ours):
        inputs = images.clone().requires_grad_()
        outputs = layer(inputs)
        found = torch.autograd.grad(outputs, [inputs, layer.weight, layer.bias], slopes)
        results.append([outputs, *found, *layer.buffers(), layer.eval()(inputs)])
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)
