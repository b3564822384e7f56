"""Trajectory lengths that are known in closed form."""

import math

import pytest
import torch
from torch import nn

from labkit.ground.randomness import generator
from labkit.training.trajectory import circle, trajectory_length


def test_a_circle_through_the_identity_has_its_circumference_and_closes():  # pitfall: trajectory-length
    arc = circle((3, 4), 2000, generator(0, "circle"))
    assert arc.shape == (2001, 3, 4) and torch.equal(arc[0], arc[-1])
    assert arc.flatten(1).norm(dim=1).sub(math.sqrt(12)).abs().max() < 1e-5
    assert trajectory_length(lambda x: x.flatten(1), arc) == pytest.approx(2 * math.pi * math.sqrt(12), rel=1e-5)
    assert trajectory_length(lambda x: 2 * x.flatten(1), arc) == pytest.approx(4 * math.pi * math.sqrt(12), rel=1e-5)


def test_a_linear_map_makes_an_ellipse():
    inputs = circle((2,), 4000, generator(0, "circle"))  # radius sqrt(2)
    a, b = 3 * math.sqrt(2), math.sqrt(2)
    angle = torch.linspace(0, 2 * math.pi, 200_001, dtype=torch.float64)
    ellipse = torch.trapezoid(((a * angle.sin()) ** 2 + (b * angle.cos()) ** 2).sqrt(), angle).item()
    found = trajectory_length(lambda x: x * torch.tensor([3.0, 1.0]), inputs)
    assert found == pytest.approx(ellipse, rel=1e-5)


def test_a_projection_onto_two_dimensions_shortens_and_is_seeded():
    arc = circle((8,), 500, generator(0, "circle"))
    whole = trajectory_length(lambda x: x, arc)
    lengths = [trajectory_length(lambda x: x, arc, generator(seed, "projection")) for seed in (0, 0, 1)]
    assert lengths[0] == lengths[1] != lengths[2] and max(lengths) < whole
    flat = circle((2,), 500, generator(0, "circle"))
    rotated = trajectory_length(lambda x: x, flat, generator(0, "projection"))
    assert rotated == pytest.approx(trajectory_length(lambda x: x, flat), rel=1e-9), "two dimensions: a rotation"


def test_the_network_is_used_in_evaluation_mode():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = model[1].running_mean.clone()
    arc = circle((4,), 50, generator(0, "circle"))
    assert trajectory_length(model, arc) == trajectory_length(model, arc, batch=7)
    assert model.training and torch.equal(model[1].running_mean, before)
    with pytest.raises(ValueError, match="two dimensions and three points"):
        circle((1,), 500, generator(0, "circle"))
