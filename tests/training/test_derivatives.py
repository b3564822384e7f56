"""Derivatives that pruning criteria use, against autograd's own."""

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from labkit.training import derivatives


def test_curvature_is_the_hessian_of_a_network_that_is_linear_in_its_weights():
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    inputs, labels = torch.randn(50, 4), torch.randint(0, 3, (50,))

    def loss(weight):
        logits = functional_call(model, {"weight": weight, "bias": model.bias}, (inputs,))
        return nn.functional.cross_entropy(logits, labels)

    expected = hessian(loss, model.weight.detach()).reshape(12, 12).diagonal().reshape(3, 4)
    found = derivatives.curvature(model, inputs, chunk=7)
    assert torch.allclose(found["weight"], expected, atol=1e-6) and set(found) == {"weight"}


def test_curvature_of_a_convolutional_network_by_brute_force():
    torch.manual_seed(0)
    features = [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*features, nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    inputs = torch.randn(6, 2, 4, 4)
    weights = {
        name: weight for name, weight in model.named_parameters() if name in ("0.weight", "4.weight", "6.weight")
    }
    expected = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for example in inputs:
        log_p = model(example[None]).log_softmax(1)[0]
        for target in range(3):
            slopes = torch.autograd.grad(log_p[target], list(weights.values()), retain_graph=True)
            for name, slope in zip(weights, slopes, strict=True):
                expected[name] += log_p[target].exp().detach() * slope**2 / 6
    found = derivatives.curvature(model, inputs, chunk=4)
    assert set(found) == set(weights)
    for name in weights:
        assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-7), name


def test_curvature_refuses_what_it_does_not_know():
    twice = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="used twice"):
        derivatives.curvature(nn.Sequential(twice, nn.ReLU(), twice), torch.randn(2, 3))
    grouped = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2), nn.Flatten())
    with pytest.raises(ValueError, match="layer 0: grouped"):
        derivatives.curvature(grouped, torch.randn(2, 2, 1, 1))


def test_gradient_is_autograds():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    inputs, labels = torch.randn(20, 4), torch.randint(0, 3, (20,))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = derivatives.gradient(model, inputs, labels)
    nn.functional.cross_entropy(model.eval()(inputs), labels).backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(found[name], parameter.grad)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers()), "statistics are left alone"


def test_obd_predicts_what_removing_a_weight_costs():
    """At a minimum of a linear classifier the saliency is the loss's rise, to second order."""
    torch.manual_seed(0)
    inputs = torch.randn(200, 3)
    labels = (inputs @ torch.randn(3, 2) + 0.5 * torch.randn(200, 2)).argmax(1)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        return nn.functional.cross_entropy(model(inputs), labels) + 1e-3 * model.weight.square().sum()

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    small = model.weight.detach().abs().argmin()
    saliency = 0.5 * (derivatives.curvature(model, inputs)["weight"] + 2e-3) * model.weight.detach() ** 2
    before = loss().item()
    with torch.no_grad():
        model.weight.view(-1)[small] = 0
    rise = loss().item() - before
    assert abs(rise - saliency.reshape(-1)[small].item()) < 0.3 * max(rise, 1e-6)


def test_contributions_of_a_linear_network_add_up_to_the_change_of_its_output():
    torch.manual_seed(0)
    layer = nn.Linear(6, 3)
    inputs, blank, outputs = torch.randn(4, 6), torch.randn(6), torch.tensor([0, 2, 1, 1])
    found = derivatives.contributions(layer, inputs, blank, outputs)
    change = (layer(inputs) - layer(blank)).gather(1, outputs[:, None]).squeeze(1)
    assert torch.allclose(found.sum(1), change, atol=1e-6)
