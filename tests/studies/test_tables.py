"""Rows, metrics, tables and figures of sparse training, by hand."""

import dataclasses
from math import isnan

import pandas as pd
import pytest

import labkit as lk
from labkit.figures import method_tables, tradeoffs
from labkit.sparsity import allocation, flops
from labkit.studies import sources, sparse_metrics, tables
from labkit.studies.tables import Row

BASE = lk.SparseSpec(
    model="conv_2",
    model_options={"width": 0.0625},
    train=lk.TrainSpec(duration="12it", optimizer="sgd", lr=0.05, momentum=0.9, batch_size=8, evaluate_every="12it"),
    topology=lk.TopologySpec(every="3it"),
)


def test_rows_are_read_from_their_names():
    assert Row.parse("SNFS2x Random", 0.2) == Row("SNFS", "Random", 0.2, 2)
    assert Row.parse("Small Dense", 0.1) == Row("Small Dense", "", 0.1)
    assert Row.parse("Dense", 0.1) == Row("Dense")
    with pytest.raises(ValueError, match="unknown method 'Rigl'"):
        Row.parse("Rigl ERK", 0.1)
    with pytest.raises(ValueError, match="RigL with init ''"):
        Row.parse("RigL", 0.1)
    groups = [Row.parse(name, 0.1).group for name in ("SET Random", "SET ERK", "SET2x Random", "Lottery", "Dense")]
    assert groups == [tables.GROUPS[n] for n in (0, 1, 2, 2, 3)]


def test_rows_as_specs():
    rigl = tables.spec(BASE, Row("RigL", "ERK", 0.2, 2))
    assert rigl.topology == lk.TopologySpec("rigl", 0.2, "erk", every="3it") and rigl.train.duration == "24it"
    pruning = tables.spec(BASE, Row("Pruning", "", 0.2), prune_begin="3it")
    assert (pruning.topology.method, pruning.topology.begin) == ("gradual", "3it")
    warm = dataclasses.replace(BASE, train=dataclasses.replace(BASE.train, lr_warmup="2it"))
    rows = [Row("Pruning", "", 0.2), Row("SET", "ERK", 0.2)]
    assert [tables.spec(warm, row).train.lr_warmup for row in rows] == ["2it", "2it"]
    assert [tables.spec(warm, row, prune_warmup="5it").train.lr_warmup for row in rows] == ["5it", "2it"]
    assert tables.spec(BASE, Row("Lottery", "", 0.2)).topology.method == "static"
    assert tables.spec(BASE, Row("Small Dense", "", 0.2)).model_options["width"] < 0.0625


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    names = ["Small Dense", "RigL Random", "SET ERK", "SNFS ERK", "Lottery", "Static2x Random", "Dense"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labkit.runs.scheduler.estimate", lambda *_: "")  # takes longer than these runs
        root = tmp_path_factory.mktemp("runs")
        return tables.train(BASE, tables.plan(names, [0.2]), [0, 1], prune_begin="3it", root=root)


def test_flops_of_rows(study):
    costs = sparse_metrics.costs(study).set_index("method")
    dense = flops.inference(study.experiment.layers)
    shapes = {name: layer.shape for name, layer in study.experiment.layers.items()}
    uniform = flops.inference(study.experiment.layers, allocation.uniform(shapes, 0.2)) / dense
    assert costs["closed_form"]["RigL"] == pytest.approx(uniform)
    assert costs["test_flops"]["RigL"] == pytest.approx(uniform, abs=2e-3)
    test = costs["test_flops"]["RigL"]
    assert costs["train_flops"]["RigL"] == pytest.approx((3 * test * 3 + 2 * test + 1) / (3 * 4))
    assert costs["train_flops"]["Static2x"] == pytest.approx(2 * costs["test_flops"]["Static2x"])
    assert costs["train_flops"]["Lottery"] > costs["test_flops"]["Lottery"] + 0.2, "its pruning run is counted"
    assert costs["train_flops"]["Small Dense"] == costs["test_flops"]["Small Dense"] < 0.5
    assert costs["train_flops"]["Dense"] == 1 and pd.isna(costs["closed_form"]["SNFS"])
    assert sparse_metrics.off_closed_form(sparse_metrics.costs(study)) < 5e-3, "whole weights in small layers"


def test_what_a_row_gained_over_the_same_row_of_another_study(study):
    table = sparse_metrics.ends(study)
    better = table.assign(test_accuracy=table["test_accuracy"] + 0.01 * (table["seed"] + 1)).query("method != 'Dense'")
    found = sparse_metrics.gained(better, table)
    assert len(found) == 12 and "Dense" not in set(found["method"])
    assert found.groupby("seed")["difference_pp"].unique().map(lambda x: x.round(6).tolist()).tolist()[0][0] == 1.0
    assert (found["difference_pp"] - (found["seed"] + 1)).abs().max() < 1e-9


def test_updates_conserve_counts(study):
    found = sparse_metrics.not_conserved(study)
    assert found["method"].tolist() == ["RigL", "SET", "SNFS"]
    assert found["changed"].tolist() == [0, 0, 0] and found["updates"].tolist() == [6, 6, 6]


def test_study_is_what_results_take(study):
    assert len(study.rows) == 7 and repr(study) == "Study(7 rows of conv_2 on digits)"
    assert len(sparse_metrics.ends(study)) == 14


def test_matched_density(study):
    density = sparse_metrics.matched_density(study.experiment.layers, 0.3)
    erk, uniform = (
        sparse_metrics.ratio(study.experiment.layers, *pair) for pair in (("erk", density), ("uniform", 0.3))
    )
    assert erk == pytest.approx(uniform, abs=1e-5)


def test_full_networks_cost_what_was_published():
    wrn = sparse_metrics.off_published("wrn_22_2", {}, sources.published("rigl_table2"))
    assert wrn < 0.005, "two decimals"


def outcome(method, init, density, group, accuracies):
    return [
        {"method": method, "init": init, "density": density, "group": tables.GROUPS[group], "seed": seed,
         "test_accuracy": accuracy}
        for seed, accuracy in enumerate(accuracies)
    ]  # fmt: skip


@pytest.fixture
def by_hand():
    rows = outcome("Static", "Random", 0.1, 0, [0.90, 0.92]) + outcome("RigL", "Random", 0.1, 0, [0.91, 0.95])
    rows += outcome("RigL", "ERK", 0.1, 1, [0.94, 0.96]) + outcome("Dense", "", 1.0, 3, [0.97, 0.97])
    costs = [
        {"method": row["method"], "init": row["init"], "density": row["density"], "train_flops": 0.1, "test_flops": 0.2}
        for row in rows[::2]
    ]
    return pd.DataFrame(rows), pd.DataFrame(costs)


PUBLISHED = pd.DataFrame(
    [
        {"method": "Static", "init": "Random", "density": 0.1, "accuracy_mean": 90.0, "accuracy_std": 0.17,
         "train_flops_ratio": 0.1, "test_flops_ratio": 0.1, "note": "suspect: a copy"},
        {"method": "RigL", "init": "ERK", "density": 0.1, "accuracy_mean": 94.0, "accuracy_std": 0.06,
         "train_flops_ratio": 0.17, "test_flops_ratio": 0.17, "note": None},
        {"method": "Dense", "init": "-", "density": 1.0, "accuracy_mean": 96.5, "accuracy_std": 0.1,
         "train_flops_ratio": 1, "test_flops_ratio": 1, "note": None},
    ]
)  # fmt: skip


def test_table_by_hand(by_hand):
    table = method_tables.sparse_table(*by_hand, title="by hand", published=PUBLISHED)
    assert table.densities == (0.1,) and [name for name, _ in table.groups] == [tables.GROUPS[n] for n in (0, 1, 3)]
    (static, rigl), (erk,), (dense,) = (rows for _, rows in table.groups)
    cell = static[2][0]
    assert cell == method_tables.Cell(
        "91.0 ± 1.41", False, "0.10×", "0.20×", ("90.0 ± 0.17", "0.10×", "0.10×"), "suspect: a copy"
    )
    assert rigl[2][0].best and rigl[2][0].published == ("", "", "")
    assert not erk[2][0].best, "alone in its group"
    assert dense[:2] == ("Dense", "") and dense[2][0].published[0] == "96.5 ± 0.10"
    assert repr(table) == "SparseTable(by hand: 4 rows)" and table.notes == ["suspect: a copy"]
    page = table._repr_html_()
    assert "<b>93.0 ± 2.83</b>" in page and "90.0 ± 0.17<sup>1</sup>" in page and "1. suspect: a copy" in page
    assert "published" not in method_tables.sparse_table(*by_hand, title="alone")._repr_html_()


def test_metrics_by_hand(by_hand):
    table = by_hand[0]
    found = sparse_metrics.method_minus(table, ("RigL", "Random"), ("Static", "Random"))
    assert found["difference_pp"].tolist() == pytest.approx([1.0, 3.0])
    more = pd.DataFrame({"density": [0.2, 0.1, 0.2], "seed": [0, 2, 2], "difference_pp": [-2.0, 5.0, 6.0]})
    least = sparse_metrics.least_by_seed(pd.concat([found, more]))
    assert least.to_dict() == {0: -2.0, 2: 5.0}, "seed 1 was not run at 0.2"
    assert sparse_metrics.method_minus(table, ("RigL", "ERK"), ("SET", "ERK")).empty
    assert sparse_metrics.summary(table)["std"].tolist() == pytest.approx(
        [0.01 * 2**0.5, 0.02 * 2**0.5, 0.01 * 2**0.5, 0]
    )
    assert sparse_metrics.largest_gap_pp(table, PUBLISHED) == pytest.approx(1.0), "the suspect row does not count"
    assert sparse_metrics.largest_gap_pp(table[:2], PUBLISHED) is None
    lost = table.assign(test_accuracy=table["test_accuracy"].where(table.index != table.index[-1]))
    assert isnan(sparse_metrics.largest_gap_pp(lost, PUBLISHED)), "a network diverged: the mean is of the others"


def test_a_comparison_by_method_notices_two_that_are_exchanged(by_hand):
    exchanged = sparse_metrics.swapped(by_hand[0], "RigL", "Static")
    found = sparse_metrics.method_minus(exchanged, ("RigL", "Random"), ("Static", "Random"))
    assert found["difference_pp"].tolist() == pytest.approx([-1.0, -3.0])


def test_figures(by_hand):
    published = PUBLISHED.rename(columns={"accuracy_mean": "accuracy", "test_flops_ratio": "test_flops"})
    figure = tradeoffs.by_density(by_hand[0], title="a finding", published=published)
    assert [trace.name for trace in figure.data] == [
        "published",
        "published",
        "Static Random",
        "RigL Random",
        "RigL ERK",
    ]
    assert [trace.showlegend for trace in figure.data[:2]] == [True, False]
    beside = [trace.x[0] for trace in figure.data[2:]]
    assert beside == sorted(beside, reverse=True) and beside[0] / beside[-1] == pytest.approx(1.012**2, abs=1e-3)
    assert figure.data[3].y[0] == 93.0 and figure.layout.xaxis.range[0] > figure.layout.xaxis.range[1]
    figure = tradeoffs.by_flops(*by_hand, title="a finding")
    longer = tradeoffs.by_flops(*by_hand, title="a finding", over="train_flops")
    assert longer.data[0].x[0] == 0.1 and longer.layout.xaxis.title.text.startswith("training FLOPs")
    assert figure.data[0].x[0] == 0.2 and "published" not in str(figure.layout.annotations)


def test_a_diverged_network_is_no_number(study):
    row, run = next(iter(study.rows.items()))
    table = run.metrics()
    diverged = table.assign(diverged=table["seed"] == 0)
    silent = dataclasses.replace(run)
    object.__setattr__(silent, "metrics", lambda: diverged)
    ends = sparse_metrics.ends(dataclasses.replace(study, rows={row: silent})).set_index("seed")["test_accuracy"]
    assert isnan(ends[0]) and ends[1] == run.ends().set_index("seed")["test_accuracy"][1]
    assert silent.ends().set_index("seed").loc[0, ["validation_loss", "validation_accuracy", "test_loss"]].isna().all()
    found = sparse_metrics.ends(study)
    lost = found.assign(test_accuracy=found["test_accuracy"].where(found["seed"] == 0))
    minus = sparse_metrics.method_minus(lost, ("RigL", "Random"), ("Static2x", "Random"))
    assert minus["difference_pp"].isna().tolist() == [False, True], "one of two: the mean is not known"
