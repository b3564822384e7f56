"""Networks of a user's own train as they are written, and are captured only if they ask for it."""

import random
import sys

import pytest
import torch
from torch import nn

import labkit as lk
from labkit.models import build, capturable, prunable
from labkit.runs.experiment import Experiment
from labkit.runs.mask_sources import Whole
from labkit.runs.networks import Labelled, Networks
from labkit.runs.run import Run
from labkit.runs.scheduler import compute
from labkit.runs.starts import Start
from labkit.runs.weight_sources import Drawn
from labkit.specs.networks import TrainSpec
from labkit.training.derivatives import gradient
from tests.trainings import Together

STEPS = 24
UNASKED = "it does not ask for it (`capturable = True`)"
SPEC = TrainSpec(
    duration=f"{STEPS}it", evaluate_every="12it", batch_size=20, optimizer="sgd", lr=0.05, momentum=0.9,
    weight_decay=0.01,
)  # fmt: skip


class Own(nn.Module):
    """Three layers, the middle one of which can be left out."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(784, 20), nn.Linear(20, 20), nn.Linear(20, 10)
        self.steps = 0

    def forward(self, images):
        self.steps += self.training
        hidden = self.first(self.seen(images).flatten(1)).relu()
        return self.last(self.between(hidden)) * self.scale()

    def seen(self, images):
        return images

    def between(self, hidden):
        return self.middle(hidden).relu()

    def scale(self):
        return 1


class Flips(Own):
    def seen(self, images):
        return images.flip(-1) if self.training and random.random() < 0.5 else images


class Counts(Own):
    def scale(self):
        return 3 if self.steps > STEPS // 2 else 1


class CountsInABuffer(Own):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def scale(self):
        if self.training:
            self.count = self.count + 1  # bound anew
        return 1 + 2 * (self.count > STEPS // 2)


class LeavesOut(Own):
    """Stochastic depth."""

    def between(self, hidden):
        return hidden if self.training and random.random() < 0.5 else super().between(hidden)


class NeverUses(Own):
    def between(self, hidden):
        return hidden


class Raises(Own):
    def scale(self):
        if self.steps == 15:
            raise RuntimeError("step 15")
        return 1


def training(digits, model, replicates=1, spec=SPEC):
    torch.manual_seed(0)
    return Together(model, [model().state_dict()] * replicates, [{}] * replicates, digits, spec, range(replicates))


def by_hand(run, model, spec=SPEC):
    """The same network in a loop as one writes it, with gradients of zero where there are none."""
    torch.manual_seed(0)
    network = model()
    weights = dict(network.named_parameters())
    groups = [
        {"params": [weights[name] for name in weights if (name in prunable(network)) == decayed], "weight_decay": decay}
        for decayed, decay in ((True, spec.weight_decay), (False, 0.0))
    ]
    kinds = {
        "sgd": lambda: torch.optim.SGD(groups, spec.lr, spec.momentum),
        "adam": lambda: torch.optim.Adam(groups, spec.lr),
    }
    optimizer = kinds[spec.optimizer]()
    for step in range(STEPS):
        inputs, labels = run.batch(0, step)
        for weight in weights.values():
            weight.grad = torch.zeros_like(weight)
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("model", [Own, Flips, Counts, CountsInABuffer, LeavesOut, NeverUses])
def test_an_own_model_trains_as_written(digits, model, optimizer):
    spec = SPEC if optimizer == "sgd" else TrainSpec(**{**vars(SPEC), "optimizer": "adam", "lr": 1e-3, "momentum": 0})
    run = training(digits, model, spec=spec)
    random.seed(3)
    run.run()
    random.seed(3)
    expected = by_hand(run, model, spec).state_dict()
    far = {name: float((run.network().state[name] - state).abs().max()) for name, state in expected.items()}
    assert max(far.values()) < 1e-4, far


@pytest.mark.parametrize("replicates", [1, 3])
def test_an_own_model_that_raises_on_its_way_raises(digits, replicates):
    with pytest.raises(RuntimeError, match="step 15"):
        training(digits, Raises, replicates).run()


def test_it_is_captured_if_it_asks_for_it_itself(digits):
    class Asks(Own):
        capturable = True

    class Inherits(Asks):
        pass

    def function():
        network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        network.capturable = True
        return network

    for model, asked in ((Own, False), (Asks, True), (Inherits, False), (function, True)):
        run = training(digits, model, replicates=2)
        run.run()
        assert [capturable(model()), *(run.network(n).captured for n in range(2))] == [asked] * 3
        assert run.engine.how(0) == (("captured", "") if asked else ("plain", UNASKED))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_layer_that_a_captured_step_leaves_out_has_zero_gradients_too(digits, optimizer):
    class Asks(NeverUses):
        capturable = True

    spec = TrainSpec(duration="6it", optimizer=optimizer, weight_decay=0.1)
    captured, plain = training(digits, Asks, spec=spec), training(digits, NeverUses, spec=spec)
    captured.run()
    plain.run()
    assert captured.network().captured and not plain.network().captured
    mine, theirs = captured.network().tensors(), plain.network().tensors()
    assert [name for name in theirs if not torch.equal(mine[name], theirs[name])] == []
    assert not torch.equal(mine["state/middle.weight"], training(digits, Own).network().state["middle.weight"])


def test_saliency_of_a_layer_that_the_loss_leaves_out_is_zero(digits):
    found = gradient(NeverUses(), *digits.inputs("train", slice(0, 8)))
    assert not found["middle.weight"].any() and found["last.weight"].any()


@pytest.mark.parametrize(("model", "asks"), [("Noisy", True), ("Plain", False), ("lenet_300_100", True)])
def test_a_search_hands_on_what_its_model_asks_for(model, asks):
    name = model if model == "lenet_300_100" else f"tests.networks:{model}"
    experiment = Experiment(lk.TicketSpec(model=name, train=lk.TrainSpec(duration="4it")))
    member = Labelled(Run(experiment, 0, Start(Drawn("init"), Whole())))
    compute([member], "test")
    (result,) = Networks([member], None).results
    assert result["engine"] == ("captured" if asks else "plain") and result.get("why") == (None if asks else UNASKED)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("subprocess:getoutput", "subprocess is part of Python's standard library"),
        ("os.path:join", "os.path is part of Python's standard library"),
        ("hands_on:getoutput", "must be a subclass of nn.Module, or a function"),  # still a function of subprocess
        ("hands_on:partial", "must be a subclass of nn.Module, or a function"),
        ("hands_on:NAMES", "must be a subclass of nn.Module, or a function"),
        ("numpy:array", "must be a subclass of nn.Module, or a function"),
        ("pandas:DataFrame", "must be a subclass of nn.Module, or a function"),
        ("hands_on:text", "returns a str, not a network"),
    ],
)
def test_what_cannot_be_a_network_is_refused_before_it_is_called(name, why, tmp_path, monkeypatch):
    (tmp_path / "hands_on.py").write_text(
        "from subprocess import getoutput\nfrom functools import partial\nNAMES = ['a']\n"
        "def text(cmd):\n    return 'a network?'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=why):
        build(name, {"cmd": f"touch {tmp_path / 'called'}"})
    with pytest.raises(ValueError, match=f"model '{name}'"):
        Experiment(lk.TicketSpec(model=name, model_options={"cmd": f"touch {tmp_path / 'called'}"}))
    assert not (tmp_path / "called").exists()


def test_a_module_of_the_standard_library_is_not_even_imported():
    with pytest.raises(ValueError, match="antigravity is part of Python's standard library"):
        build("antigravity:fly")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["torch.nn:Identity", "torchvision.models:resnet18", "tests.networks:Noisy"])
def test_classes_and_functions_of_packages_can_be_networks(name):
    assert isinstance(build(name), nn.Module)


def test_reading_a_ticket_builds_nothing_that_it_names(tmp_path, monkeypatch):
    """Its provenance is of whoever made it, and a spec is code."""
    (tmp_path / "strange.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    about = {"model": "strange:net", "spec": {"model": "strange:net"}}
    path = lk.Ticket({"weight": torch.ones(2, 2)}, {"weight": torch.eye(2) > 0}, about).save(tmp_path / "t.safetensors")
    ticket = lk.Ticket.load(path)
    assert ticket.about["model"] == "strange:net" and "strange:net" in ticket.describe()
    ticket.load_into(nn.Linear(2, 2, bias=False))
    assert "strange" not in sys.modules
