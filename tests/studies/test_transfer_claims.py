import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from labkit.figures import carrying
from labkit.ground.bounds import AtLeast, AtMost
from labkit.studies import carried as carried_arms
from labkit.studies import sources
from labkit.studies import transfer_claims as judged
from labkit.studies.transfer_study import ARMS, Route, study_transfer
from tests.studies.test_transfer import task


def series(values):
    """Differences by (level, seed)."""
    found = pd.Series(values)
    return found.rename_axis(["level", "seed"])


def table(accuracies):
    """(branch, level) -> accuracy of one seed, at 80 % of the weights a level."""
    rows = [(branch, level, 0, 0, 100 * 0.8**level, value) for (branch, level), value in accuracies.items()]
    columns = ["branch", "level", "seed", "copy", "percent_remaining", "accuracy_at_end"]
    return pd.DataFrame(rows, columns=columns)


def test_numbers_of_a_seed_are_means_over_levels_and_tasks_and_unknown_where_one_is_missing():
    gaps = {"a": series({(1, 0): 1.0, (2, 0): 3.0, (1, 1): 4.0, (2, 1): 4.0}),
            "b": series({(1, 0): -1.0, (1, 1): 2.0})}  # fmt: skip
    assert judged.means(gaps, [0, 1]) == [0.5, 3.0]
    assert judged.worst(gaps, [0, 1]) == [-1.0, 2.0]
    gaps["b"] = gaps["b"].drop((1, 1))
    assert [math.isnan(value) for value in judged.means(gaps, [0, 1])] == [False, True]
    assert [math.isnan(value) for value in judged.worst(gaps, [0, 1])] == [False, True]
    assert judged.means({}, [0]) == []


def test_a_richer_source_is_compared_on_every_task_with_native_tickets_on_its_own():
    ways = {"1": ("resnet50", "cifar100", "cifar10"), "2": ("resnet50", "cifar100", "svhn"),
            "3": ("resnet50", "cifar10", "svhn"), "4": ("vgg19", "cifar100", "cifar10")}  # fmt: skip
    tables = {
        "1": table({("ticket", 1): 0.80, ("carried", 1): 0.83}),
        "2": table({("ticket", 1): 0.90, ("carried", 1): 0.91}),
        "3": table({("ticket", 1): 0.90, ("carried", 1): 0.92}),
        "4": table({("ticket", 1): 0.80, ("carried", 1): 0.10}),
    }
    assert judged.richer_source(tables, ways, "resnet50", "cifar100", "cifar10", [0]) == [pytest.approx((3 - 1) / 2)]
    assert judged.richer_source(tables, ways, "conv_2", "cifar100", "cifar10", [0]) == []
    tables["2"] = table({("ticket", 1): 0.90, ("carried", 1): math.nan})
    found = judged.richer_source(tables, ways, "resnet50", "cifar100", "cifar10", [0])
    assert math.isnan(found[0]), "a network that diverged is not left out"


TWO = {"1": ("resnet50", "a", "b"), "2": ("vgg19", "a", "b")}
FALLS = {("ticket", 0): 0.9, ("ticket", 1): 0.84, ("ticket", 2): 0.8}  # at 80 % of the weights


def falling(one, other):
    """How much earlier the first falls."""
    return judged.falls_earlier({"1": table(one), "2": table(other)}, TWO, "resnet50", "vgg19")


def test_a_network_that_never_falls_is_a_bound():
    stays = {("ticket", level): 0.9 for level in range(3)}
    (found,) = falling(FALLS, stays)
    assert isinstance(found, AtLeast) and found == pytest.approx(80 - 64)
    (found,) = falling(stays, FALLS)
    assert isinstance(found, AtMost) and found == pytest.approx(64 - 80)
    (found,) = falling({("ticket", 0): 0.9, ("ticket", 1): 0.9}, stays | {("ticket", 2): 0.8})
    assert isinstance(found, AtMost) and found == pytest.approx(80 - 64), "it was not looked at below 80 %"
    assert math.isnan(falling(stays, stays)[0])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_when_a_network_fell_is_not_known_if_one_is_missing(level):
    assert math.isnan(falling(FALLS | {("ticket", level): math.nan}, FALLS)[0])
    assert falling(FALLS, FALLS) == [0]


def test_random_tickets_are_compared_with_native_ones_where_half_of_the_weights_are_left():
    ways = {"1": ("resnet50", "a", "b")}
    values = {("ticket", 1): 0.8, ("random_ticket", 1): 0.82, ("ticket", 5): 0.8, ("random_ticket", 5): 0.1}
    assert judged.random_above_native({"1": table(values)}, ways, "resnet50", [0]) == [pytest.approx(2.0)]


def test_published_curves_leave_out_what_repeats_the_sources_dense_network():
    assert sources.transfer_curves("across_datasets", "lenet_300_100", "mnist", "fashion_mnist").empty
    found = sources.transfer_curves("across_datasets", "vgg19", "cifar100", "cifar10")
    assert found.groupby("series").size().to_dict() == {"carried": 31, "native": 31, "random": 31}
    first = found[found["percent_remaining"] == 100].set_index("series")["value"]
    assert first["native"] == 0.9258 and first["carried"] == pytest.approx(0.9241)
    crossed = sources.transfer_curves("across_optimizers", "vgg19", "cifar10", "cifar10", ("adam", "sgd"))
    assert crossed.groupby("series").size()["carried"] == 30, "the dense one is a copy"


def test_the_route_that_is_furthest_from_nothing_is_judged_whatever_its_sign():
    gaps = {"a": series({(1, 0): 2.0, (1, 1): 1.0}), "b": series({(1, 0): -3.0, (1, 1): -1.0})}
    assert judged.furthest(gaps, [0, 1]) == [-3.0, -1.0], "their mean would be -0.25"
    assert judged.nearest(gaps, [0, 1]) == [2.0, 1.0]
    gaps["a"][1, 1] = math.nan
    assert math.isnan(judged.furthest(gaps, [0, 1])[1]), "what is not known may be the furthest"
    assert judged.furthest({}, [0]) == []
    ways = {"a": ("vgg19", "x", "y"), "b": ("resnet50", "x", "y")}
    assert list(judged.of_model(gaps, ways, "vgg19")) == ["a"]


ROUTE = [Route("slow", "fast")]


def test_a_study_holds_every_arm_on_the_target(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "log")
    specs = {"slow": task(levels=1), "fast": task(levels=1, model_options={"activation": "sigmoid"})}
    study = study_transfer(specs, ROUTE, [0], root=tmp_path)
    assert capsys.readouterr().out.count("besides PyTorch") == 1, "one plan, one estimate"
    (found,) = study.ends().values()
    assert sorted(set(found["branch"])) == sorted(["ticket", *ARMS]) and study.branches == list(ARMS)
    assert study.told() == {"slow → fast": ("lenet_300_100", "digits", "digits")}
    figure = carrying.by_task(study.ends(), title="A finding")
    names = [trace.name for trace in figure.data if trace.showlegend]
    assert names == ["native ticket", "carried ticket", "mask alone carried", "weights alone carried", "random ticket",
                     "random within layers"]  # fmt: skip
    few = study_transfer(specs, [Route("slow", "fast", {"carried": [0], "random_ticket": [1]})], [0], root=tmp_path)
    assert few.branches == ["carried", "random_ticket"] and few.arms["slow → fast"]["carried"].levels == [0]


@pytest.mark.filterwarnings("ignore:.*its loss was not finite")
def test_one_task_that_diverges_takes_only_what_starts_from_it(tmp_path):
    """Of `wild` the dense network diverges, so that none of its tickets starts, here or there."""
    wild = task(levels=1, train=replace(task().train, optimizer="sgd", lr=1e3))
    arms = {"carried": [0, 1], "random_ticket": [1]}
    routes = [Route("tame", "other", arms), Route("wild", "other", arms), Route("tame", "wild", arms)]
    specs = {"tame": task(levels=1), "other": task(levels=1, model_options={"activation": "sigmoid"}), "wild": wild}
    study = study_transfer(specs, routes, [0], root=tmp_path)
    tables = study.ends()
    assert tables["tame → other"]["accuracy_at_end"].notna().all()
    lost = tables["wild → other"][tables["wild → other"]["accuracy_at_end"].isna()]
    assert {("carried", 1), ("random_ticket", 1)} <= set(zip(lost["branch"], lost["level"], strict=True))
    assert lost["percent_remaining"].notna().all() and carried_arms.counts_apart(tables["tame → other"]) == 0
    gaps = carried_arms.gaps(tables, "carried", "ticket")
    assert set(gaps) == set(tables) and not math.isnan(judged.means({"a": gaps["tame → other"]}, [0])[0])
    assert math.isnan(judged.means(gaps, [0])[0]) and math.isnan(judged.worst(gaps, [0])[0])
    assert math.isnan(judged.furthest(gaps, [0])[0]) and math.isnan(judged.nearest(gaps, [0])[0])
    costs = study.costs()
    assert costs["tame → other"]["lost"].notna().all()
    assert not costs["wild → other"]["matches"].any(), "what is not known does not match"
    assert carried_arms.dense_gains(tables)["tame → wild"].isna().all()
    figure = carrying.by_task(tables, title="Some diverged")
    assert "mean of 1 seeds" in str(figure.layout.annotations)


def test_a_route_is_two_tasks_that_are_there_and_comes_once():
    with pytest.raises(ValueError, match="unknown task 'fats'"):
        study_transfer({"slow": task(), "fast": task()}, [Route("slow", "fats")], [0])
    with pytest.raises(ValueError, match=r"routes\[0\] is 'slow': it must be a Route"):
        study_transfer({"slow": task()}, ["slow"], [0])
    with pytest.raises(ValueError, match="routes is empty: give at least one"):
        study_transfer({"slow": task(), "fast": task()}, [], [0])
    with pytest.raises(ValueError, match="slow → fast twice"):
        study_transfer({"slow": task(), "fast": task()}, ROUTE * 2, [0])
    with pytest.raises(ValueError, match="unknown arm of slow → fast 'random'"):
        study_transfer(
            {"slow": task(), "fast": task()}, [Route("slow", "fast", {"carried": None, "random": None})], [0]
        )
    with pytest.raises(ValueError, match="must be a mapping with 'carried'"):
        study_transfer({"slow": task(), "fast": task()}, [Route("slow", "fast", {"random_ticket": None})], [0])
    with pytest.raises(ValueError, match=r"label of routes\[0\] is 7: it must be a text"):
        study_transfer({"slow": task(), "fast": task()}, [Route("slow", "fast", label=7)], [0])  # type: ignore[arg-type]
    for specs in ([task()], {1: task()}):
        with pytest.raises(ValueError, match="specs is .*: write a mapping with names as keys"):
            study_transfer(specs, ROUTE, [0])  # type: ignore[arg-type]


def costs(reuses, matches):
    return pd.DataFrame({"percent_remaining": 80.0, "reuses": reuses, "matches": matches}, index=[0])


def test_a_search_pays_only_where_its_ticket_is_as_accurate_as_the_dense_network():
    told = carrying.break_even_said({"a": costs(2.5, True), "b": costs(2.0, False), "c": costs(np.inf, True)})
    assert told.endswith("a: 3 at 80 % of the weights; b: none; c: none")
    figure = carrying.pays({"a": costs(2.5, True), "b": costs(2.0, False)})
    assert [trace.marker.symbol[0] for trace in figure.data] == ["circle", "circle-open"]


def test_figures_hold_as_many_routes_as_the_paper_has():
    tables = {f"route {n}": table({("ticket", 0): 0.9, ("carried", 1): 0.8}) for n in range(12)}
    assert len(carrying.by_task(tables, title="Twelve").layout.annotations) >= 12
    figure = carrying.pays({name: costs(2.0, True) for name in tables})
    assert len({(trace.line.color, trace.line.dash) for trace in figure.data}) == 12
