"""Masks that change while a population trains."""

import dataclasses
import math

import pytest
import torch

import labkit as lk
from labkit.ground.steps import Clock
from labkit.runs import computing, revisions
from labkit.runs.experiment import Experiment
from labkit.runs.run import Start
from labkit.sparsity.masks import counts
from labkit.sparsity.methods import METHODS
from labkit.studies.sparse_training import initial_masks
from labkit.training.mask_updates import Dynamics, moments
from labkit.training.optimizers import momentum
from labkit.training.population import Population
from tests.conftest import lenet, lenet_states, random_masks

SGD = lk.TrainSpec(optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4, duration="60it", evaluate_every="30it")
CHANGING = [name for name, method in METHODS.items() if method.masks in ("pruned", "moving")]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path))
    monkeypatch.setenv("LABKIT_PROGRESS", "off")
    return tmp_path


def spec(method="rigl", train=SGD, **changes):
    given = {"density": 0.2, "every": "10it", "allocation": "erk", **changes}
    return lk.SparseSpec(train=train, topology=lk.TopologySpec(method=method, **given), data=lk.DataSpec(train=600))


def training(method="rigl", seeds=(0, 1), **changes):
    experiment = Experiment(spec(method, **changes))
    replicates = [(seed, 0) for seed in seeds]
    masks = initial_masks(experiment.spec.topology, experiment.shapes, seeds)
    start = Start(experiment.initial(replicates, "init"), masks, replicates)
    return computing.training(experiment, start, 0)


def test_updates_come_at_the_exact_steps_and_the_drop_fraction_ends_at_zero():  # pitfall: update-steps-off-by-one
    assert moments(every=100, begin=0, until=450) == [99, 199, 299, 399]
    assert moments(every=4, begin=5, until=16) == [7, 11, 15] and moments(every=10, begin=0, until=9) == []
    dynamics = Dynamics(lk.TopologySpec(every="10it", until="0.75run", rate=0.3), Clock(epoch=20.0, run=80))
    assert dynamics.moments == [9, 19, 29, 39, 49, 59]
    assert dynamics.drop_fraction(0) == 0.3 and dynamics.drop_fraction(30) == pytest.approx(0.15)
    assert dynamics.drop_fraction(60) == dynamics.drop_fraction(79) == 0.0
    with pytest.raises(ValueError, match="do not fit 80 iterations"):
        Dynamics(lk.TopologySpec(until="100it"), Clock(epoch=20.0, run=80))


def test_longer_training_scales_the_schedule_but_not_every():  # pitfall: longer-is-more-than-epochs
    base = lk.SparseSpec(
        train=lk.TrainSpec(duration="100ep", lr_drops=["30000it", "0.5run"], lr_warmup="5ep"),
        topology=lk.TopologySpec(until="65918it", every="100it"),
    )
    table = {times: lk.longer(base, times) for times in (1, 2, 3)}
    assert [table[k].train.duration for k in table] == ["100ep", "200ep", "300ep"]
    assert [table[k].train.lr_drops for k in table] == [
        ("30000it", "0.5run"), ("60000it", "0.5run"), ("90000it", "0.5run"),
    ]  # fmt: skip
    assert [table[k].topology.until for k in table] == ["65918it", "131836it", "197754it"]
    assert {table[k].topology.every for k in table} == {"100it"} and table[1] == base
    with pytest.raises(ValueError, match="times is 0"):
        lk.longer(base, 0)


@pytest.mark.parametrize("method", CHANGING)
@pytest.mark.usefixtures("kernel_threads")
# pitfalls: old-values-grow-back, share-of-what, momentum-of-inactive-weights
def test_the_suite_that_every_method_passes(method):
    run = training(method)
    population = run.population
    at_start = [counts({name: mask[n] for name, mask in population.masks.items()}) for n in range(2)]
    before = {name: mask.clone() for name, mask in population.masks.items()}
    run.run()
    row = METHODS[method]
    for n in range(2):
        now = counts({name: mask[n] for name, mask in population.masks.items()})
        size = sum(mask[n].numel() for mask in population.masks.values())
        if method == "gradual":
            assert sum(now.values()) == round(0.2 * size) and run.record.kept[n].sum(1).diff().le(0).all()
        else:
            assert run.record.kept[n].sum(1).unique().tolist() == [sum(at_start[n].values())] == [round(0.2 * size)]
            assert row.redistribute != "none" or now == at_start[n]
    assert run.record.kept.shape[1] == 5
    assert any(not torch.equal(mask, before[name]) for name, mask in population.masks.items()), "masks moved"
    for name, mask in population.masks.items():
        assert not population.states[name][~mask].any(), "masked weights are exactly zero"
        buffer = population.slots["momentum_buffer"][name]
        dense = row.dense_momentum
        assert bool(buffer[~mask].any()) == (dense and not mask.all()), (
            "momentum of inactive weights: kept by SNFS alone"
        )
    assert not torch.equal(population.masks["fc1.weight"][0], population.masks["fc1.weight"][1])


@pytest.mark.parametrize("method", ["rigl", "snfs", "gradual"])
def test_an_update_takes_the_place_of_the_optimiser_step(method):  # pitfall: instead-of-or-after-the-step
    run = training(method)
    population = run.population
    for step in range(9):
        population.step(0, *run.batch(0, step), 0.05)
    before = {name: tensor.clone() for name, tensor in population.tensors().items()}
    run.dynamics.update(population, 0, 9, run.batch(0, 9), 0)
    after = population.tensors()
    for name, mask in population.masks.items():
        stayed = mask[0] & before[f"mask/{name}"][0] & (after[f"state/{name}"][0] != 0)
        assert torch.equal(after[f"state/{name}"][0][stayed], before[f"state/{name}"][0][stayed])
    for name in ("fc1.bias", "fc3.bias"):
        assert torch.equal(after[f"state/{name}"], before[f"state/{name}"])
    assert not torch.equal(after["mask/fc1.weight"][0], before["mask/fc1.weight"][0])


@pytest.mark.parametrize("reset", [True, False])
# pitfalls: old-values-grow-back, dropped-and-grown-again
def test_grown_weights_start_at_zero_whatever_lay_there(reset):
    states = lenet_states()
    population = Population(lenet, states, random_masks(states, 0.3), SGD, dynamic=True)
    mask = population.masks["fc1.weight"][0].clone()
    population.states["fc1.weight"][0][~mask] = 7.0  # stale
    population.slots["momentum_buffer"]["fc1.weight"][0] = 5.0
    active, inactive = mask.nonzero(), (~mask).nonzero()
    regrown, grown, dropped = torch.zeros_like(mask), torch.zeros_like(mask), torch.zeros_like(mask)
    regrown[tuple(active[0])] = grown[tuple(inactive[0])] = dropped[tuple(active[1])] = True
    population.rewire(0, {"fc1.weight": (mask & ~regrown & ~dropped, regrown | grown)}, reset_regrown=reset)
    weight, buffer = population.states["fc1.weight"][0], population.slots["momentum_buffer"]["fc1.weight"][0]
    assert weight[tuple(inactive[0])] == 0 == buffer[tuple(inactive[0])]
    assert not weight[dropped].any() and not buffer[dropped].any()
    assert bool(weight[regrown].any()) == bool(buffer[regrown].any()) == (not reset)
    assert torch.equal(population.masks["fc1.weight"][0], (mask & ~dropped) | grown)
    assert not weight[~population.masks["fc1.weight"][0]].any()
    inputs = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    population.step(0, inputs, torch.arange(20) % 10, 0.05)
    assert weight[tuple(inactive[0])] != 0, "and learn from the next step on"


def test_the_first_layer_is_dense_under_uniform_and_no_layer_is_emptied():  # pitfalls: masks-by-coin, dense-first-layer
    run = training("static", allocation="uniform", density=0.1)
    masks = run.population.masks
    assert set(masks) == {"fc2.weight", "fc3.weight"}
    assert counts({name: mask[0] for name, mask in masks.items()}) == {"fc2.weight": 3000, "fc3.weight": 100}
    erk = training("static", density=0.1).population.masks
    assert sum(int(mask[0].sum()) for mask in erk.values()) == round(0.1 * 266_200)


@pytest.mark.usefixtures("kernel_threads")
def test_a_dynamic_run_resumes_bit_for_bit(digits):
    whole = training("snfs")
    whole.run()
    saved = {}

    def interrupt(left):
        if left < 120 - 50:
            raise KeyboardInterrupt

    broken = training("snfs")
    with pytest.raises(KeyboardInterrupt):
        broken.run(save=lambda tensors: saved.update({k: v.clone() for k, v in tensors.items()}), progress=interrupt)
    # pitfall: masks-of-the-checkpoint
    resumed = training("snfs", density=0.3)  # other masks: those of the checkpoint must replace them
    resumed.load(saved)
    assert resumed.steps_left() > 0
    resumed.run()
    mine, theirs = resumed.tensors(), whole.tensors()
    assert [name for name in theirs if not torch.equal(mine[name].nan_to_num(), theirs[name].nan_to_num())] == []


def test_sparse_runs_are_kept_and_followed(runs):
    found = lk.train_sparse(spec("rigl_sg"), [0, 1])
    again = lk.train_sparse(spec("rigl_sg"), [0, 1])
    assert found.run.folder.path == again.run.folder.path and len(list(runs.glob("*/result.json"))) == 1
    table = found.densities()
    assert set(table["step"]) == {0, 10, 20, 30, 40} and set(table["seed"]) == {0, 1}
    assert table.groupby(["seed", "step"])["kept"].sum().unique().tolist() == [round(0.2 * 266_200)]
    assert found.test_flops() == pytest.approx(0.2, abs=1e-4), "of linear layers FLOPs are weights"
    assert found.train_flops() == pytest.approx((3 * 0.2 * 10 + 2 * 0.2 + 1) / 11 / 3, abs=1e-4)
    assert found.train_flops(iterations=30) == pytest.approx(2 * found.train_flops())
    assert repr(found) == "SparseRun(rigl_sg, density 0.2, seeds [0, 1])"


def test_a_run_can_begin_with_the_final_masks_of_another(runs):
    pruned = lk.train_sparse(spec("gradual"), [0, 1])
    lottery = lk.train_sparse(spec("static"), [0, 1], masks_of=pruned)
    for name, mask in pruned.final_masks().items():
        assert torch.equal(mask, lottery.final_masks()[name])
    assert lottery.run.start()[0]["fc1.bias"].shape[0] == 2
    own = pruned.train_flops()
    assert 0.2 < own < 1 and lottery.train_flops() == pytest.approx(own + 0.2, abs=1e-3), "both runs count"
    assert lottery.run.folder.hash != lk.train_sparse(spec("static"), [0, 1]).run.folder.hash
    with pytest.raises(ValueError, match="of another network or other seeds"):
        lk.train_sparse(spec("static"), [2], masks_of=pruned)
    with pytest.raises(ValueError, match='is "static" or dynamic'):
        lk.train_sparse(spec("dense"), [0], masks_of=pruned)


def test_dense_and_small_dense_networks():
    full = spec("rigl", train=SGD)
    small = lk.small_dense(lk.SparseSpec(model="resnet20", train=SGD), 0.2)
    size = [sum(p.numel() for p in Experiment(one).model().parameters()) for one in (small, lk.SparseSpec("resnet20"))]
    assert size[0] == pytest.approx(0.2 * size[1], rel=0.06) and small.topology.method == "dense"
    with pytest.raises(ValueError, match="unknown option of model 'lenet_300_100' 'width'"):
        lk.small_dense(full, 0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "rigll"}, "did you mean 'rigl'"),
        ({"density": 30}, "if 30 percent is meant"),
        ({"allocation": "kernel"}, "unknown allocation"),
        ({"rate": 1.0}, "rate is 1"),
        ({"every": "0it"}, "every is '0it'"),
        ({"regrow": 1}, "regrow is 1"),
    ],
)
def test_bad_topologies_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        lk.TopologySpec(**changes)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ({"method": "rigl", "every": "100it"}, "rigl changes masks every 100it, and no such moment lies from 0it to"),
        ({"method": "gradual", "every": "100it"}, "gradual changes masks every 100it, and no such moment"),
        ({"method": "gradual", "begin": "40it", "every": "30it"}, "from 40it to 0.75run of 60 iterations"),
        ({"method": "static", "density": 1e-7}, "density|at least"),
    ],
)
def test_masks_that_would_not_be_what_is_asked_for_are_refused_before_any_folder(topology, message, runs):
    with pytest.raises(ValueError, match=message):
        lk.train_sparse(lk.SparseSpec(train={"duration": "60it"}, topology=topology), [0])
    assert not list(runs.glob("*")) if runs.exists() else True


def test_one_update_is_enough_for_methods_that_do_not_prune(runs):
    topology = {"method": "rigl", "every": "10it", "until": "11it", "density": 0.2}
    run = lk.train_sparse(lk.SparseSpec(train={"duration": "12it", "evaluate_every": "12it"}, topology=topology), [0])
    assert run.densities()["step"].unique().tolist() == [0, 10]


def test_a_network_of_one_layer_has_no_uniform_masks(runs, tmp_path, monkeypatch):
    (tmp_path / "single.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    input_shape = (1, 8, 8)\n"
        "    def __init__(self, classes=10):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = lk.SparseSpec("single:Net", train={"duration": "8it"}, topology={"method": "static", "density": 0.1})
    with pytest.raises(ValueError, match="'uniform' leaves the first layer dense, and the network has no other"):
        lk.train_sparse(spec, [0])


def test_rigl_with_adam_grows_and_momentum_methods_need_momentum():
    run = training("rigl", train=lk.TrainSpec(duration="30it", evaluate_every="30it"))
    run.run()
    assert run.record.diverged == [-1, -1] and math.isfinite(float(run.record.history[0, -1, 0]))
    for method in ("rigl_sm", "snfs"):
        with pytest.raises(ValueError, match="needs a momentum"):
            spec(method, train=lk.TrainSpec(optimizer="sgd", lr=0.05))


def test_under_adam_momentum_is_its_mean_over_its_root_mean_square():
    spec = lk.TrainSpec(lr=1e-3)
    states = lenet_states(2)
    population = Population(lenet, states, {}, spec)
    weights = {name: torch.nn.Parameter(state[1].clone()) for name, state in states.items()}
    plain = torch.optim.Adam(weights.values(), lr=1e-3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        inputs, labels = torch.rand(20, 1, 28, 28, generator=rng), torch.arange(20) % 10
        population.step(1, inputs, labels, 1e-3)
        plain.zero_grad()
        logits = torch.func.functional_call(lenet(), weights, (inputs,))
        torch.nn.functional.cross_entropy(logits, labels).backward()
        plain.step()
    found = momentum(population.slots, 1)
    assert list(found) == population.parameters
    for name, weight in weights.items():
        kept = plain.state[weight]
        expected = kept["exp_avg"] / (kept["exp_avg_sq"].sqrt() + 1e-8)  # no bias correction
        close = torch.isclose(found[name], expected, rtol=1e-2, atol=1e-3).float().mean()
        assert close > 0.99, (name, float(close))  # a ratio of two gradients that are nearly zero is mostly rounding
    assert not any(tensor.any() for tensor in momentum(population.slots, 0).values()), "no step yet: 0, not NaN"


def test_growth_by_momentum_looks_at_sgd_s_buffer_or_adam_s_ratio(monkeypatch):
    seen = {}
    for name, train in (("sgd", SGD), ("adam", dataclasses.replace(SGD, optimizer="adam", momentum=0.0, lr=1e-3))):
        run = training("snfs", train=train)
        for step in range(9):
            run.population.step(0, *run.batch(0, step), train.lr)

        def look(
            method, fraction, weights, masks, gradients, momenta, rng, *, regrow, name=name, slots=run.population.slots
        ):
            seen[name] = slots, {key: value.clone() for key, value in momenta.items()}
            return {}

        monkeypatch.setattr("labkit.sparsity.topology.update", look)
        run.dynamics.update(run.population, 0, 9, run.batch(0, 9), 0)
    slots, momenta = seen["sgd"]
    assert torch.equal(momenta["fc1.weight"], slots["momentum_buffer"]["fc1.weight"][0])
    slots, momenta = seen["adam"]
    mean, square = (slots[key]["fc1.weight"][0] for key in ("exp_avg", "exp_avg_sq"))
    assert torch.equal(momenta["fc1.weight"], mean / (square.sqrt() + 1e-8))
    assert 0.1 < float(momenta["fc1.weight"].abs().max()) < 10, "of order one; the mean alone is of the gradient's"


def test_only_runs_that_look_at_adam_s_momentum_are_revised():
    adam = lk.TrainSpec(lr=1e-3)
    revised = {
        (method, train.optimizer): revisions.of_branch(spec(method, train=train), method)
        for method in CHANGING
        for train in (SGD, adam)
    }
    assert [key for key, reasons in revised.items() if reasons] == [("snfs", "adam"), ("rigl_sm", "adam")]


@pytest.mark.parametrize("unread", [1, 500])
@pytest.mark.parametrize("method", ["rigl", "rigl_sm", "gradual"])
def test_a_network_that_diverges_at_an_update_stops_alone(method, unread, monkeypatch):
    """A weight of one replicate is lost in the step before an update; losses may wait to be read, as on a GPU."""
    monkeypatch.setattr("labkit.training.loop.UNREAD_STEPS", {"cpu": unread})
    run = training(method)
    step = run.population.step

    def lose(index, inputs, labels, lr):
        result = step(index, inputs, labels, lr)
        if index == 1 and run.record.step[1] == 8:  # the next is an update
            run.population.states["fc1.bias"][1] = float("nan")
        return result

    monkeypatch.setattr(run.population, "step", lose)
    run.run()
    assert run.record.diverged == [-1, 9] and run.record.step == [60, 9]


def test_without_a_validation_set_all_images_train(runs):
    spec = lk.SparseSpec(
        data=lk.DataSpec("digits", validation=0),
        train=dataclasses.replace(SGD, duration="20it"),
        topology={"every": "5it"},
    )
    found = lk.train_sparse(spec, [0], root=runs)
    assert [found.experiment.data.size(split) for split in ("train", "validation", "test")] == [1437, 0, 360]
    table = found.metrics()
    assert table["validation_loss"].isna().all() and not table["diverged"].any()
    assert table["test_accuracy"].between(0, 1).all()
