"""The captured step does what the step does; what cannot be captured still trains."""

import signal

import pytest
import torch
from torch import nn

from labkit import models
from labkit.ground.randomness import generator
from labkit.specs.networks import TrainSpec
from labkit.training.engines.captured import capture
from labkit.training.engines.network import Network
from labkit.training.loop import SLICE_SECONDS
from tests.conftest import lenet, lenet_states
from tests.trainings import Together, stacked_states, unstacked

SPEC = TrainSpec(duration="24it", evaluate_every="12it", batch_size=20, optimizer="sgd", lr=0.05, momentum=0.9)
NETWORKS = {
    "lenet_300_100": ({}, (1, 28, 28)),
    "conv_2": ({"width": 0.1, "dropout": 0.5}, (3, 32, 32)),
    "resnet20": ({"width": 0.25}, (3, 32, 32)),
    "vgg19": ({"width": 0.1}, (3, 32, 32)),
    "resnet50": ({"width": 0.0625, "stem": "imagenet"}, (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.usefixtures("kernel_threads")
def test_captured_steps_are_the_plain_steps_bit_for_bit(name, optimizer):
    options, shape = NETWORKS[name]
    spec = TrainSpec(optimizer=optimizer, lr=0.01, weight_decay=1e-3)
    states = stacked_states(name, options, "glorot_normal", (0, 1))
    wanted = models.prunable(models.build(name, options))
    masks = {layer: torch.rand(states[layer].shape, generator=generator(0, "test", layer)) < 0.5 for layer in wanted}
    found = []
    for captured in (True, False):
        captures = {}
        networks = [
            Network(models.build(name, options), state, mask, spec, captures=captures)
            for state, mask in zip(unstacked(states), unstacked(masks), strict=True)
        ]
        rng = torch.Generator().manual_seed(0)
        for step in range(3):
            network = networks[step % 2]
            inputs, labels = torch.randn(8, *shape, generator=rng), torch.randint(0, 10, (8,), generator=rng)
            network.prepare(inputs, labels)
            assert network.captured or not (captured or step < 2)
            if not captured:
                network._captured = None
            torch.manual_seed(step)
            network.step(inputs, labels, 0.01 / (step + 1))
        assert len(captures) == 1, "captured once, for both"
        found.append([network.tensors() for network in networks])
    for mine, theirs in zip(*found, strict=True):
        assert [key for key in theirs if not torch.equal(mine[key].nan_to_num(), theirs[key].nan_to_num())] == []


@pytest.mark.parametrize("name", ["conv_2", "resnet20"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.usefixtures("kernel_threads")
def test_convolutions_learn_as_with_torch_optim_however_images_lie_in_memory(name, layout, optimizer):
    """Fused optimisers walk through memory: a gradient that lies otherwise than its weight would be scrambled."""
    options = {"width": 0.25}
    spec = TrainSpec(optimizer=optimizer, lr=0.01)
    state = models.initial_state(name, options, "glorot_normal", 0, "init")
    trained = Network(models.build(name, options), state, {}, spec)
    network = models.build(name, options)
    network.load_state_dict(state)
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    plain = kind(network.parameters(), lr=0.01, foreach=False, fused=False)
    rng = torch.Generator().manual_seed(0)
    for _ in range(2):
        inputs = torch.randn(16, 3, 32, 32, generator=rng).contiguous(memory_format=layout)
        labels = torch.randint(0, 10, (16,), generator=rng)
        trained.step(inputs, labels, 0.01)
        plain.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        plain.step()
    for key, parameter in network.named_parameters():
        mine, theirs = trained.state[key] - state[key], parameter.detach() - state[key]
        close = torch.isclose(mine, theirs, rtol=0.05, atol=2e-4).float().mean()
        assert close > 0.97, (key, float(close))  # Adam blows rounding up where gradients are tiny


class Branching(nn.Module):
    """Looks at values, which no list of operations can do."""

    capturable = True

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        return logits if float(logits.detach().mean()) > 0 else 2 * logits


def test_what_cannot_be_captured_trains_in_plain_steps(digits):
    run = Together(Branching, [Branching().state_dict()] * 3, [{}] * 3, digits, SPEC, [0, 1, 2])
    run.run()
    how, why = run.engine.how(0)
    assert not run.network().captured and how == "plain" and "data-dependent" in why
    assert [run.record(n).step for n in range(3)] == [24] * 3
    assert [run.record(n).diverged for n in range(3)] == [-1] * 3
    losses = torch.stack([run.history(n)[:, 0] for n in range(3)])
    assert losses[:, -1].mean() < losses[:, 1].mean(), "it learns"


def test_capturing_changes_neither_its_arguments_nor_the_generator():
    weight = torch.ones(3)

    def step(weight, inputs):
        weight.add_(torch.rand(3) * inputs)
        return weight.sum()

    before = torch.get_rng_state()
    captured, refused = capture(step, [weight, torch.ones(3)])
    assert captured is not None and not refused
    assert weight.tolist() == [1, 1, 1] and torch.equal(before, torch.get_rng_state())
    captured(weight, torch.ones(3))
    assert (weight > 1).all()


@pytest.mark.parametrize("slices", [0.0, SLICE_SECONDS])
def test_an_interrupt_in_a_step_of_a_single_network_waits_for_its_end(digits, monkeypatch, slices):
    """Ctrl-C between two operations of a step would leave a step half done; it is heard at the end of a slice."""
    monkeypatch.setattr("labkit.training.loop.SLICE_SECONDS", slices)  # 0: slices of a step
    spec = TrainSpec(duration="100000it", evaluate_every="100000it", batch_size=20)

    def training():
        return Together(lenet, unstacked(lenet_states()), [{}], digits, spec, [0])

    run, begun, ended = training(), [], []
    network = run.network()
    plain = network.step

    def step(*arguments):
        begun.append(run.record().step)  # of its slice
        if len(begun) == 38:
            signal.raise_signal(signal.SIGINT)
        ended.append(plain(*arguments))
        return ended[-1]

    monkeypatch.setattr(network, "step", step)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            run.run()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    (saved,) = run.tensors()
    done = run.record().step
    assert done == len(begun) == len(ended) == saved["step/fc1.weight"], "the step was ended"
    assert done >= 38 and begun[37] == begun[-1], "and its slice, no other"
    assert done == 38 or slices
    other = training()
    for step in range(done):
        other.network().step(*other.batch(0, step), other.engine.lr(step))
    assert torch.allclose(saved["state/fc3.weight"], other.network().state["fc3.weight"], atol=1e-4)
