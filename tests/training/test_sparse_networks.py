"""The networks of the RigL papers under drawn masks, trained by the loop with their augmentation."""

import pytest
import torch
from torch import nn

from labkit import data, models
from labkit.ground.randomness import generator
from labkit.models.inspection import layers
from labkit.sparsity import allocation, masks
from labkit.specs.networks import TrainSpec
from labkit.training.engines.network import Network
from tests.trainings import Together


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
    states = [models.initial_state(name, options, "own", seed, "init") for seed in (0, 1)]
    digits = data.load("digits", shape=(3, 32, 32), train=32, validation=8)
    run = Together(lambda: models.build(name, options), states, drawn, digits, spec, (0, 1))
    run.run()
    for n, (state, mask) in enumerate(zip(states, drawn, strict=True)):
        network = run.network(n)
        for key in keep:
            weights = network.state[key]
            assert not weights[~mask[key]].any() and weights.isfinite().all()
            assert masks.counts(network.masks)[key] == masks.counts(mask)[key] == keep[key]
        assert not torch.equal(network.state["classifier.bias"], state["classifier.bias"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_step_is_pytorch_s_whatever_the_layout_of_the_images(optimizer, layout):
    """Gradients of convolutions on channels-last images come channels-last; fused optimisers do not look."""
    spec = TrainSpec(duration="1it", optimizer=optimizer, lr=0.01)
    state = models.initial_state("conv_2", {"width": 0.125}, "own", 0, "init")
    mine = Network(models.build("conv_2", {"width": 0.125}), state, {}, spec)
    network = models.build("conv_2", {"width": 0.125})
    network.load_state_dict(state)
    images = torch.randn(8, 3, 32, 32, generator=generator(0, "images")).contiguous(memory_format=layout)
    labels = torch.arange(8)
    rule = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](network.parameters(), lr=spec.lr)
    nn.functional.cross_entropy(network(images), labels).backward()
    rule.step()
    mine.step(images, labels, spec.lr)
    for name, weight in network.named_parameters():
        moved = (mine.state[name] - state[name]).flatten()
        expected = (weight - state[name]).detach().flatten()
        assert torch.cosine_similarity(moved, expected, dim=0) > 0.99, name
