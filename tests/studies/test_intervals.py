"""Intervals of few numbers, against those of SciPy; differences paired by seed."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from labkit.studies.intervals import group_differences, paired_pp, t_interval, told


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_an_interval_is_that_of_a_paired_t_test(n, confidence):
    values = np.random.default_rng(n).normal(0.3, 1, n)
    wanted = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    found = t_interval(values, confidence)
    assert (found.low, found.high) == (pytest.approx(wanted.low), pytest.approx(wanted.high)) and found.n == n


def test_of_one_number_there_is_no_interval_and_of_none_no_mean():
    one, none = t_interval([0.5, math.nan]), t_interval([])
    assert (one.mean, one.n) == (0.5, 1) and math.isnan(one.low) and math.isnan(none.mean)
    assert told(none) == "no seed in common"


def test_only_seeds_that_both_have_are_paired_and_copies_are_averaged():
    one = pd.Series([0.9, 0.8, 0.7], index=[0, 1, 2])
    other = pd.Series([0.6, 0.8, 0.5], index=[0, 0, 2])
    assert paired_pp(one, other).to_dict() == pytest.approx({0: 20.0, 2: 20.0})


def test_a_network_that_diverged_is_in_no_difference():
    rows = [(f"{group}{seed}", group, seed, 10, accuracy, group == "b" and seed == 1)
            for group, values in {"a": [0.5, 0.5, 0.5], "b": [0.6, 0.1, 0.8]}.items()
            for seed, accuracy in enumerate(values)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["run", "group", "seed", "iteration", "test_accuracy", "diverged"])
    found = group_differences(table).iloc[0]
    assert (found["group"], found["minus"], found["n"]) == ("b", "a", 2) and found["mean"] == pytest.approx(20)


def test_a_confidence_in_percent_is_refused():
    with pytest.raises(ValueError, match="if 95 percent is meant, write 0.95"):
        t_interval([1.0, 2.0], 95)
