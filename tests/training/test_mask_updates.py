"""Masks that change while networks train."""

import dataclasses
import math

import pytest
import torch

import labkit as lk
from labkit.ground.steps import Clock
from labkit.runs.experiment import Experiment
from labkit.runs.store import Store
from labkit.sparsity.masks import counts
from labkit.sparsity.methods import METHODS
from labkit.studies.sparse_training import sparse_run
from labkit.training.engines.network import Network
from labkit.training.mask_updates import Dynamics, moments
from labkit.training.optimizers import momentum
from tests.conftest import lenet, lenet_states, random_masks
from tests.trainings import Together, unstacked

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
    states, masks = zip(*(sparse_run(experiment, seed).make_start(Store()) for seed in seeds), strict=True)
    return Together(
        experiment.model, states, masks, experiment.data, experiment.spec.train, seeds, dynamics=experiment.dynamics
    )


def mask_update(run, step):
    """The update of the first network at a step, which stands just before it."""
    run.engine._slots[0].step = run.record().step = step
    run.trainings[0]._update(run.dynamics.due(step))


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
    networks = [run.network(n) for n in range(2)]
    at_start = [counts(network.masks) for network in networks]
    before = [{name: mask.clone() for name, mask in network.masks.items()} for network in networks]
    run.run()
    row = METHODS[method]
    for n, network in enumerate(networks):
        now, kept = counts(network.masks), run.record(n).kept
        size = sum(mask.numel() for mask in network.masks.values())
        if method == "gradual":
            assert sum(now.values()) == round(0.2 * size) and kept.sum(1).diff().le(0).all()
        else:
            assert kept.sum(1).unique().tolist() == [sum(at_start[n].values())] == [round(0.2 * size)]
            assert row.redistribute != "none" or now == at_start[n]
        assert kept.shape[0] == 5 and kept[-1].tolist() == list(now.values())
        assert any(not torch.equal(mask, before[n][name]) for name, mask in network.masks.items()), "masks moved"
        for name, mask in network.masks.items():
            assert not network.state[name][~mask].any(), "masked weights are exactly zero"
            buffer = network.slots["momentum_buffer"][name]
            dense = row.dense_momentum
            assert bool(buffer[~mask].any()) == (dense and not mask.all()), (
                "momentum of inactive weights: kept by SNFS alone"
            )
    assert not torch.equal(*(network.masks["fc1.weight"] for network in networks))


@pytest.mark.parametrize("method", ["rigl", "snfs", "gradual"])
def test_an_update_takes_the_place_of_the_optimiser_step(method):  # pitfall: instead-of-or-after-the-step
    run = training(method)
    network = run.network()
    for step in range(9):
        network.step(*run.batch(0, step), 0.05)
    before = {name: tensor.clone() for name, tensor in network.tensors().items()}
    mask_update(run, 9)
    after = network.tensors()
    for name, mask in network.masks.items():
        stayed = mask & before[f"mask/{name}"] & (after[f"state/{name}"] != 0)
        assert torch.equal(after[f"state/{name}"][stayed], before[f"state/{name}"][stayed])
    for name in ("fc1.bias", "fc3.bias"):
        assert torch.equal(after[f"state/{name}"], before[f"state/{name}"])
    assert not torch.equal(after["mask/fc1.weight"], before["mask/fc1.weight"])


@pytest.mark.parametrize("reset", [True, False])
# pitfalls: old-values-grow-back, dropped-and-grown-again
def test_grown_weights_start_at_zero_whatever_lay_there(reset):
    (state,) = unstacked(lenet_states())
    network = Network(lenet(), state, random_masks(state, 0.3), SGD, dynamic=True)
    mask = network.masks["fc1.weight"].clone()
    network.state["fc1.weight"][~mask] = 7.0  # stale
    network.slots["momentum_buffer"]["fc1.weight"][:] = 5.0
    active, inactive = mask.nonzero(), (~mask).nonzero()
    regrown, grown, dropped = torch.zeros_like(mask), torch.zeros_like(mask), torch.zeros_like(mask)
    regrown[tuple(active[0])] = grown[tuple(inactive[0])] = dropped[tuple(active[1])] = True
    network.rewire({"fc1.weight": (mask & ~regrown & ~dropped, regrown | grown)}, reset_regrown=reset)
    weight, buffer = network.state["fc1.weight"], network.slots["momentum_buffer"]["fc1.weight"]
    assert weight[tuple(inactive[0])] == 0 == buffer[tuple(inactive[0])]
    assert not weight[dropped].any() and not buffer[dropped].any()
    assert bool(weight[regrown].any()) == bool(buffer[regrown].any()) == (not reset)
    assert torch.equal(network.masks["fc1.weight"], (mask & ~dropped) | grown)
    assert not weight[~network.masks["fc1.weight"]].any()
    inputs = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    network.step(inputs, torch.arange(20) % 10, 0.05)
    assert weight[tuple(inactive[0])] != 0, "and learn from the next step on"


def test_the_first_layer_is_dense_under_uniform_and_no_layer_is_emptied():  # pitfalls: masks-by-coin, dense-first-layer
    masks = training("static", allocation="uniform", density=0.1).network().masks
    assert set(masks) == {"fc2.weight", "fc3.weight"}
    assert counts(masks) == {"fc2.weight": 3000, "fc3.weight": 100}
    erk = training("static", density=0.1).network().masks
    assert sum(int(mask.sum()) for mask in erk.values()) == round(0.1 * 266_200)


@pytest.mark.usefixtures("kernel_threads")
def test_a_dynamic_run_resumes_bit_for_bit(digits):
    whole = training("snfs")
    whole.run()
    broken = training("snfs")

    def interrupt():
        if sum(broken.record(n).step for n in range(2)) > 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    saved = broken.tensors()
    # pitfall: masks-of-the-checkpoint
    resumed = training("snfs", density=0.3)  # other masks: those of the checkpoint must replace them
    resumed.load(saved)
    assert sum(60 - resumed.record(n).step for n in range(2)) > 0
    resumed.run()
    for mine, theirs in zip(resumed.tensors(), whole.tensors(), strict=True):
        assert mine.keys() == theirs.keys()
        assert [name for name in theirs if not torch.equal(mine[name].nan_to_num(), theirs[name].nan_to_num())] == []


def test_masks_move_alike_whatever_the_order_in_which_layers_come(digits):
    """Files sort names; what grows at random is drawn layer by layer."""
    from labkit.training.engines.network import Network

    states, drawn = lenet_states(1), random_masks(lenet_states(1), 0.3)
    state, masks = ({name: stack[0] for name, stack in tree.items()} for tree in (states, drawn))
    one, other = (
        Network(lenet(), dict(order(state.items())), dict(order(masks.items())), SGD, dynamic=True)
        for order in (list, lambda items: reversed(list(items)))
    )
    assert list(one.masks) == list(other.masks) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert list(one.tensors()) == list(other.tensors())


def test_sparse_runs_are_kept_and_followed(runs):
    found = lk.train_sparse(spec("rigl_sg"), [0, 1])
    again = lk.train_sparse(spec("rigl_sg"), [0, 1])
    assert found.networks.hashes == again.networks.hashes and len(list(runs.glob("*/run.safetensors"))) == 2
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
    assert lottery.networks.start()[0]["fc1.bias"].shape[0] == 2
    own = pruned.train_flops()
    assert 0.2 < own < 1 and lottery.train_flops() == pytest.approx(own + 0.2, abs=1e-3), "both runs count"
    drawn = lk.train_sparse(spec("static"), [0, 1])
    assert not set(lottery.networks.hashes) & set(drawn.networks.hashes)
    with pytest.raises(ValueError, match="of another network or other seeds"):
        lk.train_sparse(spec("static"), [2], masks_of=pruned)
    with pytest.raises(ValueError, match='is "static" or dynamic'):
        lk.train_sparse(spec("dense"), [0], masks_of=pruned)
    several = {"a": spec("static"), "b": spec("gradual")}
    by_key = lk.train_sparse(several, [0, 1], masks_of={"a": "b"})["a"]
    by_run = lk.train_sparse(several, [0, 1], masks_of={"a": pruned})["a"]
    assert by_key.networks.hashes == by_run.networks.hashes == lottery.networks.hashes
    assert by_key.prior == by_run.prior == lottery.prior
    for wrong in ({"c": "b"}, {"a": "a"}, {"a": "c"}, {"a": None}, pruned):
        with pytest.raises(ValueError, match="masks_of"):
            lk.train_sparse(several, [0, 1], masks_of=wrong)


def test_masks_of_networks_that_diverged_start_nothing(runs):
    with pytest.warns(UserWarning, match="loss was not finite"):
        wild = lk.train_sparse(spec("gradual", train=dataclasses.replace(SGD, lr=1000)), [0, 1])
    with pytest.raises(RuntimeError, match="no network could start: .*seed 0.*diverged"):
        lk.train_sparse(spec("static"), [0, 1], masks_of=wild)
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="no network of lottery could start"):
        lk.train_sparse({"wild": wild.spec, "lottery": spec("static")}, [0, 1], masks_of={"lottery": "wild"})


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
    assert [run.record(n).diverged for n in range(2)] == [-1, -1] and math.isfinite(float(run.history()[-1, 0]))
    for method in ("rigl_sm", "snfs"):
        with pytest.raises(ValueError, match="needs a momentum"):
            spec(method, train=lk.TrainSpec(optimizer="sgd", lr=0.05))


def test_under_adam_momentum_is_its_mean_over_its_root_mean_square():
    spec = lk.TrainSpec(lr=1e-3)
    networks = [Network(lenet(), state, {}, spec) for state in unstacked(lenet_states(2))]
    weights = {name: torch.nn.Parameter(state.clone()) for name, state in networks[1].state.items()}
    plain = torch.optim.Adam(weights.values(), lr=1e-3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        inputs, labels = torch.rand(20, 1, 28, 28, generator=rng), torch.arange(20) % 10
        networks[1].step(inputs, labels, 1e-3)
        plain.zero_grad()
        logits = torch.func.functional_call(lenet(), weights, (inputs,))
        torch.nn.functional.cross_entropy(logits, labels).backward()
        plain.step()
    found = momentum(networks[1].slots)
    assert list(found) == networks[1].parameters
    for name, weight in weights.items():
        kept = plain.state[weight]
        expected = kept["exp_avg"] / (kept["exp_avg_sq"].sqrt() + 1e-8)  # no bias correction
        close = torch.isclose(found[name], expected, rtol=1e-2, atol=1e-3).float().mean()
        assert close > 0.99, (name, float(close))  # a ratio of two gradients that are nearly zero is mostly rounding
    assert not any(tensor.any() for tensor in momentum(networks[0].slots).values()), "no step yet: 0, not NaN"


def test_growth_by_momentum_looks_at_sgd_s_buffer_or_adam_s_ratio(monkeypatch):
    seen = {}
    for name, train in (("sgd", SGD), ("adam", dataclasses.replace(SGD, optimizer="adam", momentum=0.0, lr=1e-3))):
        run = training("snfs", train=train)
        for step in range(9):
            run.network().step(*run.batch(0, step), train.lr)
        slots = run.network().slots

        def look(method, fraction, weights, masks, gradients, momenta, rng, *, regrow, name=name, slots=slots):
            seen[name] = slots, {key: value.clone() for key, value in momenta.items()}
            return {}

        monkeypatch.setattr("labkit.sparsity.topology.update", look)
        mask_update(run, 9)
    slots, momenta = seen["sgd"]
    assert torch.equal(momenta["fc1.weight"], slots["momentum_buffer"]["fc1.weight"])
    slots, momenta = seen["adam"]
    mean, square = (slots[key]["fc1.weight"] for key in ("exp_avg", "exp_avg_sq"))
    assert torch.equal(momenta["fc1.weight"], mean / (square.sqrt() + 1e-8))
    assert 0.1 < float(momenta["fc1.weight"].abs().max()) < 10, "of order one; the mean alone is of the gradient's"


@pytest.mark.parametrize("unread", [1, 500])
@pytest.mark.parametrize("method", ["rigl", "rigl_sm", "gradual"])
def test_a_network_that_diverges_at_an_update_stops_alone(method, unread, monkeypatch):
    """A weight of one network is lost in the step before an update; losses may wait to be read, as on a GPU."""
    monkeypatch.setattr("labkit.training.engines.stepping.UNREAD_STEPS", {"cpu": unread})
    run = training(method)
    network = run.network(1)
    step, masks = network.step, {name: mask.clone() for name, mask in network.masks.items()}

    def lose(inputs, labels, lr):
        result = step(inputs, labels, lr)
        if run.engine._slots[1].step == 8:  # the next is an update
            network.state["fc1.bias"][:] = float("nan")
        return result

    monkeypatch.setattr(network, "step", lose)
    run.run()
    assert [run.record(n).diverged for n in range(2)] == [-1, 9]
    assert [run.record(n).step for n in range(2)] == [60, 9]
    assert all(torch.equal(mask, masks[name]) for name, mask in network.masks.items()), "it stays as it is"


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
