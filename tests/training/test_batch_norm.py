"""Batch norm statistics after pruning without training."""

import pytest
import torch
from torch import nn

from labkit.training.batch_norm import recalibrate


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def test_recalibrated_statistics_are_those_of_the_pruned_network():  # pitfall: stale-batch-norm
    model = network().eval()
    data = 3 + 2 * torch.randn(400, 6)
    recalibrate(model, data.split(100))
    with torch.no_grad():
        model[0].weight[:4] = 0  # pruned in one shot: its statistics are stale now
        hidden = model[0](data)
    stale = model[1].running_mean.clone()
    assert not torch.allclose(stale, hidden.mean(0), atol=0.1)
    recalibrate(model, data.split(100))
    assert torch.allclose(model[1].running_mean, hidden.mean(0), atol=1e-5)
    within = torch.stack([part.var(0) for part in hidden.detach().split(100)]).mean(0)
    assert torch.allclose(model[1].running_var, within, rtol=1e-4, atol=1e-6)
    assert not model.training and model[1].momentum == 0.1 and not model[2].training
    assert not model[0].weight[:4].any(), "weights stay"


def test_recalibration_needs_a_batch_but_only_where_there_is_batch_norm():
    with pytest.raises(ValueError, match="without a batch"):
        recalibrate(network(), [])
    recalibrate(nn.Linear(3, 3), [])
