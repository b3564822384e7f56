"""Devices and precisions; where there is a GPU, that it computes what the CPU does."""

import warnings

import pytest
import torch
from torch import nn

import labkit as lk
from labkit import data, models
from labkit.data import BatchOrder
from labkit.ground.device import PRECISIONS, device, precision
from labkit.specs.networks import TrainSpec
from labkit.training.engines.network import Network
from tests.conftest import lenet, lenet_states
from tests.pretend_gpu import GPU, pretended
from tests.trainings import Together, stacked_states, unstacked

CPU = torch.device("cpu")
# Options, image shape, learning rate. Through batch norm differences in rounding grow: at a rate of 0.01 the losses of
# this VGG-19 with one and with two kernel threads are 1e-6 apart at first, 1e-3 after a step. So these step lightly.
FAMILIES = {
    "lenet_300_100": ({}, (1, 28, 28), 0.01),
    "conv_2": ({"width": 0.25}, (3, 32, 32), 0.01),
    "resnet20": ({"width": 0.5}, (3, 32, 32), 1e-4),
    "vgg19": ({"width": 0.125}, (3, 32, 32), 1e-5),
}


def training(name, options, shape, where, spec, seeds=(0, 1)):
    states = stacked_states(name, options, "glorot_normal", seeds)
    wanted = models.prunable(models.build(name, options))
    rng = torch.Generator().manual_seed(0)
    masks = {layer: torch.rand(states[layer].shape, generator=rng) < 0.5 for layer in wanted}
    return Together(
        lambda: models.build(name, options), unstacked(states), unstacked(masks), data.load("digits", shape=shape),
        spec, list(seeds), where,
    )  # fmt: skip


def dense(count, spec, digits):
    """LeNets without masks."""
    return Together(lenet, unstacked(lenet_states(count)), [{}] * count, digits, spec, list(range(count)))


def histories(run):
    return torch.stack([run.history(n) for n in range(len(run.seeds))])


def test_the_device_is_chosen_by_the_environment_and_checked(monkeypatch):
    monkeypatch.setenv("LABKIT_DEVICE", "cpu")
    assert device() == CPU
    monkeypatch.delenv("LABKIT_DEVICE")
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name, message in (("gpu", "unknown device"), ("cpu:1", "LABKIT_DEVICE is 'cpu:1'"), ("cuda:x", "cuda:x")):
        monkeypatch.setenv("LABKIT_DEVICE", name)
        with pytest.raises(ValueError, match=message):
            device()
    monkeypatch.setenv("LABKIT_DEVICE", "cuda:99")
    with pytest.raises(RuntimeError, match="PyTorch sees"):
        device()


def test_pytorch_set_so_that_nothing_would_train_is_told_at_once():
    try:
        torch.set_default_dtype(torch.float64)
        with pytest.raises(ValueError, match=r"default dtype is torch.float64.*set_default_dtype"):
            lk.Experiment(lk.TicketSpec())
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("meta")
        with pytest.raises(ValueError, match="default device is meta.*LABKIT_DEVICE"):
            lk.Experiment(lk.TicketSpec())
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    with pytest.raises(ValueError, match="nothing trains in torch.inference_mode"), torch.inference_mode():
        lk.Experiment(lk.TicketSpec())


def test_precision_is_set_for_a_while_and_put_back():
    before = torch.backends.cudnn.allow_tf32
    layer, inputs = nn.Linear(8, 8), torch.randn(4, 8)
    with precision("bfloat16", CPU):
        assert layer(inputs).dtype == torch.bfloat16
    with precision("tf32", CPU):
        assert torch.backends.cudnn.allow_tf32 == before, "the process's flag, and networks on a CPU are in threads"
    for name in ("tf32", "float32"):
        with warnings.catch_warnings(action="ignore"), precision(name, torch.device("cuda")):  # there may be no GPU
            assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (name == "tf32")
    assert torch.backends.cudnn.allow_tf32 == before and layer(inputs).dtype == torch.float32
    with pytest.raises(ValueError, match="unknown precision 'fp16'"), precision("fp16", CPU):
        pass
    with pytest.raises(ValueError, match="unknown precision"):
        TrainSpec(precision="bf16")


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision_trains_and_keeps_float32_weights(digits, name):
    spec = TrainSpec(duration="40it", evaluate_every="40it", batch_size=20, precision=name)
    run = dense(2, spec, digits)
    run.run()
    for n in range(2):
        assert run.network(n).captured and run.network(n).state["fc1.weight"].dtype == torch.float32
    assert histories(run)[:, -1, 2].max() < histories(run)[:, 0, 2].min(), "validation loss falls"


def test_convolutions_lie_channels_last_and_files_do_not():
    run = training("conv_2", {"width": 0.1}, (3, 32, 32), CPU, TrainSpec(duration="2it"))
    for network in (run.network(n) for n in range(2)):
        for tree in (network.state, network.slots["exp_avg"], network.masks):
            kernel = next(tensor for tensor in tree.values() if tensor.ndim == 4 and tensor.shape[1] > 1)
            assert kernel.is_contiguous(memory_format=torch.channels_last)
    run.run()
    assert [run.record(n).step for n in range(2)] == [2, 2]


def test_label_smoothing_is_that_of_torch(digits):
    spec = TrainSpec(optimizer="sgd", lr=0.1, label_smoothing=0.2, duration="1it")
    (state,) = unstacked(lenet_states())
    network = lenet()
    network.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
    inputs, labels = digits.inputs("train", slice(0, 20))
    loss, _ = Network(lenet(), state, {}, spec).step(inputs, labels, 0.1).tolist()
    targets = torch.full((20, 10), 0.02).scatter(1, labels[:, None], 0.82)
    expected = -(targets * network(inputs).detach().log_softmax(1)).sum(1).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_losses_that_wait_on_a_device_are_all_read(digits, monkeypatch):
    """Off the CPU a step's loss is read later: nothing else may change, nor the step at which a loss is not finite."""
    spec = TrainSpec(duration="25it", evaluate_every="10it", batch_size=20)

    def run(unread, lr=1.2e-3):
        monkeypatch.setattr("labkit.training.engines.stepping.UNREAD_STEPS", {"cpu": unread})
        found = dense(2, spec, digits)
        found.engine.lr = lambda step: lr if step < 13 else float("nan")
        found.run()
        return found

    at_once, later = run(1), run(7)
    for found in (at_once, later):
        assert [(found.record(n).diverged, found.record(n).step) for n in range(2)] == [(14, 14), (14, 14)]
    for n in range(2):
        mine, theirs = (found.record(n).tensors() for found in (at_once, later))
        assert all(torch.equal(mine[name].nan_to_num(), theirs[name].nan_to_num()) for name in mine)


def test_no_loss_is_lost_when_a_network_changes_hands(digits, monkeypatch):
    """Losses that wait are read before a worker gives its network back: another process may go on with it."""
    spec = TrainSpec(duration="24it", evaluate_every="12it", batch_size=20)
    found = []
    for unread, seconds in ((1, 60.0), (500, 0.0)):
        monkeypatch.setattr("labkit.training.engines.stepping.UNREAD_STEPS", {"cpu": unread})
        monkeypatch.setattr("labkit.training.loop.SLICE_SECONDS", seconds)
        run = dense(3, spec, digits)
        run.run()
        assert all(run.record(n).losses.isfinite().all() for n in range(3))
        found.append(histories(run).nan_to_num())
    assert torch.equal(*found)


def test_an_order_can_live_on_another_device():
    here, there = BatchOrder(100, 30, 0), BatchOrder(100, 30, 0, "meta")
    assert there[2].device.type == "meta" and there[4].shape == here[4].shape


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", FAMILIES)
def test_no_step_mixes_tensors_of_two_devices(name, monkeypatch):
    """On a pretended GPU, whose tensors lie in the CPU's memory, networks train as on the CPU."""
    monkeypatch.setattr(
        "labkit.training.engines.kernels._applies", lambda *_: False
    )  # batch norm of the CPU is another kernel
    options, shape, _ = FAMILIES[name]
    augment = "none" if shape[0] == 1 else "crop_flip"
    spec = TrainSpec(duration="4it", evaluate_every="2it", batch_size=32, lr=1e-3, augment=augment)
    here = training(name, options, shape, CPU, spec, seeds=(0,))
    before = {key: state.clone() for key, state in here.network().state.items()}
    here.run()
    assert all((state - before[key]).abs().max() > 1e-4 for key, state in here.network().state.items())
    with pretended():
        there = training(name, options, shape, GPU, spec, seeds=(0,))
        there.run()
        (saved,) = there.tensors()
        again = training(name, options, shape, GPU, spec, seeds=(0,))
        again.load([saved])
    assert there.network()._graph, "steps are replayed"
    assert all(tensor.device == GPU for tensor in there.network().tensors().values())
    assert torch.allclose(here.history(), there.history(), rtol=1e-4, equal_nan=True)
    for key, tensor in here.tensors()[0].items():
        assert torch.allclose(tensor.double(), saved[key].double(), rtol=1e-3, atol=2e-5, equal_nan=True), key


def test_dropout_on_a_gpu_is_drawn_from_the_seed_of_the_step():
    options, shape = {"width": 0.125, "dropout": 0.5}, (3, 32, 32)
    spec = TrainSpec(duration="3it", evaluate_every="3it", batch_size=32)
    with pretended():
        runs = [training("conv_2", options, shape, GPU, spec, seeds=(0,)) for _ in range(2)]
        for run in runs:
            run.run()
    assert torch.equal(*(run.history().nan_to_num() for run in runs))


@pytest.mark.parametrize("score", ["magnitude", "gradient", "obd", "random"])
def test_tickets_of_a_gpu_are_those_of_the_cpu(score, tmp_path, monkeypatch):
    spec = lk.TicketSpec(
        "conv_2", {"width": 0.125},
        train=TrainSpec("6it", batch_size=16, evaluate_every="3it"), rewind="2it",
        prune=lk.PruneSpec(score=score, rate=0.5, levels=1),
    )  # fmt: skip
    same_everywhere(lambda root: lk.find_tickets(spec, [0], root=root).runs[1], tmp_path, monkeypatch)


@pytest.mark.parametrize("method", ["set", "rigl", "snfs", "rigl_sm", "gradual"])
def test_masks_that_move_on_a_gpu_move_as_on_the_cpu(method, tmp_path, monkeypatch):
    spec = lk.SparseSpec(
        "conv_2", {"width": 0.125}, init="glorot_normal",
        train=TrainSpec("12it", "sgd", lr=0.01, momentum=0.9, batch_size=16, evaluate_every="6it"),
        topology=lk.TopologySpec(method, density=0.3, allocation="erk", every="3it"),
    )  # fmt: skip
    same_everywhere(lambda root: lk.train_sparse(spec, [0], root=root).networks, tmp_path, monkeypatch)


def same_everywhere(compute, tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.runs.scheduler.estimate", lambda *_: "")
    monkeypatch.setenv("LABKIT_DEVICE", "cpu")
    here = compute(tmp_path / "cpu")
    monkeypatch.setenv("LABKIT_DEVICE", "cuda:0")
    with pretended():
        there = compute(tmp_path / "gpu")
    assert here.folders[0].path != there.folders[0].path and "pretended" in there.results[0]["hardware"]
    for mine, theirs in zip((*here.start(), *here.final()), (*there.start(), *there.final()), strict=True):
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            assert torch.allclose(
                tensor.double(), theirs[key].double(), atol=0 if tensor.dtype == torch.bool else 1e-3
            ), key


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@needs_gpu
@pytest.mark.parametrize("name", FAMILIES)
def test_cpu_and_gpu_lose_alike_over_twenty_steps(name):
    options, shape, lr = FAMILIES[name]
    augment = "none" if shape[0] == 1 else "crop_flip"
    spec = TrainSpec(
        duration="20it", evaluate_every="1it", batch_size=32, optimizer="sgd", lr=lr, momentum=0.9, augment=augment
    )
    runs = [training(name, options, shape, where, spec) for where in (CPU, torch.device("cuda"))]
    for step in (0, 7, 19):  # the same batches, augmented alike
        (mine, labels), (theirs, their_labels) = (run.batch(1, step) for run in runs)
        assert torch.equal(labels, their_labels.cpu()) and torch.allclose(mine, theirs.cpu(), atol=1e-6)
    for n in range(2):
        for name_, state in runs[0].network(n).state.items():
            assert torch.equal(state, runs[1].network(n).state[name_].cpu()), name_
    for run in runs:
        run.run()
    assert torch.allclose(*(histories(run)[:, 1:, 0] for run in runs), rtol=2e-3, atol=2e-4)
    for network in (runs[1].network(n) for n in range(2)):
        for layer, mask in network.masks.items():
            assert not network.state[layer][~mask].any()


@needs_gpu
@pytest.mark.parametrize("name", FAMILIES)
def test_cpu_and_gpu_change_weights_alike_in_the_first_step(name):
    options, shape, _ = FAMILIES[name]
    spec = TrainSpec(duration="1it", evaluate_every="1it", batch_size=32, optimizer="sgd", lr=0.01)
    here, there = (training(name, options, shape, where, spec, seeds=(0,)) for where in (CPU, torch.device("cuda")))
    before = {layer: here.network().state[layer].clone() for layer in here.network().masks}
    for run in (here, there):
        run.run()
    for layer, start in before.items():
        mine, theirs = (run.network().state[layer].cpu() - start for run in (here, there))
        assert mine.norm() > 0 and (mine - theirs).norm() < 0.01 * mine.norm(), layer


@needs_gpu
def test_dropout_in_a_resumed_run_is_that_of_an_uninterrupted_one():
    options, shape = {"width": 0.125, "dropout": 0.5}, (3, 32, 32)
    spec = TrainSpec(duration="6it", evaluate_every="3it", batch_size=32)

    def run():
        return training("conv_2", options, shape, torch.device("cuda"), spec, seeds=(0,))

    whole, saved = run(), []

    def keep():
        if whole.record().step >= 3 and not saved:
            saved.extend({key: tensor.clone() for key, tensor in one.items()} for one in whole.tensors())

    whole.run(keep)
    resumed = run()
    resumed.load(saved)
    resumed.run()
    assert torch.allclose(whole.history(), resumed.history(), rtol=1e-4, equal_nan=True)


@needs_gpu
def test_masks_change_between_replays_of_a_graph(digits):
    spec = TrainSpec(duration="4it", evaluate_every="4it")
    (state,) = unstacked(lenet_states())
    mask = {"fc1.weight": torch.rand(state["fc1.weight"].shape) < 0.5}
    run = Together(lenet, [state], [mask], digits, spec, [0], torch.device("cuda"))
    run.run()
    network = run.network()
    graph = network._graph
    network.set_masks({"fc1.weight": ~mask["fc1.weight"]})
    for step in range(3):
        network.step(*run.batch(0, step), 1e-3)
    assert graph is not None and network._graph is graph
    weights = network.state["fc1.weight"].cpu()
    assert not weights[mask["fc1.weight"]].any() and weights[~mask["fc1.weight"]].any()
