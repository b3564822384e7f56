"""The training loop, and the networks that go through it."""

import math

import pytest
import torch
from torch import nn

from labkit import data, models
from labkit.data import DataSet
from labkit.runs.experiment import Experiment
from labkit.runs.mask_sources import Whole
from labkit.runs.networks import Labelled
from labkit.runs.run import Run
from labkit.runs.scheduler import compute
from labkit.runs.starts import Start
from labkit.runs.store import Store
from labkit.runs.weight_sources import Drawn, Given
from labkit.sparsity import masks
from labkit.specs.networks import TrainSpec
from labkit.specs.tickets import TicketSpec
from labkit.studies import metrics
from labkit.training.engines.kernels import accelerate
from labkit.training.engines.network import Network
from labkit.training.engines.stepping import Stepping
from labkit.training.evaluation import evaluate
from labkit.training.history import HISTORY
from tests.conftest import lenet, lenet_states, random_masks
from tests.networks import Noisy as Small
from tests.trainings import Together, unstacked

OPTIMIZERS = {
    "adam": TrainSpec(duration="5it", weight_decay=0.1),
    "momentum": TrainSpec(duration="5it", optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": TrainSpec(duration="5it", optimizer="sgd", lr=0.05, momentum=0.9, nesterov=True),
    "sgd": TrainSpec(duration="5it", optimizer="sgd", lr=0.05),
}


def training(digits, replicates=1, density=0.3, spec=None, seed=0, **changes):
    spec = spec or TrainSpec(duration="40it", evaluate_every="10it")
    states = lenet_states(replicates, seed)
    drawn = unstacked(random_masks(states, density))
    return Together(lenet, unstacked(states), drawn, digits, spec, range(seed, seed + replicates), **changes)


@pytest.mark.parametrize("spec", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.usefixtures("kernel_threads")
# pitfalls: drifting-zeros, mask-in-forward-only
def test_masked_weights_and_their_state_stay_zero_whatever_is_planted(digits, spec):
    run = training(digits, 2, spec=spec)
    networks = [run.network(n) for n in range(2)]
    for network in networks:
        for slot, tree in network.slots.items():
            for name, mask in network.masks.items():
                if slot != "step":
                    tree[name][~mask] = 1.0
        network.set_masks(network.masks)
    for step in range(5):
        for n, network in enumerate(networks):
            network.step(*run.batch(n, step), spec.lr)
            for name, mask in network.masks.items():
                assert not network.state[name][~mask].any()
                for slot, tree in network.slots.items():
                    assert slot == "step" or not tree[name][~mask].any(), (slot, name)
    for network in networks:
        assert all(network.state[name][mask].all() for name, mask in network.masks.items()), "the others live"


@pytest.mark.parametrize("spec", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.usefixtures("kernel_threads")
def test_steps_are_those_of_torch_optim(digits, spec):
    run = training(digits, 1, density=1.1, spec=spec)
    mine = run.network()
    network = accelerate(lenet())  # the same products: Adam blows up their rounding where gradients are tiny
    network.load_state_dict({name: state.clone() for name, state in mine.state.items()})
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": spec.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    if spec.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, lr=spec.lr)
    else:
        optimizer = torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov)
    for step in range(5):
        inputs, labels = run.batch(0, step)
        mine.step(inputs, labels, spec.lr)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert torch.allclose(mine.state[name], parameter, atol=1e-6), name


def test_negative_weights_learn(digits):  # pitfall: values-for-masks
    run = training(digits)
    network = run.network()
    network.state["fc1.weight"].abs_().neg_()
    network.set_masks(network.masks)
    before = network.state["fc1.weight"].clone()
    run.run()
    alive = network.masks["fc1.weight"]
    assert (network.state["fc1.weight"] != before)[alive].float().mean() > 0.7


@pytest.mark.usefixtures("kernel_threads")
def test_a_population_gives_each_replicate_what_a_single_run_gives():
    """Three replicates, 200 steps: the same numbers bit for bit, whatever the number of kernel threads."""
    digits = data.load("digits", shape=(1, 28, 28))
    spec = TrainSpec(duration="200it", evaluate_every="20it")
    states = lenet_states(3)
    mask = unstacked(random_masks(states, 0.3))
    states = unstacked(states)
    together = Together(lenet, states, mask, digits, spec, [0, 1, 2])
    together.run()
    for n in range(3):
        alone = Together(lenet, states[n : n + 1], mask[n : n + 1], digits, spec, [n])
        alone.run()
        for name, state in alone.network().state.items():
            assert torch.equal(state, together.network(n).state[name]), name
        assert torch.equal(alone.history().nan_to_num(), together.history(n).nan_to_num())
        stops = [history[:, HISTORY.index("validation_loss")].argmin()
                 for history in (alone.history(), together.history(n))]  # fmt: skip
        assert stops[0] == stops[1]


@pytest.mark.parametrize(
    ("model", "cores", "replicates", "crew"),
    [
        (lenet, 8, 1, (1, 1)),  # small: more threads do not pay; and as many as it has in company
        (lenet, 2, 3, (2, 1)),
        (lenet, 8, 3, (3, 1)),
        (lambda: models.build("conv_2"), 2, 2, (1, 2)),  # large: one after another, with all threads
        (lambda: models.build("conv_2"), 8, 2, (1, 8)),
        (lambda: models.build("conv_2"), 1, 2, (1, 1)),
        (Small, 2, 3, (1, 2)),  # draws in its steps: one after another
        (Small, 8, 3, (1, 8)),
        (lambda: Noisy(), 8, 3, (1, 2)),  # of linear layers, and small
    ],
)
def test_who_trains_beside_whom(model, cores, replicates, crew, monkeypatch):
    network = model()
    spec = TrainSpec(duration="1it", batch_size=60)
    images = data.load("digits", shape=getattr(network, "input_shape", (1, 28, 28)))
    run = Together(model, [network.state_dict()] * replicates, [{}] * replicates, images, spec, range(replicates))
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert (run.most, run.threads) == crew


@pytest.mark.usefixtures("kernel_threads")
def test_evaluation_does_not_depend_on_its_batches(digits, monkeypatch):
    images = data.load("digits", shape=(3, 32, 32))
    for network, given in ((lenet(), digits), (models.build("resnet20", {"width": 0.25}), images)):
        found = [evaluate(network, given, "validation")]
        monkeypatch.setattr("labkit.training.evaluation.EVALUATION_BATCH", {"cpu": 50})
        monkeypatch.setattr("labkit.training.evaluation.CONVOLUTION_BATCH", 7)
        found.append(evaluate(network, given, "validation"))
        assert found[0] == pytest.approx(found[1], rel=1e-5) and 0 < found[0][1] < 1


def test_the_number_of_threads_changes_nothing(digits):
    results = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            run = training(digits, 3)
            run.run()
            assert torch.get_num_threads() == threads, "the setting is put back"
        finally:
            torch.set_num_threads(before)
        results.append(torch.stack([run.network(n).state["fc1.weight"] for n in range(3)]))
    assert torch.equal(*results)


def test_same_seed_same_run_other_seed_other_run(digits):  # pitfall: unseeded-randomness
    runs = [training(digits, seed=seed) for seed in (0, 0, 1)]
    for run in runs:
        run.run()
    weights = [run.network().state["fc2.weight"] for run in runs]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_training_runs_to_its_end_and_evaluates_where_it_should(digits):  # pitfall: patience-for-argmin
    run = training(digits, spec=TrainSpec(duration="45it", evaluate_every="20it"))
    run.run()
    assert run.record().points == [0, 20, 40, 45] and run.record().step == 45
    assert not run.history()[1:].isnan().any() and math.isnan(run.history()[0, 0])


# pitfalls: swapped-splits, patience-for-argmin, best-on-test
def test_early_stop_is_the_first_minimum_of_validation_loss_and_blind_to_test_data(digits):
    rng = torch.Generator().manual_seed(0)
    poisoned = {**digits.labels, "test": torch.randint(0, 10, (360,), generator=rng)}
    other = DataSet(digits.name, digits.images, poisoned, digits.classes, digits.scale, digits.shift, "poisoned")
    stops = []
    for dataset in (digits, other):
        spec = TrainSpec(duration="100it", evaluate_every="10it")
        run = Together(lenet, unstacked(lenet_states()), [{}], dataset, spec, [0])
        run.run()
        table = _table(run)
        outcome = metrics.outcomes(table).iloc[0]
        losses = table["validation_loss"].tolist()
        assert outcome["early_stop_iteration"] == 10 * losses.index(min(losses))
        stops.append((outcome["early_stop_iteration"], outcome["accuracy_at_early_stop"]))
    assert stops[0][0] == stops[1][0] and stops[1][1] < 0.3 < stops[0][1]
    tied = table.assign(validation_loss=1.0)
    assert metrics.outcomes(tied)["early_stop_iteration"].tolist() == [0], "the first of equals"
    assert not [column for column in metrics.outcomes(table) if "max" in column or "best" in column]


def _table(run):
    import pandas as pd

    about = {"branch": "ticket", "level": 0, "seed": 0, "copy": 0, "percent_remaining": 100.0, "diverged": False}
    return pd.DataFrame([about | row for row in run.record().rows(run.spec.batch_size)])


def test_accuracy_is_exact_over_a_last_short_batch():  # pitfall: short-last-batch
    found = data.load("digits", shape=(1, 28, 28))
    images = {**found.images, "test": found.images["train"].repeat(9, 1, 1, 1)[:10_007]}
    labels = {**found.labels, "test": found.labels["train"].repeat(9)[:10_007]}
    dataset = DataSet("odd", images, labels, found.classes, found.scale, found.shift, "odd")
    network = models.build("lenet_300_100", seed=1)
    _, accuracy = evaluate(network, dataset, "test")
    logits = network(dataset.inputs("test", slice(None))[0])
    assert accuracy == int((logits.argmax(1) == labels["test"]).sum()) / 10_007


@pytest.mark.usefixtures("kernel_threads")
def test_a_diverged_replicate_stops_alone(digits):
    spec = TrainSpec(duration="30it", evaluate_every="10it")
    states = unstacked(lenet_states(3))
    states[1]["fc1.weight"][0, 0] = math.nan
    run = Together(lenet, states, [{}] * 3, digits, spec, [0, 1, 2])
    run.run()
    assert [run.record(n).diverged for n in range(3)] == [-1, 0, -1]
    assert [run.record(n).step for n in range(3)] == [30, 0, 30]
    alone = Together(lenet, states[::2], [{}] * 2, digits, spec, [0, 2])
    alone.run()
    for n, same in ((0, 0), (2, 1)):
        assert torch.equal(run.network(n).state["fc1.weight"], alone.network(same).state["fc1.weight"])


@pytest.mark.usefixtures("kernel_threads")
def test_an_interrupt_saves_and_the_rest_gives_the_same_run(digits):
    whole = training(digits, 3, snapshots=[15])
    whole.run()
    broken = training(digits, 3, snapshots=[15])

    def left(run):
        return sum(40 - run.record(n).step for n in range(3))

    def interrupt():
        if left(broken) < 3 * 40 - 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    saved = [{name: tensor.clone() for name, tensor in tensors.items()} for tensors in broken.tensors()]
    resumed = training(digits, 3, snapshots=[15], saved=saved)
    assert 0 < left(resumed) < 120
    resumed.run()
    for mine, theirs in zip(resumed.tensors(), whole.tensors(), strict=True):
        assert mine.keys() == theirs.keys()
        for name in theirs:
            assert torch.equal(mine[name].nan_to_num(), theirs[name].nan_to_num()), name
    assert broken.kept.keys() | resumed.kept.keys() == whole.kept.keys() == {(n, 15) for n in range(3)}
    for at, tensors in [*broken.kept.items(), *resumed.kept.items()]:
        assert all(torch.equal(tensors[name], tensor) for name, tensor in whole.kept[at].items()), at


def test_resume_brings_its_masks(digits):  # a resume that keeps other masks than the checkpoint's is a known trap
    run = training(digits, 1, density=0.3)
    other = training(digits, 1, density=0.9)
    before = other.network()
    other.engine.free(0)
    other.engine.put(0, run.tensors()[0], seed=0, at=0)
    assert other.network() is before, "a network that another run has left is taken again"
    assert masks.counts(before.masks) == masks.counts(run.network().masks)
    other.run()
    dead = ~run.network().masks["fc1.weight"]
    assert other.record().step == 40 and not before.state["fc1.weight"][dead].any()


def test_the_optimiser_holds_the_networks_own_tensors(digits):  # pitfall: optimiser-of-old-tensors
    run = training(digits, 2)
    for n, mask in enumerate(unstacked(random_masks(lenet_states(2), 0.2, seed=1))):
        network = run.network(n)
        network.load(run.tensors()[n])
        network.set_masks(mask)
        held = {tensor.data_ptr() for tensor in network._arguments}
        for name, parameter in network.model.named_parameters():
            assert parameter.data_ptr() == network.state[name].data_ptr() and parameter.data_ptr() in held


class Noisy(nn.Module):
    """Batch norm, and dropout that is not a module."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.BatchNorm1d(20), nn.ReLU())
        self.last = nn.Linear(20, 10)

    def forward(self, inputs):
        return self.last(nn.functional.dropout(self.first(inputs), 0.5, self.training))


@pytest.mark.usefixtures("kernel_threads")
def test_batch_norm_and_dropout_belong_to_the_replicate(digits):
    """Any module trains: buffers are each network's own, dropout is drawn from its seed and step."""
    spec = TrainSpec(duration="12it", evaluate_every="6it", optimizer="sgd", lr=0.05)
    state = Noisy().state_dict()
    both = Together(Noisy, [state] * 2, [{}] * 2, digits, spec, [0, 1])
    both.run()
    assert both.engine.draws and not training(digits).engine.draws
    one = Together(Noisy, [state], [{}], digits, spec, [1])
    one.run()
    for name in state:
        assert torch.equal(both.network(1).state[name], one.network().state[name]), name
        assert name.endswith("tracked") or not torch.equal(both.network(0).state[name], both.network(1).state[name])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


def test_frozen_parameters_stay_and_tied_ones_are_refused(digits):
    def frozen():
        network = lenet()
        network.fc1.weight.requires_grad_(False)
        return network

    spec = TrainSpec(duration="3it")
    run = Together(frozen, unstacked(lenet_states()), [{}], digits, spec, [0])
    run.run()
    assert torch.equal(run.network().state["fc1.weight"], lenet_states()["fc1.weight"][0])
    assert not torch.equal(run.network().state["fc2.weight"], lenet_states()["fc2.weight"][0])
    with pytest.raises(ValueError, match="ties parameters"):
        Network(Tied(), Tied().state_dict(), {}, spec)


def planned(experiment, *starts):
    return [Labelled(Run(experiment, seed, start), "network") for seed, start in enumerate(starts)]


@pytest.mark.parametrize("cores", [1, 2])
def test_an_error_in_a_worker_is_raised_and_saves_nothing_half_done(cores, tmp_path, monkeypatch):
    experiment = Experiment(TicketSpec(train=TrainSpec(duration="40it", evaluate_every="20it")))
    fresh = Start(Drawn("init"), Whole())
    members = planned(experiment, fresh, fresh)
    plain = Stepping.advance

    def fail(engine, slot, until):
        plain(engine, slot, until if slot else min(until, 8))
        if slot == 0 and until >= 8:
            raise MemoryError("no room")

    def folders(root=None):
        return [Store(root).folder(member.run) for member in members]

    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        with monkeypatch.context() as patch, pytest.raises(MemoryError, match="no room"):
            patch.setattr(Stepping, "advance", fail)
            patch.setattr("labkit.runs.scheduler.estimate", lambda planned: "")  # trains networks on trial
            compute(members, "test")
        assert folders()[0].checkpoint() is None and folders()[0].about() is None
        compute(members, "test")
        compute(members, "test", tmp_path / "anew")
    finally:
        torch.set_num_threads(before)
    for mine, theirs in zip(folders(), folders(tmp_path / "anew"), strict=True):
        found, expected = mine.read(), theirs.read()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name].nan_to_num(), tensor.nan_to_num()) for name, tensor in expected.items())


def test_divergence_is_told_at_once_and_seen_in_evaluations_too():
    spec = TrainSpec(optimizer="sgd", lr=1000, duration="1it")
    state = unstacked(lenet_states())[0]
    state["fc3.weight"] *= 1e20  # a finite loss, and a step that overflows
    experiment = Experiment(TicketSpec(train=spec))
    (member,) = planned(experiment, Start(Given.of(state), Whole()))
    with pytest.warns(UserWarning, match=r"seed 0, copy 0 of network at level 0 stopped at step 1:") as told:
        compute([member], "test")
    record = Store().folder(member.run).record()
    assert record.diverged == 1 and len(told) == 1 and record.losses.isfinite().all()


def test_what_does_not_fit_is_refused():
    state = unstacked(lenet_states())[0]
    spec = TrainSpec(duration="5it")
    with pytest.raises(ValueError, match="mask of fc1.weight must be bool"):
        Network(lenet(), state, {"fc1.weight": torch.ones(3)}, spec)
    with pytest.raises(ValueError, match="unknown masked parameter 'fc1.weigth': did you mean 'fc1.weight'"):
        Network(lenet(), state, {"fc1.weigth": torch.ones(3)}, spec)
    with pytest.raises(ValueError, match="fc1.weight has shape"):
        Network(lenet(), {**state, "fc1.weight": torch.ones(3, 784)}, {}, spec)
    with pytest.raises(ValueError, match=r"unknown optimizer 'adm': did you mean 'adam'"):
        Network(lenet(), state, {}, TrainSpec(optimizer="adm"))
