"""A title says what was found in every network that is meant, or what is shown."""

import math

import pandas as pd
import pytest
import torch

from labkit.figures import findings, learning, lottery, mask_changes, titles, tradeoffs
from labkit.figures.style import finish
from labkit.notebook.settings import Settings, preset_values
from labkit.studies.tables import Row

NAN = math.nan
NEUTRAL = "Test accuracy, by weights left"


def tickets(accuracies):
    """What `metrics.outcomes` gives: (branch, level) -> an accuracy a seed; None where a seed diverged."""
    return pd.DataFrame(
        [
            {"branch": branch, "level": level, "seed": seed, "copy": 0, "percent_remaining": 100 * 0.8**level,
             "early_stop_iteration": 100, "accuracy_at_early_stop": accuracy, "accuracy_at_end": accuracy,
             "cut_off": False}
            for (branch, level), values in accuracies.items()
            for seed, accuracy in enumerate(values)
            if accuracy is not None
        ]
    )  # fmt: skip


def rows(accuracies):
    """What `sparse_metrics.ends` gives: (method, init, density) -> an accuracy a seed."""
    return pd.DataFrame(
        [
            {"method": method, "init": init, "density": density, "group": Row(method, init, density).group,
             "seed": seed, "test_accuracy": accuracy}
            for (method, init, density), values in accuracies.items()
            for seed, accuracy in enumerate(values)
            if accuracy is not None
        ],
        columns=["method", "init", "density", "group", "seed", "test_accuracy"],
    )  # fmt: skip


def test_a_difference_comes_with_its_smallest_and_largest():
    said = titles.spans("A minus B", {"Random": [-4.0, 6.0]}, 2, otherwise=NEUTRAL)
    assert said == "A minus B: -4.0 to +6.0 pp (Random), in 2 seeds", "not the mean, +1.0"


def test_one_collapsed_seed_shows_in_the_range():
    said = titles.spans("Random minus ERK", {"density 0.5": pd.Series([0.3, 84.7])}, 2, otherwise=NEUTRAL)
    assert said == "Random minus ERK: +0.3 to +84.7 pp (density 0.5), in 2 seeds", "not the mean, +42.5"


def test_nothing_found_is_nothing_said():
    for nothing in ({}, {"a": []}, {"a": pd.Series(dtype=float)}, {"a": [NAN, NAN]}, {"a": [math.inf]}):
        assert titles.spans("A minus B", nothing, 3, otherwise=NEUTRAL) == NEUTRAL


def test_a_seed_without_a_number_is_counted_as_missing():
    assert titles.spans("A", {"x": [1.0, NAN, 2.0]}, 3, otherwise=NEUTRAL) == "A: +1.0 to +2.0 pp (x), in 2 of 3 seeds"
    uneven = titles.spans("A", {"x": [1.0, 2.0], "y": [3.0, NAN], "z": []}, 2, otherwise=NEUTRAL)
    assert uneven == "A: +1.0 to +2.0 pp (x, in 2 seeds), +3.0 pp (y, in 1 of 2 seeds)"


def test_one_seed_is_called_one():
    assert titles.spans("A", {"x": [42.5]}, 1, otherwise=NEUTRAL) == "A: +42.5 pp (x), in 1 seed"


def test_a_half_is_rounded_as_written():
    assert titles.span([100 * (0.5105 - 0.487)]) == titles.span([2.35]) == "+2.4 pp"


def test_zero_has_one_sign():
    assert titles.span([-0.04, 0.04]) == "+0.0 pp"


def test_ticket_minus_names_the_levels_that_were_run():
    table = tickets({("ticket", 0): [0.9] * 3, ("ticket", 7): [0.90, 0.92, 0.93], ("random_reinit", 7): [0.90] * 3})
    said = findings.ticket_minus(table, "random_reinit", [7, 15], [0, 1, 2], otherwise=NEUTRAL)
    assert said == "Ticket minus random reinit at early stop: +0.0 to +3.0 pp (21 % of the weights), in 3 seeds"


def test_ticket_minus_at_a_level_that_was_not_run_is_neutral():
    table = tickets({("ticket", level): [0.9] * 3 for level in range(4)} | {("random_reinit", 3): [0.8] * 3})
    assert findings.ticket_minus(table, "random_reinit", [7, 15], [0, 1, 2], otherwise=NEUTRAL) == NEUTRAL
    assert "51.2 % of the weights" in findings.ticket_minus(table, "random_reinit", [3], [0, 1, 2], otherwise=NEUTRAL)


def test_ticket_minus_leaves_out_a_seed_that_diverged():
    table = tickets({("ticket", 7): [0.9, 0.9], ("random_reinit", 7): [0.8, None]})
    said = findings.ticket_minus(table, "random_reinit", [7], [0, 1], otherwise=NEUTRAL)
    assert said.endswith("+10.0 pp (21 % of the weights), in 1 of 2 seeds")


def test_the_best_level_is_said_to_be_the_best_of_several():
    table = tickets({("ticket", 0): [0.80, 0.90], ("ticket", 1): [0.90, 0.88], ("ticket", 2): [0.10, 0.10]})
    said = findings.best_level({"conv_2": table}, [0, 1], said="Tickets minus dense", otherwise=NEUTRAL)
    expected = "Tickets minus dense at early stop, at the best of 2 levels: -2.0 to +10.0 pp (conv_2), in 2 seeds"
    assert said == expected
    dense = table[table["level"] == 0]
    assert findings.best_level({"conv_2": dense}, [0, 1], said="Tickets", otherwise=NEUTRAL) == NEUTRAL
    assert "at the only level" in findings.best_level({"a": table[table["level"] < 2]}, [0, 1], said="T", otherwise="")


def test_below_dense_is_by_seed_and_says_how_far_down_was_looked():
    control = {("random_sparse", 1): [0.8, 0.95], ("random_sparse", 2): [0.7, 0.8]}
    table = tickets({("ticket", level): [0.9, 0.9] for level in range(3)} | control)
    said = findings.below_dense(table, ["random_sparse", "ticket"], [0, 1], otherwise=NEUTRAL)
    below = "Below dense for good, at early stop"
    first = "random sparse from between 80 and 64 % of the weights on"
    assert said == f"{below}: {first}, winning ticket nowhere down to 64 % (2 seeds)"
    table.loc[(table["branch"] == "random_sparse") & (table["seed"] == 1), "accuracy_at_early_stop"] = 1.0
    said = findings.below_dense(table, ["random_sparse"], [0, 1], otherwise=NEUTRAL)
    assert said == f"{below}: random sparse from 80 % of the weights on in 1 of 2 (2 seeds)"
    assert findings.below_dense(table[table["level"] == 0], ["ticket"], [0, 1], otherwise=NEUTRAL) == NEUTRAL


def test_below_dense_says_nothing_of_a_seed_whose_dense_network_diverged():
    table = tickets({("ticket", 0): [None, 0.9], ("ticket", 1): [0.8, 0.8]})
    assert findings.below_dense(table, ["ticket"], [0, 1], otherwise=NEUTRAL).endswith(
        "80 % of the weights on (1 of 2 seeds)"
    )
    assert findings.below_dense(table.query("level == 1"), ["ticket"], [0, 1], otherwise=NEUTRAL) == NEUTRAL


def test_methods_are_compared_by_allocation_and_density():
    table = rows({("RigL", "Random", 0.1): [0.50, 0.56], ("Static", "Random", 0.1): [0.40, 0.50],
                  ("RigL", "ERK", 0.1): [0.60], ("Static", "ERK", 0.1): [0.594]})  # fmt: skip
    said = findings.methods_minus(table, "RigL", "Static", [0, 1], otherwise=NEUTRAL)
    assert said == ("RigL minus Static: +6.0 to +10.0 pp (Random, density 0.1, in 2 seeds), "
                    "+0.6 pp (ERK, density 0.1, in 1 of 2 seeds)")  # fmt: skip


def test_methods_without_their_counterpart_are_not_compared():
    only = rows({("RigL", "ERK", 0.1): [0.6, 0.6], ("Dense", "", 1.0): [0.9, 0.9]})
    assert findings.methods_minus(only, "RigL", "Static", [0, 1], otherwise=NEUTRAL) == NEUTRAL
    assert findings.methods_minus(rows({}), "RigL", "Static", [0, 1], otherwise=NEUTRAL) == NEUTRAL


def test_accuracies_are_of_the_rows_there_are():
    table = rows({("RigL", "ERK", 0.2): [0.77, 0.938], ("Dense", "", 1.0): [0.933, 0.934], ("SET", "ER", 0.5): [0.5]})
    said = findings.accuracies(table, 0.2, [0, 1], otherwise=NEUTRAL)
    assert said == "Test accuracy at density 0.2: 77.0 to 93.8 % (RigL ERK), 93.3 to 93.4 % (Dense), in 2 seeds"
    assert findings.accuracies(table, 0.2, [0, 1], init="Random", otherwise=NEUTRAL) == NEUTRAL
    assert findings.accuracies(table[table["method"] == "Dense"], 0.2, [0, 1], otherwise=NEUTRAL) == NEUTRAL


def test_a_trial_in_which_a_seed_diverged_has_no_accuracy():
    tried = pd.DataFrame({"network": ["a", "a", "b", "b"], "validation_accuracy": [0.9, 0.92, 0.0, 0.91]})
    said = findings.trials(tried, [0, 1], otherwise=NEUTRAL)
    assert said == ("Validation accuracy of trials, worst to best, each a mean of 2 seeds: "
                    "90.0 to 92.0 % (a, in 2 trials), 91.0 % (b, in 1 of 2 trials)")  # fmt: skip
    assert findings.trials(tried[:0], [0, 1], otherwise=NEUTRAL) == NEUTRAL


def test_apart_is_of_seeds_that_have_all_and_of_two_at_least():
    table = pd.DataFrame({"a": [1.0, 2.0, NAN], "b": [3.0, 2.5, 1.0]})
    assert titles.apart(table).tolist() == [2.0, 0.5]
    assert titles.apart(table[["a"]]).empty


def test_minus_of_a_column_that_is_missing_is_empty():
    table = pd.DataFrame({("Random", 0.2): [1.0, 2.0], ("ERK", 0.3): [0.5, 3.0]})
    assert titles.minus(table, ("Random", 0.2), ("ERK", 0.3)).tolist() == [0.5, -1.0]
    assert titles.minus(table, ("Random", 0.5), ("ERK", 0.3)).empty


def run_of(notebook, **changes):
    return Settings(notebook, "quick", preset_values(notebook, "paper") | changes, ())


def test_what_was_published_of_another_network_or_length_is_said():
    assert run_of("lth_figure_5", seeds=[0], levels=3).published_as() == "", "as published"
    narrow = run_of("lth_figure_5", width=0.25, iterations={"conv_2": 4000})
    assert narrow.published_as() == "width 1, iterations 20,000 (conv_2)"
    short = run_of("rigl_table_3", model_options={"width": 0.5, "zero_last_norm": True}, duration="50ep")
    assert short.published_as() == "width 1, duration 250ep"
    assert run_of("rigl_table_2", model_options={"extra": 3}).published_as() == "width 1, dropout 0.3, extra default"
    assert run_of("lth_figure_3", activation="sigmoid").published_as() == "activation relu"


def test_a_table_says_what_stands_beside_what():
    here = run_of("rigl_table_2", model="conv_2", data="digits", model_options={"width": 0.25}, duration="150it")
    assert here.compared("WRN-22-2 on CIFAR-10") == (
        "conv_2 of width 0.25 on digits, 150it; published: WRN-22-2 on CIFAR-10, width 1, dropout 0.3, duration 250ep"
    )
    same = run_of("rigl_table_2").compared("WRN-22-2 on CIFAR-10")
    assert same == "wrn_22_2 on cifar10, 250ep; published: WRN-22-2 on CIFAR-10"


def captions(figure):
    return " ".join(annotation.text for annotation in figure.layout.annotations).replace("<br>", " ")


def test_captions_say_what_published_networks_were():
    table = tickets({("ticket", 0): [0.9]})
    lth = pd.DataFrame(columns=["metric", "P_m_percent", "architecture", "series", "value", "iteration"])
    sparse = rows({("RigL", "ERK", 0.2): [0.9]})
    theirs = pd.DataFrame(columns=["method", "init", "density", "accuracy", "test_flops"])
    costs = pd.DataFrame({"method": ["RigL"], "init": ["ERK"], "density": [0.2], "test_flops": [0.3]})
    ratios = pd.DataFrame({"method": ["RigL"], "seed": [0], "step": [0], "ratio": [0.3]})
    curves = table.assign(iteration=10, test_accuracy=0.9)
    beside = {"title": "t", "published_as": "width 1"}
    for figure in (
        lottery.by_sparsity(table, published=lth, **beside),
        learning.learning_curves(curves, [("", [("ticket", 0)])], published=lth, **beside),
        tradeoffs.by_density(sparse, published=theirs, **beside),
        tradeoffs.by_flops(sparse, costs, published=theirs, **beside),
        mask_changes.inference_cost(ratios, published=0.49, **beside),
    ):
        assert "published" in captions(figure) and captions(figure).endswith("with width 1")
    assert "width 1" not in captions(lottery.by_sparsity(table, **beside)), "nothing is drawn"


@pytest.mark.parametrize("columns", [1, 2])
def test_long_titles_and_captions_are_broken_and_get_room(columns):
    codes = {"a": torch.zeros(2, 2, dtype=int), "b": torch.zeros(2, 2, dtype=int)}
    short = mask_changes.mask_updates(codes, title="t", columns=columns)
    long = mask_changes.mask_updates(codes, title="word " * 50, columns=columns)
    lines = long.layout.title.text.split("<br>")
    assert len(lines) == 3 and all(len(line) <= 115 for line in lines)
    added = long.layout.margin.t - short.layout.margin.t
    assert added == long.layout.height - short.layout.height > 0, "the panels keep their size"
    finish(short, "t", "word " * 50)
    assert "<br>" in short.layout.annotations[-1].text and short.layout.margin.t > 95
