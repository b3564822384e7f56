"""Networks of a user's own: what is pruned and counted of them, and what is said of the rest."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import labkit as lk
from labkit import models
from labkit.models import inspection
from labkit.runs.experiment import Experiment
from labkit.sparsity import flops
from labkit.training import derivatives
from labkit.training.evaluation import evaluate
from tests.networks import Attention, LeavesOut, Unreached

ATTENTION = ["patches.weight", "attention.in_proj_weight", "attention.out_proj.weight", "classifier.weight"]
PRUNE = lk.PruneSpec(rate=0.5, levels=1)
TRAIN = lk.TrainSpec(duration="20it", evaluate_every="20it", batch_size=20, weight_decay=1e-4)


def counted(network, *shape):
    """What torch counts of a forward pass, but for the products of activations with each other inside attention."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # torch does not see into it
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(torch.zeros(1, *shape))
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    found = counter.get_flop_counts()["Global"]
    return sum(count for kind, count in found.items() if "attention" not in str(kind) and "bmm" not in str(kind))


def test_attention_is_pruned_and_counted():
    network = Attention()
    assert models.prunable(network) == ATTENTION and not models.left_out(network)
    by_hand = 2 * 64 * (8 * 4) + 2 * 64 * (3 * 8 * 8) + 2 * 64 * (8 * 8) + 2 * 8 * 10
    assert flops.inference(inspection.layers(network)) == by_hand == 37_024 == counted(network, 1, 16, 16)
    assert torch.backends.mha.get_fastpath_enabled(), "as it was"


def test_projections_of_their_own_and_of_other_lengths_are_counted():
    class Cross(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

        def forward(self, images):
            return self.attention(images[:, 0, :5, :8], images[:, 0, :, :kdim], images[:, 0, :, :vdim])[0]

    for kdim, vdim in ((8, 8), (4, 6)):
        network = Cross(kdim=kdim, vdim=vdim)
        found = inspection.layers(network, (1, 9, 8))
        assert flops.inference(found) == 2 * 8 * (5 * 8 + 9 * kdim + 9 * vdim + 5 * 8) == counted(network, 1, 9, 8)
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]
    assert list(found) == [f"attention.{name}" for name in names]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_transposed_convolutions_are_pruned_and_counted(dimensions):
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1]
    network = nn.Sequential(kind(4, 6, 3, stride=2, groups=2))
    shape = (4, *[5] * dimensions)
    found = inspection.layers(network, shape)
    assert found == {"0.weight": flops.Layer((4, 3, *[3] * dimensions), 5**dimensions)}
    assert flops.inference(found) == counted(network, *shape)


def test_glorot_draws_the_projections_of_attention_as_three_matrices():
    network = nn.MultiheadAttention(200, 2)
    nn.init.ones_(network.in_proj_bias)
    models.INITS["glorot_normal"](network, torch.Generator().manual_seed(0))
    assert network.in_proj_weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert not network.in_proj_bias.any() and not network.out_proj.bias.any()


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    spec = lk.TicketSpec(model="tests.networks:Attention", train=TRAIN, prune=PRUNE)
    return lk.find_tickets(spec, [0], root=tmp_path_factory.mktemp("runs"))


def test_tickets_of_attention_keep_its_pruned_weights_at_zero(tickets):
    states, masks = tickets.runs[1].final()
    assert set(masks) == set(ATTENTION)
    for name, mask in masks.items():
        assert int(mask.sum()) == round(mask.numel() / 2) and not states[name][~mask].any()
        assert states[name][mask].all()


def test_the_fused_attention_of_evaluation_gives_the_same_numbers(tickets):
    network, found = Attention(), []
    network.load_state_dict({name: state[0] for name, state in tickets.runs[1].final()[0].items()})
    for fused in (True, False):
        torch.backends.mha.set_fastpath_enabled(fused)
        try:
            found.append(evaluate(network, tickets.experiment.data, "test"))
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_sparse_training_of_attention(runs):
    spec = lk.SparseSpec(
        model="tests.networks:Attention", train=TRAIN,
        topology=lk.TopologySpec("rigl", density=0.5, allocation="erk", every="5it"),
    )  # fmt: skip
    found = lk.train_sparse(spec, [0])
    assert set(found.densities()["layer"]) == set(ATTENTION) and 0.3 < found.test_flops() < 1


def test_what_is_left_out_is_said_once_by_name(runs):
    spec = lk.TicketSpec(model="tests.networks:LeavesOut", train=TRAIN, prune=PRUNE)
    with pytest.warns(UserWarning, match="will not be pruned, and are in no count") as said:
        experiment = Experiment(spec)
    names = ["scale", "table.weight", "memory.weight_ih_l0", "memory.weight_hh_l0",
             "normed.parametrizations.weight.original0", "normed.parametrizations.weight.original1"]  # fmt: skip
    assert models.left_out(LeavesOut()) == names and ", ".join(names) in str(said[0].message)
    assert experiment.prunable == ["function.weight", "classifier.weight"]
    assert [layer.positions for layer in experiment.layers.values()] == [1, 1], "a layer used as a function is counted"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Experiment(spec).prunable
        for name in models.MODELS:
            assert not models.left_out(models.build(name)), name


def test_a_layer_that_the_network_does_not_use_is_refused_before_training(runs):
    with pytest.raises(ValueError, match="does not reach forgotten.weight: .* or leave them out of the network"):
        lk.find_tickets(lk.TicketSpec(model="tests.networks:Unreached", train=TRAIN, prune=PRUNE), [0])
    with pytest.raises(ValueError, match="does not reach forgotten.weight"):
        inspection.layers(Unreached())
    assert not runs.exists() or not list(runs.iterdir())


def test_a_layer_of_training_alone_is_pruned_and_costs_no_inference():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.auxiliary = nn.Linear(16, 10), nn.Linear(16, 10)

        def forward(self, images):
            hidden = images.flatten(1)
            return self.used(hidden) + (self.auxiliary(hidden) if self.training else 0)

    found = inspection.layers(Auxiliary(), (1, 4, 4))
    assert {name: layer.positions for name, layer in found.items()} == {"used.weight": 1, "auxiliary.weight": 0}


def test_layers_without_a_curvature_are_refused_before_training(runs):
    prune = lk.PruneSpec(score="obd", levels=1)
    with pytest.raises(ValueError, match="attention.in_proj_weight: only linear and 2-d convolution layers"):
        lk.find_tickets(lk.TicketSpec(model="tests.networks:Attention", train=TRAIN, prune=prune), [0])
    assert not runs.exists() or not list(runs.iterdir())
    with pytest.raises(ValueError, match="0.weight: only linear"):
        derivatives.curvature(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten()), torch.zeros(2, 1, 5))
    with pytest.raises(ValueError, match="layer function is not called in the forward pass"):
        derivatives.curvature(LeavesOut(), torch.rand(2, 1, 4, 4))


class Frozen(nn.Module):
    """Has a layer that does not train."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.first, self.last = nn.Linear(64, 8).requires_grad_(False), nn.Linear(8, classes)

    def forward(self, images):
        return self.last(self.first(images.flatten(1)).relu())


class Two(Frozen):
    """Gives more than logits."""

    def forward(self, images):
        return super().forward(images), images


ONE = Frozen().requires_grad_(True)


def always_the_same(classes: int = 10):
    return ONE


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Frozen", "does not train first.weight: what is pruned must be trained"),
        ("Two", "gives a tuple: it must give one tensor"),
        ("always_the_same", "the same network twice"),
    ],
)
def test_what_cannot_be_trained_as_asked_is_refused_by_name(runs, model, message):
    spec = lk.TicketSpec(model=f"{__name__}:{model}", train=TRAIN, prune=PRUNE)
    with pytest.raises(ValueError, match=message):
        lk.find_tickets(spec, [0, 1])


class Asked(Frozen):
    """Takes the number of classes, which it has no default for."""

    def __init__(self, classes: int, hidden: int = 8):
        super().__init__(classes)
        self.requires_grad_(True)


class Normalised(Asked):
    """Ends in a softmax."""

    def forward(self, images):
        return super().forward(images).softmax(1)


def lazy(classes: int):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


def test_a_number_of_classes_without_a_default_is_that_of_the_data(runs):
    experiment = Experiment(lk.TicketSpec(model=f"{__name__}:Asked", train=TRAIN, prune=PRUNE))
    assert experiment.options == {"classes": 10} and experiment.shapes["last.weight"] == (10, 8)
    with pytest.raises(ValueError, match=r"gives \(3,\) outputs; digits has 10 classes"):
        Experiment(lk.TicketSpec(model=f"{__name__}:Asked", model_options={"classes": 3}, train=TRAIN, prune=PRUNE))


def test_layers_that_wait_for_their_first_batch_are_refused(runs):
    with pytest.raises(ValueError, match=r"leaves the shape of 1.weight, 1.bias to its first batch.*not nn.LazyLinear"):
        Experiment(lk.TicketSpec(model=f"{__name__}:lazy", train=TRAIN, prune=PRUNE))


def test_a_softmax_at_the_end_is_told_once(runs):
    spec = lk.TicketSpec(model=f"{__name__}:Normalised", train=TRAIN, prune=PRUNE)
    with pytest.warns(UserWarning, match="gives probabilities, which sum to 1"):
        Experiment(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Experiment(spec)
        Experiment(lk.TicketSpec(model=f"{__name__}:Asked", train=TRAIN, prune=PRUNE))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_nte:Net", "No module named 'own_nte'; did you mean 'own_net'. own_nte.py must lie where Python was"),
        ("own_net:Nett", "own_net has no 'Nett': did you mean 'Net'. It has Net, small"),
        ("own_net:nn", "cannot be a network"),
        ("own_net.py:Net", "name the module, not its file: 'own_net'"),
        ("own_needs:Net", "No module named 'no_such_package'$"),  # of it, not of the network, nothing more is known
    ],
)
def test_what_cannot_be_imported_is_answered_with_what_is_near(name, message, tmp_path, monkeypatch):
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\nfrom torch.nn import Linear\nWIDTH = 3\nclass Net(nn.Module):\n    pass\n"
        "def small():\n    return Net()\n"
    )
    (tmp_path / "own_needs.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message):
        models.build(name)


def test_a_misspelt_option_of_an_own_network_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown option of model .*:Asked' 'hiden': did you mean 'hidden'"):
        models.build(f"{__name__}:Asked", {"classes": 3, "hiden": 4})
