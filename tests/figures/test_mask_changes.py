import pandas as pd
import torch

from labkit.figures import mask_changes, search
from labkit.sparsity import topology


def drop_two():
    weight = torch.tensor([[3.0, -1.0, 0.0], [2.0, 0.0, 0.0]])
    mask = weight != 0
    score = torch.tensor([[0.0, 0.0, 5.0], [0.0, 9.0, 1.0]])
    return mask, *topology.drop_and_grow(weight, mask, score, drop=2, grow=2)


def test_change_tells_what_an_update_did():
    mask, survived, grown = drop_two()
    codes = mask_changes.change(mask, survived, grown)
    assert codes.tolist() == [[1, 2, 3], [2, 3, 0]]
    names = list(mask_changes.STATES)
    assert [names[code] for code in codes.unique()] == ["inactive", "kept", "dropped", "grown"]


def test_change_agrees_with_counts():
    rng = torch.Generator().manual_seed(0)
    mask = torch.rand(20, 30, generator=rng) < 0.3
    moved = topology.drop_and_grow(torch.randn(20, 30, generator=rng), mask, torch.rand(20, 30, generator=rng), 40, 40)
    codes = mask_changes.change(mask, *moved)
    count = [int((codes == n).sum()) for n in range(5)]
    assert count[1] + count[2] + count[4] == mask.sum() == count[1] + count[3] + count[4]
    assert count[2] == count[3] and sum(count) == 600


def test_mask_updates_shows_only_states_that_occur():
    codes = mask_changes.change(*drop_two())
    figure = mask_changes.mask_updates(
        {"first": codes, "second": codes}, title="t", values={"first": codes, "second": codes}
    )
    assert [trace.name for trace in figure.data if trace.type == "scatter"] == ["inactive", "kept", "dropped", "grown"]
    assert list(figure.data[0].z[0]) == [1, 2, 3] and figure.data[0].text[0][0] == "1.0"


def test_pixels_share_one_scale():
    figure = mask_changes.pixels({"before": torch.ones(2, 2), "after": 4 * torch.ones(2, 2)}, title="t")
    assert {trace.zmax for trace in figure.data} == {4}


def test_drop_schedule_ends_at_zero():
    curve, dots = mask_changes.drop_schedule([0.3], 100, [0, 50], title="t").data
    assert curve.y[0] == 30 and abs(curve.y[-1]) < 1e-9
    assert [round(value, 6) for value in dots.y] == [30, 15]


def runs():
    rows = [
        {
            "method": method,
            "seed": seed,
            "step": step,
            "layer": layer,
            "kept": 10 + step,
            "size": 100,
            "ratio": 0.2 + step / 100,
        }
        for method in ("a", "b")
        for seed in (0, 1)
        for step in (0, 5)
        for layer in ("conv.weight", "fc.weight")
    ]
    return pd.DataFrame(rows)


def test_densities_are_of_layers_in_order():
    figure = mask_changes.densities(runs().query("step == 5"), ["stem.weight", "conv.weight", "fc.weight"], title="t")
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert list(figure.data[0].y) == [100, 15, 15], "a layer without a mask is dense"
    assert figure.layout.xaxis.ticktext == ("stem", "conv", "fc")


def test_inference_cost_draws_the_published_end():
    figure = mask_changes.inference_cost(runs(), title="t", published=0.49)
    assert [round(value, 6) for value in figure.data[0].y] == [0.2, 0.25]
    assert figure.data[-1].y == (0.49, 0.49) and "published" in figure.data[-1].name


def test_trials_ring_the_best_on_validation():
    table = pd.DataFrame(
        {
            "network": "n",
            "rate": [0.1, 0.2],
            "every": [50, 100],
            "validation_accuracy": [0.9, 0.8],
            "test_accuracy": [0, 1],
        }
    )
    ring = search.trials(table, title="t", reference=(0.3, 100)).data[1]
    assert list(ring.x) == [50] and list(ring.y) == [0.1]


def test_learning_rates_has_a_panel_a_density():
    table = pd.DataFrame(
        {
            "density": [0.1, 0.1, 0.2],
            "setting": "s",
            "lr": [0.1, 0.1, 0.01],
            "seed": [0, 1, 0],
            "test_accuracy": [0.5, 0.7, 0.9],
        }
    )
    figure = search.learning_rates(table, title="t")
    assert [title.text for title in figure.layout.annotations[:2]] == ["10 % of the weights", "20 % of the weights"]
    assert figure.data[0].y == (60,) and figure.data[0].error_y.array == (10,)


def test_lines_have_a_colour_a_method_and_a_dash_an_allocation():
    table = pd.concat([runs().assign(init=init) for init in ("Random", "ERK")])
    lines = {trace.name: trace.line for trace in mask_changes.inference_cost(table, title="t", dash="init").data}
    assert list(lines) == ["a, Random", "b, Random", "a, ERK", "b, ERK"]
    assert lines["a, ERK"].color == lines["a, Random"].color != lines["b, ERK"].color
    assert lines["a, ERK"].dash == "dot"
