"""Tidy tables from finished runs: learning curves, early stop, and tickets against their own controls, by seed.

Accuracies are fractions; differences in percentage points and ratios say so in their names. No number here is a best
over test data.
"""

from collections.abc import Sequence

import pandas as pd

from labkit.tickets import TICKET, Runs

NETWORK = ["branch", "level", "seed", "copy"]


def curves(*branches: Runs) -> pd.DataFrame:
    """All evaluations: branch, level, seed, copy, percent_remaining, iteration, and losses and accuracies by split.

    Raises:
        ValueError: if two experiments are mixed: the same branch, level, seed and copy from different runs.
    """
    table = pd.concat([runs.metrics() for runs in branches], ignore_index=True)
    if table.duplicated([*NETWORK, "iteration"]).any():
        raise ValueError(
            "these runs are of two experiments (the same branch, level and seed twice): make a table for each and tell "
            "them apart by a column of your own"
        )
    return table


def outcomes(evaluations: pd.DataFrame) -> pd.DataFrame:
    """One row a network: when it would have stopped early, and its accuracy then and at the end.

    Early stop is chosen after the fact: the first iteration at which the validation loss is smallest. Test data have
    no say in it. Networks that diverged are left out.

    Columns: branch, level, seed, copy, percent_remaining, early_stop_iteration, accuracy_at_early_stop,
    accuracy_at_end (both on test data), and train_accuracy_at_early_stop, a mean over the training batches since the
    evaluation before (so none at iteration 0).
    """
    if "train_accuracy" not in evaluations:  # runs of before it was kept
        evaluations = evaluations.assign(train_accuracy=float("nan"))
    ordered = evaluations.sort_values([*NETWORK, "iteration"], kind="stable", ignore_index=True)
    ordered = ordered[~ordered["diverged"]]
    networks = ordered.groupby(NETWORK, sort=False)
    whole = networks.tail(1).set_index(NETWORK)
    best = ordered.loc[networks["validation_loss"].idxmin()].set_index(NETWORK)
    return pd.DataFrame(
        {
            "percent_remaining": best["percent_remaining"],
            "early_stop_iteration": best["iteration"],
            "accuracy_at_early_stop": best["test_accuracy"],
            "accuracy_at_end": whole["test_accuracy"],
            "train_accuracy_at_early_stop": best["train_accuracy"],
        }
    ).reset_index()


def paired(table: pd.DataFrame, control: str, level: int) -> pd.DataFrame:
    """Each seed's ticket against its own controls at a level (several controls of a seed are averaged).

    Args:
        table: what `outcomes` gave.
        control: the branch to compare with.
        level: of pruning.

    Returns:
        A row a seed: `accuracy_at_early_stop_pp` and `accuracy_at_end_pp` (ticket minus control, percentage points)
        and `speed_ratio` (early-stop iteration of the control / of the ticket). Empty if the level was not run.
    """
    at = table[table["level"] == level]
    values = ["early_stop_iteration", "accuracy_at_early_stop", "accuracy_at_end"]
    ticket = at[at["branch"] == TICKET].groupby("seed")[values].mean()
    other = at[at["branch"] == control].groupby("seed")[values].mean()
    ticket, other = ticket.align(other, join="inner", axis=0)
    return pd.DataFrame(
        {
            "accuracy_at_early_stop_pp": 100 * (ticket["accuracy_at_early_stop"] - other["accuracy_at_early_stop"]),
            "accuracy_at_end_pp": 100 * (ticket["accuracy_at_end"] - other["accuracy_at_end"]),
            "speed_ratio": other["early_stop_iteration"] / ticket["early_stop_iteration"].clip(lower=1),
        }
    )


def against_dense(table: pd.DataFrame, level: int, branch: str = TICKET) -> pd.Series:
    """Accuracy at early stop minus that of the same seed's dense network, percentage points, by seed."""
    dense = table[(table["level"] == 0) & (table["branch"] == TICKET)].set_index("seed")["accuracy_at_early_stop"]
    sparse = table[(table["level"] == level) & (table["branch"] == branch)].groupby("seed")["accuracy_at_early_stop"]
    return (100 * (sparse.mean() - dense)).dropna()


def falls_below_dense(table: pd.DataFrame, branch: str, by_pp: float = 0.0) -> float:
    """Weights left (%) at the first level from which on a branch's mean accuracy stays below dense - `by_pp`.

    0.0 if it never falls for good. Accuracy is at early stop, averaged over networks.
    """
    dense = table[(table["level"] == 0) & (table["branch"] == TICKET)]["accuracy_at_early_stop"].mean()
    mean = (
        table[(table["branch"] == branch) & (table["level"] > 0)]
        .groupby("level")[["percent_remaining", "accuracy_at_early_stop"]]
        .mean()
    )
    above = mean[mean["accuracy_at_early_stop"] >= dense - by_pp / 100]
    below = mean if above.empty else mean.loc[mean.index > above.index.max()]
    return float(below["percent_remaining"].max()) if len(below) else 0.0


def largest_gain_pp(table: pd.DataFrame) -> float:
    """Mean accuracy at early stop of the best level of tickets minus dense, percentage points.

    The best of several levels on test data, as papers quote it: biased upwards; no substitute for `paired`.
    """
    mean = table[table["branch"] == TICKET].groupby("level")["accuracy_at_early_stop"].mean()
    return float(100 * (mean.drop(0).max() - mean[0]))


def largest_speedup(table: pd.DataFrame) -> float:
    """Mean early-stop iteration of dense over that of the fastest level of tickets; biased upwards likewise."""
    mean = table[table["branch"] == TICKET].groupby("level")["early_stop_iteration"].mean()
    return float(mean[0] / max(1.0, mean.drop(0).min()))


def share_below_ticket(table: pd.DataFrame, control: str, below_percent: float) -> float:
    """Share of the levels with fewer weights left (%) at which a control's mean accuracy at early stop is lower."""
    sparse = table[table["percent_remaining"] < below_percent]
    mean = sparse.pivot_table(index="level", columns="branch", values="accuracy_at_early_stop")
    both = mean.reindex(columns=[TICKET, control]).dropna()
    return float((both[control] < both[TICKET]).mean())


def spread(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean, minimum and maximum of a column over networks, for error bars."""
    return table.groupby(list(by))[value].agg(["mean", "min", "max", "count"]).reset_index()
