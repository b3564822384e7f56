"""Tables of evaluations as they were recorded, and what stands at the end of each network's training."""

import pandas as pd

from labkit.studies.branches import Runs

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


def ends(evaluations: pd.DataFrame) -> pd.DataFrame:
    """One row a network: how accurate it was at the end of training; nothing is chosen, so nothing need be held out.

    Networks that diverged are left out.

    Args:
        evaluations: what `curves` gave.

    Returns:
        Columns branch, level, seed, copy, percent_remaining, iterations (at the end), accuracy_at_end (on test data),
        and train_accuracy_at_end, a mean over the training batches since the evaluation before.
    """
    last = sound(evaluations).groupby(NETWORK, sort=False).tail(1)
    named = {"iteration": "iterations", "test_accuracy": "accuracy_at_end", "train_accuracy": "train_accuracy_at_end"}
    return last[[*NETWORK, "percent_remaining", *named]].rename(columns=named).reset_index(drop=True)


def sound(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Evaluations of the networks that did not diverge, each network's in order."""
    if "train_accuracy" not in evaluations:  # runs of before it was kept
        evaluations = evaluations.assign(train_accuracy=float("nan"))
    ordered = evaluations.sort_values([*NETWORK, "iteration"], kind="stable", ignore_index=True)
    return ordered[~ordered["diverged"]]


def want(table: pd.DataFrame, column: str) -> None:
    """Refuse a table that has not what is to be compared.

    Raises:
        ValueError: naming the column; of early stops it says that a table of `ends` has none, and what to use.
    """
    if column not in table:
        known = ", ".join(name for name in map(str, table) if "accuracy" in name) or "none"
        stopped = "early_stop" in column
        hint = "; nothing stops early where nothing is held out: use metrics.ticket_minus" if stopped else ""
        raise ValueError(f"this table has no {column}, but for accuracies {known}{hint}")
