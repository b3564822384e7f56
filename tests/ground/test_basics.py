"""Layers 0 and 1: names, steps, masks, schedules, randomness, scores."""

import math

import pytest
import torch

from labkit.ground.names import choose, fraction
from labkit.ground.randomness import derive, generator
from labkit.ground.steps import Step
from labkit.sparsity import masks, schedules
from labkit.sparsity.packing import pack, unpack
from labkit.sparsity.scores import Evidence, score


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'magnitude'\? There are: magnitude, random"):
        choose("score", "magnitud", ["magnitude", "random"])


@pytest.mark.parametrize("value", [30, -0.1, 1.0, 0.0, float("nan"), "0.3", True])
def test_fraction_refuses(value):
    with pytest.raises(ValueError, match="density"):
        fraction("density", value)


def test_steps_convert_with_their_unit():
    assert Step.parse("1ep").iterations(epoch=55_000 / 60) == 917
    assert Step.parse("0.75run").iterations(run=1000) == 750
    assert Step.parse("500it").iterations() == 500
    for text in ("1000000ep", "0.00005run", "123.4567ep", "100it", "0it"):
        assert Step.parse(str(Step.parse(text))) == Step.parse(text) and "e+" not in str(Step.parse(text))
    for wrong in ("500", "2epochs", "1.5run", "0.5it", 500, "-1it"):
        with pytest.raises(ValueError, match="step"):
            Step.parse(wrong)
    with pytest.raises(ValueError, match="epochs, which has no length"):
        Step.parse("1ep").iterations(run=10)


def test_keep_top_by_hand():
    scores = torch.tensor([[4.0, 1.0, 3.0], [2.0, 5.0, 0.0]])
    expected = {0: [], 1: [5], 3: [5, 4, 3], 6: [5, 4, 3, 2, 1, 0]}
    for keep, kept in expected.items():
        assert sorted(scores[masks.keep_top(scores, keep)].tolist()) == sorted(kept)


@pytest.mark.parametrize("keep", [0, 1, 7, 99, 100])
def test_ties_keep_exactly_the_first(keep):  # pitfall: ties-at-the-threshold
    mask = masks.keep_top(torch.zeros(10, 10), keep)
    assert mask.sum() == keep and mask.reshape(-1)[:keep].all()


def test_keep_top_agrees_with_a_stable_sort():
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        scores = torch.randint(0, 5, (40,), generator=rng).float()
        keep = int(torch.randint(0, 41, (1,), generator=rng))
        order = torch.sort(scores, descending=True, stable=True).indices
        expected = torch.zeros(40, dtype=torch.bool)
        expected[order[:keep]] = True
        assert torch.equal(masks.keep_top(scores, keep), expected)


def test_keep_top_refuses_nan_and_too_many():
    with pytest.raises(ValueError, match="NaN"):
        masks.keep_top(torch.tensor([1.0, float("nan")]), 1)
    with pytest.raises(ValueError, match="cannot keep 3 of 2"):
        masks.keep_top(torch.ones(2), 3)


def test_apply_zeroes_infinities_too():
    tree = {"w": torch.tensor([[1.0, float("inf")], [float("nan"), 2.0]])}
    masks.apply({"w": torch.tensor([[True, False], [False, True]])}, tree)
    assert tree["w"].tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_pack_round_trip():
    for shape in ((3, 5), (8,), (1, 1), (7, 9, 2)):
        mask = torch.rand(shape) < 0.3
        assert torch.equal(unpack(pack(mask), shape), mask)
    with pytest.raises(ValueError, match="cannot hold"):
        unpack(torch.zeros(2, dtype=torch.uint8), (100,))


def test_shuffle_keeps_layer_counts_and_permute_only_the_total():  # pitfall: three-random-controls
    rng = generator(0, "test")
    old = {"a": torch.rand(100, 100) < 0.1, "b": torch.rand(100, 100) < 0.5}
    shuffled, permuted = masks.shuffle(old, rng), masks.permute(old, rng)
    assert masks.counts(shuffled) == masks.counts(old) != masks.counts(permuted)
    assert sum(masks.counts(permuted).values()) == sum(masks.counts(old).values())
    for name in old:  # a random mask overlaps by about its density
        alone = {name: old[name]}
        assert abs(masks.overlap(alone, shuffled) - masks.density(alone)) < 0.05
    assert masks.overlap(old, old) == 1
    assert abs(masks.density({"a": permuted["a"]}) - masks.density(old)) < 0.02


def test_warmup_and_cosine_end_where_they_should():
    warm = schedules.warmup(schedules.constant(0.4), 4)
    assert [warm(step) for step in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    drop = schedules.cosine(0.3, until=100)
    assert (drop(0), drop(50), drop(100), drop(500)) == pytest.approx((0.3, 0.15, 0, 0))


def test_cosine_is_rigl_s():
    drop = schedules.cosine(0.3, until=65_918)
    for step in (0, 100, 21_973, 32_959, 65_900):
        assert drop(step) == pytest.approx(0.3 / 2 * (1 + math.cos(step * math.pi / 65_918)), rel=1e-12)
    assert drop(0) == 0.3 and drop(65_918) == 0.0 == drop(87_890), "zero at the end, and after it, exactly"
    assert all(drop(step) > drop(step + 100) for step in range(0, 65_800, 100))
    with pytest.raises(ValueError, match="until is 0"):
        schedules.cosine(0.3, until=0)


def test_cubic_is_zhu_and_gupta_s():
    begin, every, times, initial, final = 700, 100, 652, 0.0, 0.9
    density = schedules.cubic(1 - initial, 1 - final, begin, begin + times * every)
    for t in range(begin, begin + times * every + 1, every):  # their equation 1, for sparsities
        sparsity = final + (initial - final) * (1 - (t - begin) / (times * every)) ** 3
        assert 1 - density(t) == pytest.approx(sparsity, abs=1e-12)
    assert density(0) == density(700) == 1.0
    assert density(begin + times * every) == density(10**6) == pytest.approx(0.1, abs=1e-15)
    half = schedules.cubic(0.8, 0.2, begin=10, until=20)
    assert (half(15), half(18)) == pytest.approx((0.2 + 0.6 / 8, 0.2 + 0.6 * 0.008))
    with pytest.raises(ValueError, match="until is 10: gradual pruning must end after it begins, at 10"):
        schedules.cubic(1.0, 0.1, begin=10, until=10)


def test_streams_differ_by_seed_purpose_and_position():
    seeds = [derive(s, p, n) for s in range(3) for p in ("init", "order") for n in range(3)]
    assert len(set(seeds)) == len(seeds)


def evidence(weights, gradient=None, curvature=None):
    return Evidence(weights, generator(0, "x"), lambda: gradient, lambda: curvature)


def test_scores_by_hand():
    weights = {"w": torch.tensor([-3.0, 1.0, -2.0])}
    assert score("magnitude", evidence(weights))["w"].tolist() == [3, 1, 2]
    slope, curvature = {"w": torch.tensor([0.0, -5.0, 1.0])}, {"w": torch.tensor([1.0, 4.0, 0.5])}
    assert score("gradient", evidence(weights, gradient=slope))["w"].tolist() == [0, 5, 2]
    assert score("obd", evidence(weights, curvature=curvature))["w"].tolist() == [4.5, 2, 1]
    one, two = (score("random", evidence(weights))["w"] for _ in range(2))
    assert torch.equal(one, two)
    with pytest.raises(ValueError, match="unknown score"):
        score("size", evidence(weights))
