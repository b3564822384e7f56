import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from labkit.training.engines import kernels


@pytest.mark.skipif(not kernels.available(), reason="this PyTorch has no oneDNN linear operator")
@pytest.mark.parametrize("bias", [True, False])
def test_the_faster_product_is_the_same_function(bias):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(784, 300, bias=bias), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    fast = kernels.accelerate(copy.deepcopy(plain))
    assert "forward" in vars(fast[0]) and "forward" in vars(fast[2]) and "forward" not in vars(fast[4])
    inputs = torch.randn(60, 784, requires_grad=True)
    results = []
    for model in (plain, fast, copy.deepcopy(fast)):
        loss = nn.functional.cross_entropy(model(inputs), torch.arange(60) % 10)
        results.append([loss, *torch.autograd.grad(loss, [inputs, *model.parameters()])])
    exact = nn.Sequential(*copy.deepcopy(plain)).double()
    loss = nn.functional.cross_entropy(exact(inputs.double()), torch.arange(60) % 10)
    truth = [loss, *torch.autograd.grad(loss, [inputs, *exact.parameters()])]
    for found in results:
        for mine, true in zip(found, truth, strict=True):
            assert (mine.double() - true).norm() <= 2e-6 * true.norm()


def test_other_inputs_take_the_default_way():
    layer = kernels.accelerate(nn.Linear(200, 200))
    assert layer(torch.randn(2, 3, 200)).shape == (2, 3, 200)
    assert layer.double()(torch.randn(2, 200).double()).dtype == torch.float64
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_narrow_strided_shortcuts_are_the_same_function():
    plain = torch.nn.Conv2d(4, 8, 1, stride=2)
    ours = kernels.accelerate(torch.nn.Conv2d(4, 8, 1, stride=2))
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(3, 4, 7, 7).to(memory_format=torch.channels_last)
    results = []
    for layer in (plain, ours):
        inputs = images.clone().requires_grad_()
        outputs = layer(inputs)
        results.append([outputs, *torch.autograd.grad(outputs.square().sum(), [inputs, layer.weight, layer.bias])])
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_narrow_residual_network_survives_eight_kernel_threads():
    code = """
import torch
from labkit.training.engines.kernels import accelerate
torch.set_num_threads(8)
layer = accelerate(torch.nn.Conv2d(4, 8, 1, stride=2).to(memory_format=torch.channels_last))
images = torch.randn(60, 4, 28, 28).to(memory_format=torch.channels_last)
for _ in range(30):
    torch.autograd.grad(layer(images).sum(), layer.weight)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
