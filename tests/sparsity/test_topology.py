"""Dropping and growing, on tables that can be worked out by hand."""

import math

import pytest
import torch
from torch import nn

import labkit as lk
from labkit.sparsity import flops
from labkit.sparsity.masks import counts
from labkit.sparsity.methods import METHODS, Method
from labkit.sparsity.topology import drop_and_grow, share_out, update

MOVING = [name for name, method in METHODS.items() if method.masks == "moving"]

WEIGHT = torch.tensor([[4.0, -1.0, 0.0, 0.0], [0.0, 3.0, -2.0, 0.0], [0.5, 0.0, 0.0, 6.0], [0.0, 0.0, 7.0, 0.0]])
MASK = WEIGHT != 0  # 7 of 16
SCORE = torch.tensor([[9.0, 1.0, 8.0, 0.1], [0.2, 9.0, 9.0, 0.3], [7.0, 5.0, 0.4, 9.0], [6.0, 0.5, 9.0, 0.6]])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def places(mask):
    return {tuple(place) for place in mask.nonzero().tolist()}


@pytest.mark.parametrize(
    ("drop", "dropped", "grown"),
    [
        (0, set(), set()),
        (1, {(2, 0)}, {(0, 2)}),
        (2, {(2, 0), (0, 1)}, {(0, 2), (2, 0)}),  # (2, 0) has just been dropped, and grows again
        (3, {(2, 0), (0, 1), (1, 2)}, {(1, 2), (0, 2), (2, 0)}),
    ],
)
def test_drop_and_grow_by_hand(drop, dropped, grown):  # pitfalls: dropped-and-grown-again, share-of-what
    survived, new = drop_and_grow(WEIGHT, MASK, SCORE, drop, drop)
    assert places(MASK & ~survived) == dropped and places(new) == grown
    assert not (survived & new).any() and int((survived | new).sum()) == 7


def test_just_dropped_weights_can_be_barred():  # pitfall: dropped-and-grown-again
    survived, new = drop_and_grow(WEIGHT, MASK, SCORE, 2, 2, regrow=False)
    assert places(MASK & ~survived) == {(2, 0), (0, 1)} and places(new) == {(0, 2), (3, 0)}
    full = torch.ones(4, dtype=torch.bool)
    survived, new = drop_and_grow(torch.tensor([1.0, 2.0, 3.0, 4.0]), full, torch.zeros(4), 2, 2, regrow=False)
    assert (survived | new).all(), "nothing else is left"


def test_a_layer_cannot_drop_or_grow_what_it_has_not():
    with pytest.raises(ValueError, match="cannot drop 8"):
        drop_and_grow(WEIGHT, MASK, SCORE, 8, 0)
    with pytest.raises(ValueError, match="grow 10"):
        drop_and_grow(WEIGHT, MASK, SCORE, 0, 10)


@pytest.mark.parametrize(
    ("total", "signal", "capacity", "expected"),
    [
        (10, {"a": 3.0, "b": 1.0, "c": 1.0}, {"a": 99, "b": 99, "c": 99}, {"a": 6, "b": 2, "c": 2}),
        # pitfall: overfull-layers
        (10, {"a": 3.0, "b": 1.0, "c": 1.0}, {"a": 2, "b": 99, "c": 99}, {"a": 2, "b": 4, "c": 4}),
        (10, {"a": 8.0, "b": 1.0, "c": 1.0}, {"a": 1, "b": 2, "c": 99}, {"a": 1, "b": 2, "c": 7}),
        (5, {"a": 1.0, "b": 1.0, "c": 0.0}, {"a": 2, "b": 2, "c": 9}, {"a": 2, "b": 2, "c": 1}),
        (4, {"a": 0.0, "b": 0.0}, {"a": 9, "b": 9}, {"a": 2, "b": 2}),
        (2, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 0}),
        (0, {"a": 1.0}, {"a": 0}, {"a": 0}),
    ],
)
def test_growth_is_shared_out_within_capacity_and_in_full(total, signal, capacity, expected):
    assert share_out(total, signal, capacity) == expected


def test_growth_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit into 3 free places"):
        share_out(4, {"a": 1.0, "b": 1.0}, {"a": 1, "b": 2})
    with pytest.raises(ValueError, match="finite"):
        share_out(1, {"a": math.nan}, {"a": 2})


def network():
    """Layers from one weight to full."""
    shapes = {"one": (1, 1), "row": (1, 7), "half": (8, 8), "kernel": (4, 3, 3, 3), "full": (5, 5)}
    weights = {name: torch.randn(shape, generator=rng(1)) for name, shape in shapes.items()}
    density = {"one": 1.0, "row": 0.3, "half": 0.5, "kernel": 0.2, "full": 1.0}
    masks = {name: torch.rand(shape, generator=rng(2)) < density[name] for name, shape in shapes.items()}
    for name, mask in masks.items():
        weights[name][~mask] = 0
    signals = {name: torch.randn(shape, generator=rng(3)) for name, shape in shapes.items()}
    return weights, masks, signals


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("regrow", [True, False])
def test_every_method_conserves_counts(name, fraction, regrow):  # pitfalls: share-of-what, overfull-layers
    weights, masks, signals = network()
    moved = update(METHODS[name], fraction, weights, masks, signals, signals, rng(), regrow=regrow)
    new = {**masks, **{layer: survived | grown for layer, (survived, grown) in moved.items()}}
    assert sum(counts(new).values()) == sum(counts(masks).values())
    if METHODS[name].redistribute == "none":
        assert counts(new) == counts(masks) and "full" not in moved and "one" not in moved
    if fraction == 0:
        assert all(torch.equal(new[layer], masks[layer]) for layer in masks), "rate 0 is the identity"
    for layer, (survived, grown) in moved.items():
        assert not (survived & grown).any() and not (survived & ~masks[layer]).any()


def test_rigl_grows_by_the_dense_gradient_and_set_at_random():  # pitfall: gradient-after-the-mask
    torch.manual_seed(0)
    layer = nn.Linear(6, 4, bias=False)
    mask = torch.rand(4, 6, generator=rng()) < 0.5
    with torch.no_grad():
        layer.weight.mul_(mask)
    gain = torch.zeros(4, 6)
    planted = tuple((~mask).nonzero()[3].tolist())
    gain[planted] = 100.0  # the loss wants this inactive weight
    loss = (layer.weight * gain).sum() + layer(torch.randn(5, 6)).square().sum()
    (gradient,) = torch.autograd.grad(loss, [layer.weight])
    given = ({"w": layer.weight.detach()}, {"w": mask}, {"w": gradient}, {"w": torch.zeros(4, 6)})
    _, grown = update(METHODS["rigl"], 0.1, *given, rng())["w"]
    assert bool(grown[planted]) and int(grown.sum()) == int(0.1 * int(mask.sum()))
    draws = [update(METHODS["set"], 0.3, *given, rng(seed))["w"][1] for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_redistribution_follows_the_signal():
    shapes = {"quiet": (10, 10), "loud": (10, 10)}
    masks = {name: torch.rand(shape, generator=rng(4)) < 0.5 for name, shape in shapes.items()}
    weights = {name: torch.randn(10, 10, generator=rng(5)) * mask for name, mask in masks.items()}
    signal = {"quiet": torch.full((10, 10), 0.1), "loud": torch.full((10, 10), 0.3)}
    flat = {name: torch.rand(10, 10, generator=rng(6)) for name in shapes}
    for name, gradients, momenta in (("rigl_sg", signal, flat), ("rigl_sm", flat, signal), ("snfs", flat, signal)):
        moved = update(METHODS[name], 0.4, weights, masks, gradients, momenta, rng())
        grown = {layer: int(new.sum()) for layer, (_, new) in moved.items()}
        dropped = sum(int(0.4 * int(mask.sum())) for mask in masks.values())
        assert sum(grown.values()) == dropped and grown["loud"] == pytest.approx(0.75 * dropped, abs=1)


def test_a_method_that_needs_momentum_says_so():
    weights, masks, signals = network()
    for name in ("snfs", "rigl_sm"):
        with pytest.raises(ValueError, match="train with SGD and momentum above 0"):
            update(METHODS[name], 0.3, weights, masks, signals, {}, rng())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grow": "gradeint"}, "unknown growth score 'gradeint': did you mean 'gradient'"),
        ({"grow": ""}, "unknown growth score ''"),
        ({"drop": "size"}, "unknown drop score 'size'"),
        ({"redistribute": "momenta"}, "unknown redistribution 'momenta': did you mean 'momentum'"),
        ({"flops": "rigel"}, "unknown FLOP rule 'rigel': did you mean 'rigl'"),
        ({"masks": "move"}, "unknown masks 'move': did you mean 'moving'"),
        ({"masks": "fixed"}, "masks that are 'fixed' do not grow"),
        ({"grow": "momentum"}, "growth by 'momentum' looks at momentum and needs dense_momentum=True"),
        ({"masks": "fixed", "grow": "", "dense_momentum": True}, "masks that are 'fixed' do not grow"),
        ({"flops": "masked"}, "FLOP rule 'masked' is not what such a method costs: that is 'rigl'"),
        ({"flops": "dense", "grow": "random"}, "that is 'masked'"),
        ({"grow": "momentum", "dense_momentum": True}, "that is 'dense momentum'"),
        ({"title": ""}, "title is ''"),
        ({"dense_momentum": "false"}, "dense_momentum is 'false'"),
    ],
)
def test_a_method_is_checked_when_it_is_made(changes, message):
    Method(**(row := {"title": "Mine", "masks": "moving", "flops": "rigl", "grow": "gradient"}))
    with pytest.raises(ValueError, match=message):
        Method(**row | changes)


def test_a_missing_gradient_is_an_error_not_random_growth():
    weights, masks, signals = network()
    some = {name: signal for name, signal in signals.items() if name != "row"}
    for name in ("rigl", "rigl_sg", "rigl_sm"):
        with pytest.raises(ValueError, match=r"RigL.* looks at the gradient of every layer; row has none"):
            update(METHODS[name], 0.3, weights, masks, some, signals, rng())
    assert update(METHODS["set"], 0.3, weights, masks, {}, {}, rng()), "SET looks at none"


def test_a_new_method_is_a_row(monkeypatch):
    """Nothing but the row says what it drops by, grows by, is called and costs."""
    monkeypatch.setitem(METHODS, "mine", Method("Mine", "moving", flops="masked", grow="random"))
    spec = lk.SparseSpec(topology=lk.TopologySpec("mine", 0.2, every="2it"), train=lk.TrainSpec(duration="8it"))
    run = lk.train_sparse(spec, [0])
    assert run.densities()["step"].unique().tolist() == [0, 2, 4, 6] and run.train_flops() == pytest.approx(
        run.test_flops()
    )


def _rank(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = nn.Linear(20, 10, bias=False)
    mask = torch.rand(10, 20, generator=rng()) < 0.3
    inputs, labels = torch.randn(16, 20), torch.randint(0, 10, (16,))
    part = slice(8 * rank, 8 * rank + 8)
    with torch.no_grad():
        layer.weight.mul_(mask)
    nn.functional.cross_entropy(layer(inputs[part]), labels[part]).backward()
    gradient = layer.weight.grad
    torch.distributed.all_reduce(gradient)
    given = ({"w": layer.weight.detach()}, {"w": mask}, {"w": gradient / 2}, {})
    torch.save({name: update(METHODS[name], 0.3, *given, rng(9))["w"] for name in ("rigl", "set")}, f"{folder}/{rank}")
    layer.weight.grad = None
    nn.functional.cross_entropy(layer(inputs), labels).backward()
    whole = ({"w": layer.weight.detach()}, {"w": mask}, {"w": layer.weight.grad}, {})
    torch.save({name: update(METHODS[name], 0.3, *whole, rng(9))["w"] for name in ("rigl", "set")}, f"{folder}/w{rank}")
    torch.distributed.destroy_process_group()


def test_masks_agree_between_processes_that_average_their_gradients(tmp_path):  # pitfall: masks-that-part
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / name) for name in ("0", "1", "w0", "w1")]
    for name in ("rigl", "set"):
        for other in found[1:]:
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(found[0][name], other[name], strict=True))


def test_a_rule_of_ones_own_says_what_a_method_costs(monkeypatch):
    monkeypatch.setitem(flops.RULES, "half", lambda sparse, dense, every: sparse / 2)
    assert Method("Half", "moving", flops="half", grow="random").flops == "half"
    with pytest.raises(ValueError, match="FLOP rule 'masked' is not what such a method costs"):
        Method("Cheap", "moving", flops="masked", grow="gradient")
