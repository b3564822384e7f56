import copy

import pytest
import torch
from torch import nn

from labkit import kernels


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
