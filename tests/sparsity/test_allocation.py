"""Layer densities by hand, against the published solver's, and exact counts."""

import math

import pytest
import torch

from labkit import models
from labkit.ground.randomness import generator
from labkit.models.inspection import layers
from labkit.sparsity import allocation, masks
from labkit.studies import sources

NETWORKS = {"wrn-22-2": ("wrn_22_2", {}), "resnet50": ("resnet50", {"classes": 100})}


@pytest.fixture(scope="module")
def shapes():
    return {key: {n: layer.shape for n, layer in layers(models.build(name, options)).items()}
            for key, (name, options) in NETWORKS.items()}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", ["er", "erk"])
@pytest.mark.parametrize("density", [0.05, 0.1, 0.2, 0.5])
def test_golden_densities(shapes, network, rule, density):  # pitfalls: masks-by-coin, clamped-erk
    table = sources.published("erk_densities")
    table = table[(table.model == network) & (table.init == rule.upper()) & (table.target_density == density)]
    found = allocation.allocate(rule, shapes[network], density)
    assert ["x".join(map(str, shapes[network][name])) for name in found] == list(table.shape_out_in_kh_kw)
    assert list(found.values()) == pytest.approx(list(table.layer_density), abs=1e-6)
    total = sum(map(math.prod, shapes[network].values()))
    kept = allocation.counts(shapes[network], found)
    assert sum(kept.values()) == round(density * total)
    for name, count in kept.items():
        assert abs(count - found[name] * math.prod(shapes[network][name])) < 1


def test_half_of_wrn_has_twelve_dense_layers(shapes):  # pitfall: clamped-erk
    found = allocation.erdos_renyi_kernel(shapes["wrn-22-2"], 0.5)
    assert sum(value == 1 for value in found.values()) == 12
    assert sum(allocation.counts(shapes["wrn-22-2"], found).values()) == 538_456


def test_erk_by_hand():
    two = {"a": (9, 4), "b": (20, 6)}  # sums 13 and 26, sizes 36 and 120
    found = allocation.erdos_renyi_kernel(two, 0.125)  # 19.5 weights = e * (13 + 26), so e = 1/2
    assert found == pytest.approx({"a": 0.5 * 13 / 36, "b": 0.5 * 26 / 120})
    assert allocation.counts(two, found) == {"a": 7, "b": 13}, "6.5 and 13, 19.5 rounds to 20"
    three = two | {"c": (1, 1)}  # 157 weights; c would be over-full, so (78.5 - 1) = e * 39 for the others
    assert allocation.erdos_renyi_kernel(three, 0.5) == pytest.approx(
        {"a": 77.5 / 39 * 13 / 36, "b": 77.5 / 39 * 26 / 120, "c": 1.0}
    )
    assert allocation.erdos_renyi_kernel(three, 0.8) == pytest.approx({"a": 1.0, "b": (125.6 - 37) / 120, "c": 1.0})


def test_kernels_count_in_erk_only():
    two = {"a": (4, 4, 3, 3), "b": (4, 4, 1, 1)}
    er, erk = allocation.erdos_renyi(two, 0.2), allocation.erdos_renyi_kernel(two, 0.2)
    assert er["a"] == pytest.approx(er["b"]) and er["a"] == pytest.approx(0.2)
    assert erk["b"] / erk["a"] == pytest.approx((10 / 16) / (14 / 144))


def test_uniform_leaves_the_first_layer_dense(shapes):  # pitfall: dense-first-layer
    sizes = {name: math.prod(shape) for name, shape in shapes["wrn-22-2"].items()}
    found = allocation.uniform(shapes["wrn-22-2"], 0.1)
    first = next(iter(sizes))
    assert found.pop(first) == 1 and set(found.values()) == {0.1}
    kept = allocation.counts(shapes["wrn-22-2"], allocation.uniform(shapes["wrn-22-2"], 0.1))
    total = sum(sizes.values())
    assert sum(kept.values()) == round(432 + 0.1 * (total - 432))
    assert set(allocation.uniform(shapes["wrn-22-2"], 0.1, dense=()).values()) == {0.1}


def test_layers_kept_dense_count_towards_the_whole():
    two = {"a": (10, 10), "b": (30, 30)}
    found = allocation.erdos_renyi(two, 0.2, dense=["a"])
    assert found == pytest.approx({"a": 1.0, "b": 100 / 900})
    with pytest.raises(ValueError, match=r"density 0.05 is 50 weights, and the layers that stay dense \(a\) have 100"):
        allocation.erdos_renyi(two, 0.05, dense=["a"])
    with pytest.raises(ValueError, match="unknown layer 'c'"):
        allocation.erdos_renyi(two, 0.2, dense=["c"])


def test_dense_is_dense(shapes):
    for rule in allocation.ALLOCATIONS:
        found = allocation.allocate(rule, shapes["wrn-22-2"], 1.0)
        kept = allocation.counts(shapes["wrn-22-2"], found)
        assert kept == {name: math.prod(shape) for name, shape in shapes["wrn-22-2"].items()}, rule


def test_names_and_densities_are_checked():
    two = {"a": (10, 10), "b": (30, 30)}
    with pytest.raises(ValueError, match="unknown allocation 'erck': did you mean 'erk'"):
        allocation.allocate("erck", two, 0.1)
    for rule in allocation.ALLOCATIONS:
        with pytest.raises(ValueError, match="density is 30: .*write 0.3"):
            allocation.allocate(rule, two, 30)
        with pytest.raises(ValueError, match="density is 0"):
            allocation.allocate(rule, two, 0)
    with pytest.raises(ValueError, match="1 weights are too few for 2 layers"):
        allocation.counts(two, {"a": 0.001, "b": 0.001})
    with pytest.raises(ValueError, match="density of a is 2"):
        allocation.counts(two, {"a": 2})


def test_no_layer_is_emptied():
    found = allocation.counts({"a": (3, 3), "b": (100, 100), "c": (2, 1)}, {"a": 0.01, "b": 0.01, "c": 0.01})
    assert found == {"a": 1, "b": 98, "c": 1}


def test_drawn_masks_have_exact_counts_and_follow_their_generator():
    two = {"a": (10, 10), "b": (30, 30)}
    keep = {"a": 7, "b": 90}
    drawn = allocation.draw(two, keep, generator(0, "mask"))
    assert masks.counts(drawn) == keep and drawn["b"].shape == (30, 30)
    again, other = (allocation.draw(two, keep, generator(seed, "mask")) for seed in (0, 1))
    assert all(torch.equal(drawn[name], again[name]) for name in keep)
    assert masks.overlap(drawn, other) < 0.5
    with pytest.raises(ValueError, match="cannot keep 101 of 100"):
        allocation.draw(two, {"a": 101}, generator(0, "mask"))
    rng = generator(0, "often")
    often = sum(allocation.draw({"a": (5, 2)}, {"a": 3}, rng)["a"].double() for _ in range(2000)) / 2000
    assert (often - 0.3).abs().max() < 0.05, "every weight is as likely"
