"""Tidy tables from finished runs: learning curves, early stop, and tickets against their own controls, by seed.

Accuracies are fractions; differences in percentage points and ratios say so in their names. No number here is a best
over test data.
"""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch

from labkit.ground import names
from labkit.ground.bounds import bounded
from labkit.ground.lists import listed
from labkit.runs.experiment import Experiment
from labkit.sparsity.pruning import keep_counts, surviving
from labkit.specs.tickets import TICKET, TicketSpec
from labkit.studies.tickets import Runs, rates

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
    accuracy_at_end (both on test data), train_accuracy_at_early_stop, a mean over the training batches since the
    evaluation before (so none at iteration 0), and cut_off: the smallest loss is the last one, so that training longer
    might have stopped later.
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
            "cut_off": best["iteration"] == whole["iteration"],
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


def at_fractions(evaluations: pd.DataFrame, fractions: Sequence[float]) -> pd.DataFrame:
    """What `outcomes` gives, and test accuracy at fixed fractions of the run (LTH Figures 7 and 8).

    Args:
        evaluations: what `curves` gave.
        fractions: of the run's iterations, in (0, 1]; the last evaluation up to there counts.

    Returns:
        A row a network, with a column `accuracy_at_{fraction:g}_of_run` for each fraction.

    Raises:
        ValueError: for a fraction out of range, or before a network's first evaluation.
    """
    table = outcomes(evaluations).set_index(NETWORK)
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
        table: what `outcomes` or `at_fractions` gave.
        other: a branch, or "dense" for level 0 of the same seed.
        value: a column of accuracies.

    Returns:
        By level (from 1) and seed; levels at which only one of the two was trained are left out.
    """
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
    """Accuracy at early stop minus that of the same seed's dense network, percentage points, by seed."""
    dense = table[(table["level"] == 0) & (table["branch"] == TICKET)].set_index("seed")["accuracy_at_early_stop"]
    sparse = table[(table["level"] == level) & (table["branch"] == branch)].groupby("seed")["accuracy_at_early_stop"]
    return (100 * (sparse.mean() - dense)).dropna()


def speed_ratios(table: pd.DataFrame, control: str, level: int) -> list[float]:
    """Each seed's early stop of the control over the ticket's, as `paired` gives it, with what was cut off as a bound.

    A control that was still improving at the end would have stopped later: `AtLeast`; so would such a ticket: `AtMost`;
    of both nothing is known: NaN.
    """
    at, pairs = table[table["level"] == level], paired(table, control, level)
    cut = at.groupby(["branch", "seed"])["cut_off"].any().to_dict()
    return [
        bounded(ratio, above=cut[control, seed], below=cut[TICKET, seed])
        for seed, ratio in pairs["speed_ratio"].items()
    ]


def falls_below_dense(table: pd.DataFrame, branch: str) -> float:
    """Weights left (%) at the first level from which on a branch's mean accuracy stays below dense, down to the last.

    0.0 if it does not within the levels run. Accuracy is at early stop, averaged over networks.
    """
    dense = table[(table["level"] == 0) & (table["branch"] == TICKET)]["accuracy_at_early_stop"].mean()
    mean = (
        table[(table["branch"] == branch) & (table["level"] > 0)]
        .groupby("level")[["percent_remaining", "accuracy_at_early_stop"]]
        .mean()
    )
    above = mean[mean["accuracy_at_early_stop"] >= dense]
    below = mean if above.empty else mean.loc[mean.index > above.index.max()]
    return float(below["percent_remaining"].max()) if len(below) else 0.0


def falls_earlier_by(table: pd.DataFrame, control: str) -> list[float]:
    """By how many percentage points of weights a seed's control falls below its dense network before its tickets do.

    Only levels at which both were trained count. Where one of them does not fall within them, it would at fewer weights
    than the last: the difference is then `AtLeast` or `AtMost` a number; NaN where neither falls, or one diverged.

    Returns:
        A number a seed; see `falls_below_dense`.
    """
    both = set(table[table["branch"] == control]["level"]) | {0}
    found = []
    for _, part in table[table["level"].isin(both)].groupby("seed"):
        if any(set(part[part["branch"] == branch]["level"]) | {0} != both for branch in (control, TICKET)):
            found.append(float("nan"))  # a network diverged
            continue
        last = part["percent_remaining"].min()
        theirs, mine = (falls_below_dense(part, branch) for branch in (control, TICKET))
        gap = (theirs or last) - (mine or last)
        found.append(bounded(gap, above=not mine, below=not theirs))
    return found


def largest_gain_pp(table: pd.DataFrame) -> float:
    """Mean accuracy at early stop of the best level of tickets minus dense, percentage points.

    The best of several levels on test data, as papers quote it: biased upwards; no substitute for `paired`. NaN if a
    network of some level diverged.
    """
    mean = level_means(table, TICKET, "accuracy_at_early_stop")
    return float(100 * (mean.drop(0).max() - mean[0]))


def largest_speedup(table: pd.DataFrame) -> float:
    """Mean early-stop iteration of dense over that of the fastest level of tickets; biased upwards likewise.

    `AtLeast` or `AtMost` where a dense network, or one of that level, was still improving at the end.
    """
    mean = level_means(table, TICKET, "early_stop_iteration")
    if (sparse := mean.drop(0).dropna()).empty:
        return float("nan")
    cut = table[table["branch"] == TICKET].groupby("level")["cut_off"].any()
    return bounded(float(mean[0] / max(1.0, sparse.min())), above=cut[0], below=cut[sparse.index[int(sparse.argmin())]])


def stops_earlier_by(table: pd.DataFrame, level: int) -> list[float]:
    """By how much a seed's ticket stops earlier than its dense network, % of the latter's iterations; bounds likewise.

    Returns:
        A number a seed that has both.
    """
    stops = table[table["branch"] == TICKET].pivot(index="seed", columns="level")
    if not {0, level} <= set(stops["early_stop_iteration"]):
        return []
    found = []
    for seed, at in stops["early_stop_iteration"][[0, level]].dropna().iterrows():
        cut = stops["cut_off"].loc[seed]
        found.append(bounded(100 * (1 - at[level] / max(1.0, at[0])), above=bool(cut[0]), below=bool(cut[level])))
    return found


def share_below_ticket(table: pd.DataFrame, control: str, below_percent: float) -> float:
    """Share of the levels with fewer weights left (%) at which a control's mean accuracy at early stop is lower.

    NaN if there is none, or a network of either branch diverged.
    """
    theirs, mine = (level_means(table, branch, "accuracy_at_early_stop") for branch in (control, TICKET))
    sparse = table[table["percent_remaining"] < below_percent]["level"]
    both = (mine - theirs).dropna()
    return float((both[both.index.isin(sparse)] > 0).mean())


def level_means(table: pd.DataFrame, branch: str, value: str) -> pd.Series:
    """A branch's means by level, over networks; all NaN where one is missing: survivors are not what was asked for."""
    by_level = table[table["branch"] == branch].groupby("level")[value]
    mean = by_level.mean().astype(float)
    return mean if by_level.size().nunique() == 1 else mean * float("nan")


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
    at, sizes = rates(experiment), experiment.sizes
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
    for seed in tickets.runs[0].seeds:
        ticket, dense = tickets.ticket(seed, level), tickets.ticket(seed, 0)
        start = torch.cat([dense.weights[name][mask] for name, mask in ticket.mask.items()])
        now = torch.cat([ticket.weights[name][mask] for name, mask in ticket.mask.items()])
        found[seed] = float((now - start).norm() / start.norm())
    return pd.Series(found, name="moved").rename_axis("seed")
