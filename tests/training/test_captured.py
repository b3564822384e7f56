"""The captured step does what the step does; what cannot be captured still trains."""

import signal

import pytest
import torch
from torch import nn

from labkit import models
from labkit.ground.randomness import generator
from labkit.specs.networks import TrainSpec
from labkit.training.engines.captured import capture
from labkit.training.loop import Training
from labkit.training.population import Population
from tests.conftest import lenet, lenet_states

SPEC = TrainSpec(duration="24it", evaluate_every="12it", batch_size=20, optimizer="sgd", lr=0.05, momentum=0.9)
NETWORKS = {
    "lenet_300_100": ({}, (1, 28, 28)),
    "conv_2": ({"width": 0.1, "dropout": 0.5}, (3, 32, 32)),
    "resnet20": ({"width": 0.25}, (3, 32, 32)),
    "vgg19": ({"width": 0.1}, (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.usefixtures("kernel_threads")
def test_captured_steps_are_the_plain_steps_bit_for_bit(name, optimizer):
    options, shape = NETWORKS[name]
    spec = TrainSpec(optimizer=optimizer, lr=0.01, weight_decay=1e-3)
    populations = []
    for captured in (True, False):
        states = models.initial_states(name, options, "glorot_normal", [(0, "init"), (1, "init")])
        wanted = models.prunable(models.build(name, options))
        masks = {
            layer: torch.rand(states[layer].shape, generator=generator(0, "test", layer)) < 0.5 for layer in wanted
        }
        population = Population(lambda: models.build(name, options), states, masks, spec)
        rng = torch.Generator().manual_seed(0)
        for step in range(3):
            inputs, labels = torch.randn(8, *shape, generator=rng), torch.randint(0, 10, (8,), generator=rng)
            population.prepare(inputs, labels)
            assert population.captured or not (captured or step == 0)
            if not captured:
                population._captured = None
            torch.manual_seed(step)
            population.step(step % 2, inputs, labels, 0.01 / (step + 1))
        populations.append(population)
    mine, theirs = (population.tensors() for population in populations)
    assert [key for key in theirs if not torch.equal(mine[key].nan_to_num(), theirs[key].nan_to_num())] == []


@pytest.mark.parametrize("name", ["conv_2", "resnet20"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.usefixtures("kernel_threads")
def test_convolutions_learn_as_with_torch_optim_however_images_lie_in_memory(name, layout, optimizer):
    """Fused optimisers walk through memory: a gradient that lies otherwise than its weight would be scrambled."""
    options = {"width": 0.25}
    spec = TrainSpec(optimizer=optimizer, lr=0.01)
    states = models.initial_states(name, options, "glorot_normal", [(0, "init")])
    population = Population(lambda: models.build(name, options), states, {}, spec)
    network = models.build(name, options)
    network.load_state_dict({key: state[0].clone() for key, state in states.items()})
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    plain = kind(network.parameters(), lr=0.01, foreach=False, fused=False)
    rng = torch.Generator().manual_seed(0)
    for _ in range(2):
        inputs = torch.randn(16, 3, 32, 32, generator=rng).contiguous(memory_format=layout)
        labels = torch.randint(0, 10, (16,), generator=rng)
        population.step(0, inputs, labels, 0.01)
        plain.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        plain.step()
    for key, parameter in network.named_parameters():
        mine, theirs = population.states[key][0] - states[key][0], parameter.detach() - states[key][0]
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
    states = {name: state.expand(3, *state.shape) for name, state in Branching().state_dict().items()}
    run = Training(Population(Branching, states, {}, SPEC), digits, SPEC, [0, 1, 2])
    run.run()
    assert not run.population.captured
    assert run.record.step == [24] * 3 and run.record.diverged == [-1] * 3
    assert run.record.history[:, -1, 0].mean() < run.record.history[:, 1, 0].mean(), "it learns"


def test_capturing_changes_neither_its_arguments_nor_the_generator():
    weight = torch.ones(3)

    def step(weight, inputs):
        weight.add_(torch.rand(3) * inputs)
        return weight.sum()

    before = torch.get_rng_state()
    captured = capture(step, [weight, torch.ones(3)])
    assert captured is not None and weight.tolist() == [1, 1, 1] and torch.equal(before, torch.get_rng_state())
    captured(weight, torch.ones(3))
    assert (weight > 1).all()


def test_an_interrupt_in_a_step_of_a_single_network_waits_for_its_end(digits, monkeypatch):
    """Ctrl-C between two operations of a step would leave a step half done."""
    spec = TrainSpec(duration="100000it", evaluate_every="100000it", batch_size=20)

    def training():
        return Training(Population(lenet, lenet_states(), {}, spec), digits, spec, [0])

    saved, run = {}, training()
    plain = run.population.step

    def step(*arguments):
        if run.record.step[0] == 37:
            signal.raise_signal(signal.SIGINT)
        return plain(*arguments)

    monkeypatch.setattr(run.population, "step", step)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            run.run(save=lambda tensors: saved.update({k: v.clone() for k, v in tensors.items()}))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    done = int(saved["loop/step"][0])
    assert done == 38 == saved["step/fc1.weight"][0], "the step was ended"
    other = training()
    for step in range(done):
        other.population.step(0, *other.batch(0, step), other.lr(step))
    assert torch.allclose(saved["state/fc3.weight"], other.population.states["fc3.weight"], atol=1e-4)
