"""The networks of the RigL papers under drawn masks, trained by the loop with their augmentation."""

import pytest
import torch
from torch import nn

from labkit import data, models
from labkit.ground.randomness import generator
from labkit.models.inspection import layers
from labkit.sparsity import allocation, masks
from labkit.specs.networks import TrainSpec
from labkit.training.loop import Training
from labkit.training.population import Population


@pytest.mark.parametrize(
    ("name", "options", "augment"),
    [
        ("wrn_22_2", {"width": 0.125, "dropout": 0.3}, "reflect_crop_flip"),
        ("resnet50", {"width": 0.0625, "zero_last_norm": True}, "resized_crop_flip"),
    ],
)
def test_a_static_sparse_network_trains(name, options, augment):
    spec = TrainSpec(duration="2it", optimizer="sgd", lr=0.05, momentum=0.9, nesterov=True, batch_size=16,
                     weight_decay=5e-4, augment=augment, evaluate_every="2it")  # fmt: skip
    shapes = {key: layer.shape for key, layer in layers(models.build(name, options)).items()}
    keep = allocation.counts(shapes, allocation.allocate("erk", shapes, 0.2))
    drawn = [allocation.draw(shapes, keep, generator(seed, "mask")) for seed in (0, 1)]
    stacked = {key: torch.stack([one[key] for one in drawn]) for key in keep}
    states = models.initial_states(name, options, "own", [(0, "init"), (1, "init")])
    population = Population(lambda: models.build(name, options), states, stacked, spec)
    digits = data.load("digits", shape=(3, 32, 32), train=32, validation=8)
    before = {key: value.clone() for key, value in population.states.items()}
    Training(population, digits, spec, (0, 1)).run()
    for key in keep:
        weights = population.states[key]
        assert not weights[~stacked[key]].any() and weights.isfinite().all()
        assert masks.counts({key: stacked[key][1]})[key] == keep[key]
    assert not torch.equal(population.states["classifier.bias"], before["classifier.bias"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_step_is_pytorch_s_whatever_the_layout_of_the_images(optimizer, layout):
    """Gradients of convolutions on channels-last images come channels-last; fused optimisers do not look."""
    spec = TrainSpec(duration="1it", optimizer=optimizer, lr=0.01)
    states = models.initial_states("conv_2", {"width": 0.125}, "own", [(0, "init")])
    population = Population(lambda: models.build("conv_2", {"width": 0.125}), states, {}, spec)
    network = models.build("conv_2", {"width": 0.125})
    network.load_state_dict({name: state[0].clone() for name, state in states.items()})
    images = torch.randn(8, 3, 32, 32, generator=generator(0, "images")).contiguous(memory_format=layout)
    labels = torch.arange(8)
    rule = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](network.parameters(), lr=spec.lr)
    nn.functional.cross_entropy(network(images), labels).backward()
    rule.step()
    population.step(0, images, labels, spec.lr)
    for name, weight in network.named_parameters():
        moved = (population.states[name][0] - states[name][0]).flatten()
        expected = (weight - states[name][0]).detach().flatten()
        assert torch.cosine_similarity(moved, expected, dim=0) > 0.99, name
