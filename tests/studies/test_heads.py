"""The head of a network is the layer that it uses last, not the one that was written down last."""

from dataclasses import replace

import pytest

import labkit as lk
from labkit.runs.experiment import Experiment
from labkit.studies.heads import fresh_head
from tests.conftest import small_spec

ODDLY = """
import torch
from torch import nn

class Net(nn.Module):
    input_shape = (1, 28, 28)

    def __init__(self, classes=10):
        super().__init__()
        self.classifier = nn.Linear(20, classes)  # written down first
        self.body = nn.Linear(784, 20)

    def forward(self, x):
        return self.classifier(self.body(x.flatten(1)).relu())
"""


@pytest.fixture
def oddly(tmp_path, monkeypatch):
    (tmp_path / "oddly.py").write_text(ODDLY)
    monkeypatch.syspath_prepend(str(tmp_path))
    return replace(small_spec(), model="oddly:Net", prune=lk.PruneSpec(rate=0.2, output_rate=0.0, levels=1))


def test_the_classifier_is_what_is_pruned_at_the_output_rate(oddly):
    experiment = Experiment(oddly)
    assert experiment.prunable[-1] == "body.weight" and experiment.output == "classifier.weight"
    assert experiment.rates == {"classifier.weight": 0.0, "body.weight": 0.2}


def test_a_fresh_head_is_the_classifier_wherever_it_was_written_down(oddly):
    shapes = {"body.weight": (20, 784), "body.bias": (20,), "classifier.weight": (3, 20), "classifier.bias": (3,)}
    assert fresh_head(Experiment(oddly), shapes, None, pruned="") == ("classifier.weight", "classifier.bias")
