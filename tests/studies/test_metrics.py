"""Tables, verdicts, parameters, figures: what stands between finished runs and a reader."""

import math

import pandas as pd
import pytest

from labkit.figures import findings, learning, lottery
from labkit.figures.style import NAMES
from labkit.ground.bounds import AtLeast, AtMost
from labkit.ground.progress import Progress
from labkit.notebook.settings import preset_values, settings
from labkit.specs.tickets import PruneSpec, TicketSpec
from labkit.studies import comparisons, metrics, sources

FIGURE_3 = preset_values("lth_figure_3", "smoke")


def network(branch, level, seed, losses, accuracies, copy=0, percent=100.0):
    about = {
        "branch": branch,
        "level": level,
        "seed": seed,
        "copy": copy,
        "percent_remaining": percent,
        "diverged": False,
    }
    return [
        {**about, "iteration": 10 * n, "validation_loss": loss, "test_accuracy": accuracy}
        for n, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True))
    ]


@pytest.fixture
def table():
    rows = network("ticket", 0, 0, [3, 2, 1, 1], [0.1, 0.5, 0.90, 0.95])
    rows += network("ticket", 1, 0, [3, 1, 2, 2], [0.1, 0.93, 0.8, 0.96], percent=80.0)
    rows += network("random_reinit", 1, 0, [3, 2, 1, 2], [0.1, 0.5, 0.90, 0.90], percent=80.0)
    rows += network("random_reinit", 1, 0, [3, 2, 2, 1], [0.1, 0.5, 0.80, 0.92], copy=1, percent=80.0)
    return metrics.outcomes(pd.DataFrame(rows))


def test_outcomes_by_hand(table):
    tickets = table[table["branch"] == "ticket"]
    assert tickets["early_stop_iteration"].tolist() == [20, 10], "the first minimum"
    assert tickets["accuracy_at_early_stop"].tolist() == [0.90, 0.93]
    assert tickets["accuracy_at_end"].tolist() == [0.95, 0.96]


def test_paired_by_hand(table):  # pitfall: one-noisy-early-stop: by seed, several controls averaged
    paired = metrics.paired(table, "random_reinit", 1)
    assert paired.loc[0, "accuracy_at_early_stop_pp"] == pytest.approx(93 - (90 + 92) / 2)
    assert paired.loc[0, "speed_ratio"] == pytest.approx(25 / 10)
    assert metrics.against_dense(table, 1).tolist() == pytest.approx([3.0])
    assert comparisons.falls_below_dense(table, "ticket") == 0.0
    assert comparisons.falls_below_dense(table, "random_reinit") == 0.0  # 0.91 on average
    lower = table.copy()
    lower.loc[lower["branch"] == "random_reinit", "accuracy_at_early_stop"] = 0.8
    assert comparisons.falls_below_dense(lower, "random_reinit") == 80.0


def test_what_never_fell_or_never_stopped_is_a_bound():
    rows = network("ticket", 0, 0, [3, 1, 2], [0.1, 0.9, 0.9]) + network(
        "ticket", 1, 0, [3, 1, 2], [0.1, 0.9, 0.8], percent=80.0
    )
    rows += network("ticket", 2, 0, [3, 1, 2], [0.1, 0.9, 0.8], percent=64.0)
    rows += network("random_sparse", 1, 0, [3, 2, 1], [0.1, 0.5, 0.8], percent=80.0)
    rows += network("random_sparse", 2, 0, [3, 1, 2], [0.1, 0.8, 0.8], percent=64.0)
    table = metrics.outcomes(pd.DataFrame(rows))
    (gap,) = comparisons.falls_earlier_by(table, "random_sparse")
    assert (gap, type(gap)) == (16.0, AtLeast), "tickets fall below 64 % or nowhere: 80 - 64 or more"
    (slow,), (fast,) = (comparisons.speed_ratios(table, "random_sparse", level) for level in (1, 2))
    assert (slow, type(slow)) == (2.0, AtLeast), "its loss was still falling at the end"
    assert (fast, type(fast)) == (1.0, float)
    swapped = table.replace({"branch": {"ticket": "random_sparse", "random_sparse": "ticket"}})
    swapped.loc[swapped["level"] == 0, "branch"] = "ticket"
    (gap,) = comparisons.falls_earlier_by(swapped, "random_sparse")
    assert (gap, type(gap)) == (-16.0, AtMost)
    (slow,) = comparisons.speed_ratios(swapped, "random_sparse", 1)
    assert (slow, type(slow)) == (0.5, AtMost)
    flat = table.assign(accuracy_at_early_stop=0.9, cut_off=True)
    assert all(map(math.isnan, comparisons.falls_earlier_by(flat, "random_sparse"))), "neither falls: nothing is known"
    gone = table[(table["branch"] == "random_sparse") | (table["level"] != 2)]
    assert all(map(math.isnan, comparisons.falls_earlier_by(gone, "random_sparse"))), "one that diverged does not fall"
    assert all(map(math.isnan, comparisons.speed_ratios(flat, "random_sparse", 1)))


def test_largest_gain_speedup_and_share_by_hand(table):
    assert comparisons.largest_gain_pp(table, [0]) == pytest.approx(3.0)
    assert comparisons.largest_speedup(table, [0]) == pytest.approx(2.0)
    assert comparisons.share_below_ticket(table, "random_reinit", below_percent=90, seeds=[0]) == 1.0
    assert comparisons.share_below_ticket(table, "random_reinit", below_percent=50, seeds=[0]) != 1.0, (
        "no level that sparse"
    )


def test_a_mean_over_networks_of_which_one_diverged_is_no_measurement(table):
    of_another_seed = metrics.outcomes(pd.DataFrame(network("ticket", 0, 1, [3, 2, 1, 1], [0.1, 0.5, 0.9, 0.95])))
    lost = pd.concat([table, of_another_seed], ignore_index=True)
    for found in (comparisons.largest_gain_pp(lost, [0, 1]), comparisons.largest_speedup(lost, [0, 1])):
        assert math.isnan(found), "dense is of two seeds, level 1 of one"
    assert math.isnan(comparisons.share_below_ticket(lost, "random_reinit", below_percent=90, seeds=[0, 1]))
    for found in (comparisons.largest_gain_pp(table, [0, 1]), comparisons.largest_speedup(table, [0, 1])):
        assert math.isnan(found), "seed 1 diverged at level 0: it is nowhere in the table"


def test_a_speedup_over_networks_that_did_not_stop_is_a_bound(table):
    assert type(comparisons.largest_speedup(table, [0])) is float
    assert comparisons.stops_earlier_by(table, 1) == [50.0], "iteration 10 instead of 20"
    for level, kind in ((0, AtLeast), (1, AtMost)):
        cut = table.assign(cut_off=(table["level"] == level) & (table["branch"] == "ticket"))
        assert type(comparisons.largest_speedup(cut, [0])) is kind
        assert [type(earlier) for earlier in comparisons.stops_earlier_by(cut, 1)] == [kind]
    assert comparisons.stops_earlier_by(table, 9) == [], "not run"


def test_a_network_that_never_improved_is_not_fast(table):
    dead = table.assign(never_improved=table["level"] == 1, early_stop_iteration=table["early_stop_iteration"] * 0)
    assert math.isnan(comparisons.largest_speedup(dead, [0]))
    assert all(map(math.isnan, comparisons.stops_earlier_by(dead, 1)))
    assert all(map(math.isnan, comparisons.speed_ratios(dead, "random_reinit", 1)))
    rows = network("ticket", 0, 0, [1, 2, 3], [0.1, 0.2, 0.3]) + network("ticket", 1, 0, [3, 2, 1], [0.1, 0.2, 0.3])
    assert metrics.outcomes(pd.DataFrame(rows))["never_improved"].tolist() == [True, False]


def test_means_over_levels_want_them_all():
    index = pd.MultiIndex.from_tuples([(1, 0), (1, 1), (2, 0)], names=["level", "seed"])
    found = comparisons.over_levels(pd.DataFrame({"low": [1.0, 2.0, 3.0], "high": [1.0, 2.0, math.nan]}, index))
    assert found["low"][0] == 2.0 and found["low"].isna().tolist() == [False, True]
    assert found["high"].isna().tolist() == [True, True]


def test_early_stops_that_were_cut_off_are_marked_in_the_figure_and_said(table):
    cut = table.assign(cut_off=table["level"] == 1)
    for rows, said in ((cut, True), (table.assign(cut_off=False), False)):
        figure = lottery.by_sparsity(rows, title="t")
        stops, ends = (trace for trace in figure.data if trace.name == NAMES["ticket"])
        assert stops.marker.symbol == ("circle", "triangle-up-open" if said else "circle"), "of levels 0 and 1"
        assert set(ends.marker.symbol) == {"circle"}, "accuracies are what they are"
        assert any("open triangles" in note.text for note in figure.layout.annotations) == said


def test_accuracy_at_fractions_by_hand():
    rows = network("ticket", 0, 0, [3, 2, 1, 1, 1], [0.1, 0.5, 0.6, 0.8, 0.9])  # iterations 0, 10, ..., 40
    rows += network("ticket", 1, 0, [3, 2, 1, 1, 1], [0.2, 0.4, 0.7, 0.6, 0.5])
    table = metrics.at_fractions(pd.DataFrame(rows), [1 / 4, 2 / 3, 1])
    assert table["accuracy_at_0.25_of_run"].tolist() == [0.5, 0.4], "iteration 10"
    assert table["accuracy_at_0.666667_of_run"].tolist() == [0.6, 0.7], "27 is not evaluated: 20 is the last before"
    assert table["accuracy_at_1_of_run"].equals(table["accuracy_at_end"].rename("accuracy_at_1_of_run"))
    assert table["early_stop_iteration"].tolist() == [20, 20], "the outcomes are in it too"
    with pytest.raises(ValueError, match=r"fractions\[0\] is 1.5: it must lie in"):
        metrics.at_fractions(pd.DataFrame(rows), [1.5])
    late = [row for row in rows if row["level"] == 0 or row["iteration"] >= 20]
    with pytest.raises(ValueError, match="not evaluated up to 0.25 of the run"):
        metrics.at_fractions(pd.DataFrame(late), [0.25])


@pytest.fixture
def unheld():
    """Evaluations of tickets and a control that held nothing out."""
    rows = network("ticket", 0, 0, [None] * 3, [0.1, 0.97, 0.9]) + network("ticket", 1, 0, [None] * 3, [0.1, 0.5, 0.93])
    rows += network("random_reinit", 1, 0, [None] * 3, [0.1, 0.95, 0.88])
    return pd.DataFrame([row | {"train_accuracy": row["test_accuracy"] / 2} for row in rows])


def test_without_validation_accuracies_are_those_at_the_end(unheld):
    ends = metrics.ends(unheld)
    assert ends["accuracy_at_end"].tolist() == [0.88, 0.9, 0.93] and set(ends["iterations"]) == {20}
    assert ends["branch"].tolist() == ["random_reinit", "ticket", "ticket"], "not the best, which was earlier"
    assert ends["train_accuracy_at_end"].tolist() == [0.44, 0.45, 0.465]
    assert metrics.ticket_minus(ends, "random_reinit").to_dict() == pytest.approx({(1, 0): 5.0})
    assert metrics.ticket_minus(ends, "dense").to_dict() == pytest.approx({(1, 0): 3.0})
    halfway = metrics.at_fractions(unheld, [0.5])
    assert halfway["accuracy_at_0.5_of_run"].tolist() == [0.95, 0.97, 0.5]
    figure = lottery.by_sparsity(ends, panels=[lottery.END], columns=1, title="t")
    assert [list(trace.y) for trace in figure.data] == [[90.0, 93.0], [88.0]]


def test_ends_of_runs_with_validation_are_those_of_their_outcomes():
    rows = network("ticket", 0, 0, [3, 1, 2], [0.1, 0.95, 0.9])
    rows += [row | {"diverged": True} for row in network("ticket", 0, 1, [1, 1, 1], [0.1, 0.1, 0.1])]
    ends, outcomes = metrics.ends(pd.DataFrame(rows)), metrics.outcomes(pd.DataFrame(rows))
    assert ends["accuracy_at_end"].tolist() == outcomes["accuracy_at_end"].tolist() == [0.9]
    assert ends["train_accuracy_at_end"].isna().all(), "runs of before it was kept"


def test_what_chooses_by_validation_says_what_to_use_without(unheld):
    ends = metrics.ends(unheld)
    with pytest.raises(
        ValueError, match=r"no early stop without a validation loss .*validation is 0.*use metrics.ends"
    ):
        metrics.outcomes(unheld)
    calls = [
        lambda: metrics.paired(ends, "random_reinit", 1),
        lambda: metrics.against_dense(ends, 1),
        lambda: metrics.ticket_minus(ends, "dense", "accuracy_at_early_stop"),
        lambda: comparisons.speed_ratios(ends, "random_reinit", 1),
        lambda: comparisons.falls_below_dense(ends, "ticket"),
        lambda: comparisons.falls_earlier_by(ends, "random_reinit"),
        lambda: comparisons.largest_gain_pp(ends, [0]),
        lambda: comparisons.largest_speedup(ends, [0]),
        lambda: comparisons.stops_earlier_by(ends, 1),
        lambda: comparisons.share_below_ticket(ends, "random_reinit", 90, [0]),
        lambda: lottery.by_sparsity(ends, title="t"),
        lambda: findings.best_level({"n": ends}, [0], said="s", otherwise="o"),
        lambda: findings.below_dense(ends, ["ticket"], [0], otherwise="o"),
        lambda: findings.ticket_minus(ends, "random_reinit", [1], [0], otherwise="o"),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"no (accuracy_at_early_stop|early_stop_iteration), .*metrics.ticket_minus"
        ):
            call()
    with pytest.raises(
        ValueError, match="this table has no accuracy_at_0.5_of_run, but for accuracies accuracy_at_end"
    ):
        metrics.ticket_minus(ends, "dense", "accuracy_at_0.5_of_run")


def test_ticket_minus_by_hand(table):
    at_end = metrics.ticket_minus(table, "random_reinit")
    assert at_end.to_dict() == pytest.approx({(1, 0): 96 - (90 + 92) / 2})
    stopped = metrics.ticket_minus(table, "random_reinit", "accuracy_at_early_stop")
    assert stopped.to_dict() == pytest.approx({(1, 0): 93 - (90 + 92) / 2})
    assert metrics.ticket_minus(table, "dense").to_dict() == pytest.approx({(1, 0): 96 - 95})
    assert metrics.ticket_minus(table, "random_sparse").empty, "a branch that was not trained"


@pytest.mark.parametrize(
    ("model", "prune", "level", "percent"),
    [  # counted by hand from the layers' shapes
        ("lenet_300_100", {"rate": 0.2, "output_rate": 0.1}, 1, 100 * (188_160 + 24_000 + 900) / 266_200),
        ("vgg19", {"scope": "global", "output_rate": 0.0}, 1, 100 * (16_015_104 + 5_120) / 20_024_000),
        ("vgg19", {"scope": "global", "output_rate": 0.0}, 0, 100.0),
    ],
)
def test_expected_percent_by_hand(model, prune, level, percent):
    spec = TicketSpec(model=model, prune=PruneSpec(**prune))
    assert metrics.expected_percent(spec, level) == pytest.approx(percent, abs=1e-9)


def test_a_diverged_network_is_left_out():
    rows = network("ticket", 0, 0, [2, 1], [0.5, 0.9])
    rows += [row | {"diverged": True} for row in network("ticket", 0, 1, [float("nan"), float("nan")], [0.1, 0.1])]
    assert metrics.outcomes(pd.DataFrame(rows))["seed"].tolist() == [0]


def test_units_are_in_the_names(table):  # pitfall: relative-or-absolute
    columns = [*table.columns, *metrics.paired(table, "random_reinit", 1).columns]
    assert all(
        name.endswith(("_pp", "_ratio")) for name in columns if "minus" in name or "gap" in name or "_pp" in name
    )
    assert table[["accuracy_at_early_stop", "accuracy_at_end"]].max().max() <= 1


def test_published_tables():
    lth = sources.published("lth")
    assert lth.query("figure == 'Fig3'")["value"].notna().all() and "provenance" in lth
    with pytest.raises(ValueError, match="did you mean 'lth'"):
        sources.published("lthh")


def test_parameters_of_a_notebook():
    assert settings("lth_figure_3", FIGURE_3).changed == ()
    assert settings("lth_figure_3", FIGURE_3 | {"levels": 3}).changed == ("levels",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 3}, "unknown parameter 'level': did you mean 'levels'"),
        ({"preset": "smok"}, "unknown preset 'smok': did you mean 'smoke'"),
        ({"levels": "3"}, "parameter levels is '3': it must be a int, such as 15"),
        ({"levels": 3.0}, "parameter levels is 3.0"),
        ({"seeds": 3}, "parameter seeds is 3: it must be a list"),
        ({"seeds": [0, "1"]}, r"parameter seeds \(an element\) is '1'"),
        ({"levels": True}, "parameter levels is True"),
    ],
)
def test_wrong_parameters(change, message):
    with pytest.raises(ValueError, match=message):
        settings("lth_figure_3", FIGURE_3 | change)


def test_parameters_in_a_kernel_are_those_of_the_two_cells():
    cells = ["import labkit as lk", "preset = 'smoke'\nlevels = 15", "# Parameters\nlevels = 3\nsparsity = 0.9\n"]
    with pytest.raises(ValueError, match="unknown parameter 'sparsity'"):
        settings("lth_figure_3", FIGURE_3 | {"In": cells})
    again = [*cells[:1], "preset = 'smoke'\nlevls = 3", "preset = 'smoke'\nlevels = 3"]
    assert settings("lth_figure_3", FIGURE_3 | {"In": again, "levls": 3}).preset == "smoke", "a mended name is mended"
    later = FIGURE_3 | {"In": [*cells[:2], "%matplotlib inline", "shown = [1, 2]"], "shown": [1, 2]}
    assert settings("lth_figure_3", later).preset == "smoke", "what later cells assign is no parameter"


def test_unknown_notebook():
    with pytest.raises(ValueError, match="did you mean 'lth_figure_3'"):
        settings("lth_figur_3", {})


def test_figures_state_what_their_bars_are(table):  # pitfall: unnamed-bars
    rows = network("ticket", 0, 0, [3, 2, 1], [0.1, 0.5, 0.9]) + network("ticket", 0, 1, [3, 2, 1], [0.1, 0.6, 0.95])
    lth = sources.published("lth").query("figure == 'Fig1' and architecture == 'lenet-300-100'")
    drawn = [
        learning.learning_curves(pd.DataFrame(rows), [("all", [("ticket", 0)])], title="t"),
        lottery.by_sparsity(table, title="t", published=lth),
    ]
    for figure in drawn:
        captions = [annotation.text for annotation in figure.layout.annotations]
        assert any("lowest to highest" in caption for caption in captions)
        assert figure.layout.title.text == "t"
    assert drawn[1].layout.xaxis.range[0] > drawn[1].layout.xaxis.range[1], "weights left fall from left to right"
    assert any(trace.name == "published winning ticket" for trace in drawn[1].data)


def test_panels_at_fractions_share_a_row(table):
    rows = table.assign(network="a", **{f"accuracy_at_{x}_of_run": 0.5 for x in ("0.25", "0.5", "1")})
    panels = [lottery.at_fraction(x, 2000) for x in (0.25, 0.5, 1)]
    figure = lottery.by_sparsity(rows, panels=panels, columns=3, title="t", dotted="random")
    headings = [annotation.text for annotation in figure.layout.annotations]
    assert headings[:3] == ["At iteration 500", "At iteration 1,000", "At iteration 2,000"]
    assert {trace.name: trace.line.dash for trace in figure.data} == {
        "a winning ticket": "solid", "a random reinit": "dot",
    }  # fmt: skip
    assert figure.layout.yaxis2.title.text is None, "one title for the axis they share"


def test_differences_keep_the_order_of_their_categories():
    rows = [
        {"start": start, "pp": pp, "other": "dense", "network": "n", "seed": seed}
        for start, values in (("warm", (1.0, 3.0)), ("0it", (-1.0, -2.0)))
        for seed, pp in enumerate(values)
    ]
    names = {"x": "start", "y": "pp", "lines": "other", "panels": "network", "title": "t", "axes": ("to", "pp")}
    figure = lottery.differences(pd.DataFrame(rows), **names)
    assert list(figure.data[0].x) == ["warm", "0it"] and list(figure.data[0].y) == [2.0, -1.5]
    assert list(figure.data[0].error_y.array) == [1.0, 0.5]
    broken = lottery.differences(pd.DataFrame(rows), **names, apart=["warm"])
    assert list(broken.data[0].x) == ["warm", None, "0it"], "no line between them"


def test_progress_in_a_log_is_sparse(monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_PROGRESS", "log")
    progress = Progress("work", 100)
    for done in range(100):
        progress(done)
    progress.close()
    assert capsys.readouterr().out.splitlines() == ["work: done in under a second"]
    monkeypatch.setenv("LABKIT_PROGRESS", "lines")
    with pytest.raises(ValueError, match="did you mean 'line'"):
        Progress("work", 1)
