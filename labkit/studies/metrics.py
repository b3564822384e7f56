"""Tidy tables from finished runs: learning curves, early stop, and tickets against their own controls, by seed.

Accuracies are fractions; differences in percentage points and ratios say so in their names. No number here is a best
over test data.
"""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch

from labkit.ground import names
from labkit.ground.lists import listed
from labkit.runs.experiment import Experiment
from labkit.sparsity.pruning import keep_counts, surviving
from labkit.specs.tickets import TICKET, TicketSpec
from labkit.studies.branches import Runs
from labkit.studies.evaluations import NETWORK, curves, ends, sound, want

__all__ = [
    "against_dense", "at_fractions", "curves", "ends", "expected_percent", "moved", "outcomes", "paired", "spread",
    "ticket_minus",
]  # fmt: skip


def outcomes(evaluations: pd.DataFrame) -> pd.DataFrame:
    """One row a network: when it would have stopped early, and its accuracy then and at the end.

    Early stop is chosen after the fact: the first iteration at which the validation loss is smallest. Test data have
    no say in it. Networks that diverged are left out.

    Columns: branch, level, seed, copy, percent_remaining, early_stop_iteration, accuracy_at_early_stop,
    accuracy_at_end (both on test data), train_accuracy_at_early_stop, a mean over the training batches since the
    evaluation before (so none at iteration 0), cut_off: the smallest loss is the last one, so that training longer
    might have stopped later, and never_improved: it is the first one.

    Raises:
        ValueError: if nothing was held out for validation: `ends` chooses nothing.
    """
    ordered = sound(evaluations)
    if ordered["validation_loss"].isna().any():
        raise ValueError(
            "there is no early stop without a validation loss (validation is 0): use metrics.ends, which gives the "
            "accuracy at the end alone"
        )
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
            "cut_off": best["iteration"] == whole["iteration"],
            "never_improved": best["iteration"] == networks.head(1).set_index(NETWORK)["iteration"],
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

    Raises:
        ValueError: for a table of `ends`, in which nothing stopped early: `ticket_minus` takes that.
    """
    want(table, "accuracy_at_early_stop")
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


def at_fractions(evaluations: pd.DataFrame, fractions: Sequence[float]) -> pd.DataFrame:
    """What `outcomes` gives (`ends`, where nothing was held out), and test accuracy at fractions of the run.

    For LTH Figures 7 and 8.

    Args:
        evaluations: what `curves` gave.
        fractions: of the run's iterations, in (0, 1]; the last evaluation up to there counts.

    Returns:
        A row a network, with a column `accuracy_at_{fraction:g}_of_run` for each fraction.

    Raises:
        ValueError: for a fraction out of range, or before a network's first evaluation.
    """
    held_out = evaluations["validation_loss"].notna().any()
    table = (outcomes if held_out else ends)(evaluations).set_index(NETWORK)
    kept = evaluations[~evaluations["diverged"]].sort_values([*NETWORK, "iteration"])
    for fraction in listed("fractions", fractions, of=partial(names.fraction, one=True), like="[0.5, 1.0]"):
        until = kept[kept["iteration"] <= round(fraction * kept["iteration"].max())].groupby(NETWORK).tail(1)
        if len(until) < len(table):
            raise ValueError(f"some networks were not evaluated up to {fraction:g} of the run: they started later")
        table[f"accuracy_at_{fraction:g}_of_run"] = until.set_index(NETWORK)["test_accuracy"]
    return table.reset_index()


def ticket_minus(table: pd.DataFrame, other: str, value: str = "accuracy_at_end") -> pd.Series:
    """Each seed's ticket minus its own controls (their mean) or its dense network, percentage points.

    Args:
        table: what `outcomes`, `ends` or `at_fractions` gave.
        other: a branch, or "dense" for level 0 of the same seed.
        value: a column of accuracies.

    Returns:
        By level (from 1) and seed; levels at which only one of the two was trained are left out.

    Raises:
        ValueError: if the table has no such column.
    """
    want(table, value)
    mean = table.groupby(["branch", "level", "seed"])[value].mean()
    tickets = mean.get(TICKET, mean.iloc[:0].droplevel("branch"))
    if other == "dense":
        dense = tickets.xs(0, level="level")
        controls = dense.reindex(tickets.index.get_level_values("seed")).set_axis(tickets.index)
    else:
        controls = mean.get(other, tickets.iloc[:0])
    found = (100 * (tickets - controls)).dropna()
    return found[found.index.get_level_values("level") > 0].rename(f"ticket minus {other}, pp")


def against_dense(table: pd.DataFrame, level: int, branch: str = TICKET) -> pd.Series:
    """Accuracy at early stop minus that of the same seed's dense network, percentage points, by seed.

    Raises:
        ValueError: for a table of `ends`, in which nothing stopped early: `ticket_minus` takes that.
    """
    want(table, "accuracy_at_early_stop")
    dense = table[(table["level"] == 0) & (table["branch"] == TICKET)].set_index("seed")["accuracy_at_early_stop"]
    sparse = table[(table["level"] == level) & (table["branch"] == branch)].groupby("seed")["accuracy_at_early_stop"]
    return (100 * (sparse.mean() - dense)).dropna()


def spread(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean, minimum and maximum of a column over networks, for error bars."""
    return table.groupby(list(by))[value].agg(["mean", "min", "max", "count"]).reset_index()


def expected_percent(spec: TicketSpec, level: int) -> float:
    """Weights left (%) after `level` rounds, counted from the network's shapes and the rates of a spec; nothing trains.

    All prunable weights count, those of layers that are left out too, as in the paper's P_m.

    Raises:
        ValueError: for a spec that cannot run.
    """
    experiment = Experiment(spec)
    at, sizes = experiment.rates, experiment.sizes
    if spec.prune.scope == "layer":
        kept = sum(keep_counts(sizes, at, level).values())
    else:
        pool = sum(sizes[name] for name in sizes if at[name] > 0)
        kept = surviving(pool, spec.prune.rate, level) + sum(sizes.values()) - pool
    return 100 * kept / sum(sizes.values())


def moved(tickets: Runs, level: int) -> pd.Series:
    """How far a ticket's starting weights lie from the initialisation, by seed: ||m * (w_k - w_0)|| / ||m * w_0||.

    m is the ticket's mask, w_k the dense network's weights at the step that was rewound to; 0 if that is step 0.

    Raises:
        ValueError: if there is no such level.
    """
    found = {}
    for seed in tickets.runs[level].seeds:
        ticket, dense = tickets.ticket(seed, level), tickets.ticket(seed, 0)
        start = torch.cat([dense.weights[name][mask] for name, mask in ticket.mask.items()])
        now = torch.cat([ticket.weights[name][mask] for name, mask in ticket.mask.items()])
        found[seed] = float((now - start).norm() / start.norm())
    return pd.Series(found, name="moved").rename_axis("seed")
