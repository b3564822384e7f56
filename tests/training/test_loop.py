"""The population and its loop."""

import math

import pytest
import torch
from torch import nn

from labkit import data, models
from labkit.data import DataSet
from labkit.sparsity import masks
from labkit.specs.networks import TrainSpec
from labkit.studies import metrics
from labkit.training.engines.kernels import accelerate
from labkit.training.evaluation import evaluate
from labkit.training.history import HISTORY
from labkit.training.loop import Training
from labkit.training.population import Population
from tests.conftest import lenet, lenet_states, random_masks

OPTIMIZERS = {
    "adam": TrainSpec(duration="5it", weight_decay=0.1),
    "momentum": TrainSpec(duration="5it", optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": TrainSpec(duration="5it", optimizer="sgd", lr=0.05, momentum=0.9, nesterov=True),
    "sgd": TrainSpec(duration="5it", optimizer="sgd", lr=0.05),
}


def training(digits, replicates=1, density=0.3, spec=None, seed=0, **changes):
    spec = spec or TrainSpec(duration="40it", evaluate_every="10it")
    states = lenet_states(replicates, seed)
    population = Population(lenet, states, random_masks(states, density), spec)
    return Training(population, digits, spec, range(seed, seed + replicates), **changes)


@pytest.mark.parametrize("spec", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.usefixtures("kernel_threads")
# pitfalls: drifting-zeros, mask-in-forward-only
def test_masked_weights_and_their_state_stay_zero_whatever_is_planted(digits, spec):
    run = training(digits, 2, spec=spec)
    population = run.population
    for slot, tree in population.slots.items():
        for name, mask in population.masks.items():
            if slot != "step":
                tree[name][~mask] = 1.0
    population.set_masks(population.masks)
    for step in range(5):
        for n in range(2):
            population.step(n, *digits.inputs("train", run.orders[n][step]), spec.lr)
            for name, mask in population.masks.items():
                dead = ~mask[n]
                assert not population.states[name][n][dead].any()
                for slot, tree in population.slots.items():
                    assert slot == "step" or not tree[name][n][dead].any(), (slot, name)
    assert all(population.states[name][mask].all() for name, mask in population.masks.items()), "the others live"


@pytest.mark.parametrize("spec", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.usefixtures("kernel_threads")
def test_steps_are_those_of_torch_optim(digits, spec):
    run = training(digits, 1, density=1.1, spec=spec)
    network = accelerate(lenet())  # the same products: Adam blows up their rounding where gradients are tiny
    network.load_state_dict({name: state[0].clone() for name, state in run.population.states.items()})
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": spec.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    if spec.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, lr=spec.lr)
    else:
        optimizer = torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov)
    for step in range(5):
        inputs, labels = digits.inputs("train", run.orders[0][step])
        run.population.step(0, inputs, labels, spec.lr)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert torch.allclose(run.population.states[name][0], parameter, atol=1e-6), name


def test_negative_weights_learn(digits):  # pitfall: values-for-masks
    run = training(digits)
    run.population.states["fc1.weight"].abs_().neg_()
    run.population.set_masks(run.population.masks)
    before = run.population.states["fc1.weight"].clone()
    run.run()
    alive = run.population.masks["fc1.weight"]
    assert (run.population.states["fc1.weight"] != before)[alive].float().mean() > 0.7


@pytest.mark.usefixtures("kernel_threads")
def test_a_population_gives_each_replicate_what_a_single_run_gives():
    """Three replicates, 200 steps: the same numbers and the same early stop, whatever the number of kernel threads."""
    digits = data.load("digits", shape=(1, 28, 28))
    spec = TrainSpec(duration="200it", evaluate_every="20it")
    states = lenet_states(3)
    mask = random_masks(states, 0.3)
    together = Training(Population(lenet, states, mask, spec), digits, spec, [0, 1, 2])
    together.run()
    for n in range(3):
        one = {name: state[n : n + 1] for name, state in states.items()}
        alone = Training(
            Population(lenet, one, {name: m[n : n + 1] for name, m in mask.items()}, spec), digits, spec, [n]
        )
        alone.run()
        for name, state in alone.population.states.items():
            assert torch.allclose(state[0], together.population.states[name][n], atol=1e-4), name
        assert torch.allclose(alone.record.history[0], together.record.history[n], atol=1e-3, equal_nan=True)
        stops = [
            run.record.history[i, :, HISTORY.index("validation_loss")].argmin()
            for run, i in ((alone, 0), (together, n))
        ]
        assert stops[0] == stops[1]


@pytest.mark.parametrize(
    ("name", "cores", "replicates", "crew"),
    [
        ("lenet_300_100", 8, 1, (1, 2)),  # small: more threads do not pay
        ("lenet_300_100", 2, 3, (2, 1)),
        ("lenet_300_100", 8, 3, (3, 2)),
        ("conv_2", 2, 2, (1, 2)),  # large: one after another, with all threads
        ("conv_2", 8, 2, (1, 8)),
        ("conv_2", 1, 2, (1, 1)),
    ],
)
def test_who_trains_beside_whom(name, cores, replicates, crew, monkeypatch):
    network = models.build(name)
    states = {key: torch.stack([value] * replicates) for key, value in network.state_dict().items()}
    spec = TrainSpec(duration="1it", batch_size=60)
    population = Population(lambda: models.build(name), states, {}, spec)
    run = Training(population, data.load("digits", shape=network.input_shape), spec, range(replicates))
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert run.crew() == crew


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
        results.append(run.population.states["fc1.weight"].clone())
    assert torch.equal(*results)


def test_same_seed_same_run_other_seed_other_run(digits):  # pitfall: unseeded-randomness
    runs = [training(digits, seed=seed) for seed in (0, 0, 1)]
    for run in runs:
        run.run()
    weights = [run.population.states["fc2.weight"] for run in runs]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_training_runs_to_its_end_and_evaluates_where_it_should(digits):  # pitfall: patience-for-argmin
    run = training(digits, spec=TrainSpec(duration="45it", evaluate_every="20it"))
    run.run()
    assert run.record.points == [0, 20, 40, 45] and run.record.step == [45]
    assert not run.record.history[0, 1:].isnan().any() and math.isnan(run.record.history[0, 0, 0])


# pitfalls: swapped-splits, patience-for-argmin, best-on-test
def test_early_stop_is_the_first_minimum_of_validation_loss_and_blind_to_test_data(digits):
    rng = torch.Generator().manual_seed(0)
    poisoned = {**digits.labels, "test": torch.randint(0, 10, (360,), generator=rng)}
    other = DataSet(digits.name, digits.images, poisoned, digits.classes, digits.scale, digits.shift, "poisoned")
    stops = []
    for dataset in (digits, other):
        spec = TrainSpec(duration="100it", evaluate_every="10it")
        run = Training(Population(lenet, lenet_states(), {}, spec), dataset, spec, [0])
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
    return pd.DataFrame([about | row for row in run.record.rows(0)])


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
    states = lenet_states(3)
    states["fc1.weight"][1, 0, 0] = math.nan
    run = Training(Population(lenet, states, {}, spec), digits, spec, [0, 1, 2])
    run.run()
    assert run.record.diverged == [-1, 0, -1] and run.record.step == [30, 0, 30]
    alone = Training(Population(lenet, {n: s[[0, 2]] for n, s in states.items()}, {}, spec), digits, spec, [0, 2])
    alone.run()
    assert torch.equal(run.population.states["fc1.weight"][0], alone.population.states["fc1.weight"][0])


@pytest.mark.usefixtures("kernel_threads")
def test_an_interrupt_saves_and_the_rest_gives_the_same_run(digits):
    whole = training(digits, 3, snapshot_at=15)
    whole.run()
    saved = {}

    def interrupt(left):
        if left < 3 * 40 - 30:
            raise KeyboardInterrupt

    broken = training(digits, 3, snapshot_at=15)
    with pytest.raises(KeyboardInterrupt):
        broken.run(save=lambda tensors: saved.update({k: v.clone() for k, v in tensors.items()}), progress=interrupt)
    resumed = training(digits, 3, snapshot_at=15)
    resumed.load(saved)
    assert 0 < resumed.steps_left() < 120
    resumed.run()
    mine, theirs = resumed.tensors(), whole.tensors()
    for name in theirs:
        assert torch.equal(mine[name].nan_to_num(), theirs[name].nan_to_num()), name


def test_resume_brings_its_masks(digits):  # a resume that keeps other masks than the checkpoint's is a known trap
    run = training(digits, 1, density=0.3)
    saved = {name: tensor.clone() for name, tensor in run.tensors().items()}
    other = training(digits, 1, density=0.9)
    other.load(saved)
    assert masks.counts(other.population.masks) == masks.counts(run.population.masks)
    other.run()
    dead = ~run.population.masks["fc1.weight"]
    assert not other.population.states["fc1.weight"][dead].any()


def test_the_optimiser_holds_the_networks_own_tensors(digits):  # pitfall: optimiser-of-old-tensors
    run = training(digits, 2)
    run.load({name: tensor.clone() for name, tensor in run.tensors().items()})
    run.population.set_masks(random_masks(lenet_states(2), 0.2, seed=1))
    for n, network in enumerate(run.population.models):
        held = {tensor.data_ptr() for tensor in run.population._arguments[n]}
        for name, parameter in network.named_parameters():
            assert parameter.data_ptr() == run.population.states[name][n].data_ptr() and parameter.data_ptr() in held


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
    """Any module trains: buffers are kept per replicate, dropout is drawn from the replicate's seed and step."""
    spec = TrainSpec(duration="12it", evaluate_every="6it", optimizer="sgd", lr=0.05)
    state = {name: torch.stack([v, v]) for name, v in Noisy().state_dict().items()}
    both = Training(Population(Noisy, state, {}, spec), digits, spec, [0, 1])
    both.run()
    assert both._draws and not training(digits)._draws
    one = Training(Population(Noisy, {n: s[1:] for n, s in state.items()}, {}, spec), digits, spec, [1])
    one.run()
    for name in state:
        assert torch.allclose(both.population.states[name][1], one.population.states[name][0], atol=1e-4), name
        assert name.endswith("tracked") or not torch.equal(
            both.population.states[name][0], both.population.states[name][1]
        )


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
    run = Training(Population(frozen, lenet_states(), {}, spec), digits, spec, [0])
    run.run()
    assert torch.equal(run.population.states["fc1.weight"], lenet_states()["fc1.weight"])
    assert not torch.equal(run.population.states["fc2.weight"], lenet_states()["fc2.weight"])
    with pytest.raises(ValueError, match="ties parameters"):
        Population(Tied, {name: state[None] for name, state in Tied().state_dict().items()}, {}, spec)


def test_an_error_in_a_worker_is_raised_and_saves_nothing_half_done(digits, monkeypatch):
    run, saved = training(digits, 2), []
    original = run.population.step

    def fail(index, inputs, labels, lr):
        result = original(index, inputs, labels, lr)
        if run.record.step[index] == 7:
            raise MemoryError("no room")
        return result

    monkeypatch.setattr(run.population, "step", fail)
    with pytest.raises(MemoryError, match="no room"):
        run.run(save=saved.append)
    assert not saved


def test_divergence_is_told_at_once_and_seen_in_evaluations_too(digits):
    spec = TrainSpec(optimizer="sgd", lr=1000, duration="1it")
    states = lenet_states()
    states["fc3.weight"] *= 1e20  # a finite loss, and a step that overflows
    run = Training(Population(lenet, states, {}, spec), digits, spec, [0])
    told = []
    run.run(on_divergence=lambda replicate, step: told.append((replicate, step)))
    assert run.record.diverged == [1] and told == [(0, 1)]


def test_what_does_not_fit_is_refused(digits):
    states = lenet_states()
    spec = TrainSpec(duration="5it")
    with pytest.raises(ValueError, match="mask of fc1.weight must be bool"):
        Population(lenet, states, {"fc1.weight": torch.ones(3)}, spec)
    with pytest.raises(ValueError, match="unknown masked parameter 'fc1.weigth': did you mean 'fc1.weight'"):
        Population(lenet, states, {"fc1.weigth": torch.ones(3)}, spec)
    with pytest.raises(ValueError, match="fc1.weight has shape"):
        Population(lenet, {**states, "fc1.weight": torch.ones(1, 3, 784)}, {}, spec)
    with pytest.raises(ValueError, match=r"unknown optimizer 'adm': did you mean 'adam'"):
        Population(lenet, states, {}, TrainSpec(optimizer="adm"))
    with pytest.raises(ValueError, match="as many seeds"):
        Training(Population(lenet, states, {}, spec), digits, spec, [0, 1])
