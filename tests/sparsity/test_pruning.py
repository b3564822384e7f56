import pandas as pd
import pytest
import torch

from labkit import models
from labkit.models import inspection
from labkit.sparsity import masks
from labkit.sparsity.pruning import keep_counts, prune_global, prune_layers, prune_to, surviving
from labkit.sparsity.scores import score
from labkit.studies import sources

SIZES = {"fc1.weight": 235_200, "fc2.weight": 30_000, "fc3.weight": 1_000}
RATES = {"fc1.weight": 0.2, "fc2.weight": 0.2, "fc3.weight": 0.1}


@pytest.fixture(scope="module")
def rounds() -> pd.Series:
    table = sources.published("lth_pm_rounds").query("architecture == 'lenet-300-100'")
    return table.set_index("round")["expected_weights_left"]


def test_lenet_counts_equal_the_published_rounds(rounds):  # pitfalls: rate-of-the-original, biases-in-the-count
    network = models.build("lenet_300_100")
    assert {n: p.numel() for n, p in network.named_parameters() if n.endswith("weight")} == SIZES
    for level, expected in rounds.items():
        kept = keep_counts(SIZES, RATES, level)
        for name, count in kept.items():
            assert abs(count - SIZES[name] * (1 - RATES[name]) ** level) <= 0.5
        assert abs(sum(kept.values()) - expected) <= 1.5
    assert 100 * sum(keep_counts(SIZES, RATES, 7).values()) / sum(SIZES.values()) == pytest.approx(21.07, abs=0.005)


@pytest.mark.parametrize(("name", "conv_rate"), [("conv_2", 0.1), ("conv_4", 0.1), ("conv_6", 0.15)])
def test_convolutional_rounds_equal_the_published_ones(name, conv_rate):
    network = models.build(name)
    weights = {key: dict(network.named_parameters())[key] for key in models.prunable(network)}
    rates = {key: conv_rate if weight.ndim == 4 else 0.2 for key, weight in weights.items()}
    rates[inspection.output_layer(network)] = 0.1
    sizes = {key: weight.numel() for key, weight in weights.items()}
    table = sources.published("lth_pm_rounds").query(f"architecture == '{name.replace('_', '-')}'").set_index("round")
    assert len(table) > 20 and (table["prunable_weights_total"] == sum(sizes.values())).all()
    for level, row in table.iterrows():
        kept = keep_counts(sizes, rates, level)
        assert abs(sum(kept.values()) - row["expected_weights_left"]) <= len(kept)
        assert 100 * sum(kept.values()) / sum(sizes.values()) == pytest.approx(row["P_m_percent_expected"], abs=1e-2)


def test_iterating_equals_the_closed_form_and_nests():
    rng = torch.Generator().manual_seed(0)
    mask = {"w": torch.ones(50, 40, dtype=torch.bool)}
    for level in range(1, 15):
        scores = {"w": torch.rand(50, 40, generator=rng)}
        pruned = prune_layers(mask, scores, keep_counts({"w": 2000}, {"w": 0.2}, level))
        assert pruned["w"].sum() == surviving(2000, 0.2, level)
        assert masks.overlap(pruned, mask) == 1, "what was pruned stays pruned"
        mask = pruned


def test_a_huge_value_under_the_mask_does_not_come_back():  # pitfall: mask-in-forward-only
    mask = {"w": torch.tensor([True, True, True, False])}
    scores = {"w": torch.tensor([1.0, 2.0, 3.0, 1e9])}
    assert prune_layers(mask, scores, {"w": 2})["w"].tolist() == [False, True, True, False]
    assert prune_global(mask, scores, 2)["w"].tolist() == [False, True, True, False]


def test_layerwise_keeps_shares_and_global_empties_the_small_layer():  # pitfall: layerwise-or-global
    rng = torch.Generator().manual_seed(0)
    scores = {"small": torch.rand(100, generator=rng), "large": 100 + torch.rand(100, generator=rng)}
    mask = {name: torch.ones(100, dtype=torch.bool) for name in scores}
    assert masks.counts(prune_layers(mask, scores, {"small": 50, "large": 50})) == {"small": 50, "large": 50}
    assert masks.counts(prune_global(mask, scores, 100)) == {"small": 0, "large": 100}


def test_global_leaves_layers_without_scores_alone():
    mask = {"a": torch.ones(10, dtype=torch.bool), "head": torch.ones(4, dtype=torch.bool)}
    pruned = prune_global(mask, {"a": torch.arange(10.0)}, 3)
    assert masks.counts(pruned) == {"a": 3, "head": 4}


def test_negative_weights_are_pruned_by_size_not_by_value():  # pitfall: values-for-masks
    from tests.ground.test_basics import evidence

    weights = {"w": torch.tensor([-5.0, -1.0, -3.0, -0.5])}
    scores = score("magnitude", evidence(weights))
    dense = {"w": torch.ones(4, dtype=torch.bool)}
    assert prune_layers(dense, scores, {"w": 2})["w"].tolist() == [True, False, True, False]


@pytest.mark.parametrize("rate", [20, 1.0, -0.2])
def test_rate_outside_its_range(rate):
    with pytest.raises(ValueError, match="rate is"):
        surviving(100, rate, 1)


def test_asking_for_more_than_is_left():
    mask = {"w": torch.tensor([True, False, False])}
    with pytest.raises(ValueError, match="w: cannot keep 2 weights, only 1 are left"):
        prune_layers(mask, {"w": torch.ones(3)}, {"w": 2})


def test_pruning_once_keeps_a_share_of_each_layer_or_of_all_together():
    scores = {"a": torch.tensor([9.0, 8.0, 7.0, 6.0]), "b": torch.tensor([1.0, 2.0])}
    assert masks.counts(prune_to(scores, 0.5, "layer")) == {"a": 2, "b": 1}
    assert masks.counts(prune_to(scores, 0.5, "global")) == {"a": 3, "b": 0}
    assert masks.counts(prune_to(scores, 1.0, "global")) == {"a": 4, "b": 2}
    with pytest.raises(ValueError, match="unknown scope 'layers': did you mean 'layer'"):
        prune_to(scores, 0.5, "layers")
    with pytest.raises(ValueError, match="density"):
        prune_to(scores, 50, "layer")
