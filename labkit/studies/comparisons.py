"""Tickets beside their controls and their dense network, in one number a seed or a study: what claims are judged by.

What was cut off is a bound (`ground.bounds`); what is not known, as where a network diverged, is NaN. No number here is
a best over test data, except where its name says so (`largest_...`), as papers quote it.
"""

from collections.abc import Sequence

import pandas as pd

from labkit.ground.bounds import bounded
from labkit.specs.tickets import TICKET
from labkit.studies.evaluations import want
from labkit.studies.metrics import paired


def speed_ratios(table: pd.DataFrame, control: str, level: int) -> list[float]:
    """Each seed's early stop of the control over the ticket's, as `paired` gives it, with what was cut off as a bound.

    A control that was still improving at the end would have stopped later: `AtLeast`; so would such a ticket: `AtMost`;
    of both nothing is known: NaN, as where one never improved.
    """
    at, pairs = table[table["level"] == level], paired(table, control, level)
    cut = at.groupby(["branch", "seed"])["cut_off"].any().to_dict()
    never = at.groupby(["branch", "seed"])["never_improved"].any().to_dict()
    return [
        bounded(ratio, above=cut[control, seed], below=cut[TICKET, seed])
        if not (never[control, seed] or never[TICKET, seed])
        else float("nan")
        for seed, ratio in pairs["speed_ratio"].items()
    ]


def falls_below_dense(table: pd.DataFrame, branch: str) -> float:
    """Weights left (%) at the first level from which on a branch's mean accuracy stays below dense, down to the last.

    0.0 if it does not within the levels run. Accuracy is at early stop, averaged over networks: a table of
    `metrics.ends`, which has none, is refused.
    """
    want(table, "accuracy_at_early_stop")
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


def largest_gain_pp(table: pd.DataFrame, seeds: Sequence[int]) -> float:
    """Mean accuracy at early stop of the best level of tickets minus dense, percentage points.

    The best of several levels on test data, as papers quote it: biased upwards; no substitute for `paired`. NaN if a
    network of some level diverged.
    """
    mean = level_means(table, TICKET, "accuracy_at_early_stop", seeds)
    return float(100 * (mean.drop(0).max() - mean[0]))


def largest_speedup(table: pd.DataFrame, seeds: Sequence[int]) -> float:
    """Mean early-stop iteration of dense over that of the fastest level of tickets; biased upwards likewise.

    `AtLeast` or `AtMost` where a dense network, or one of that level, was still improving at the end. Levels with a
    network that never improved are passed over; NaN if a dense one did not, or one diverged.
    """
    want(table, "early_stop_iteration")
    tickets = table[table["branch"] == TICKET].groupby("level")
    mean = level_means(table, TICKET, "early_stop_iteration", seeds).where(~tickets["never_improved"].any())
    if (sparse := mean.drop(0).dropna()).empty:
        return float("nan")
    cut = tickets["cut_off"].any()
    return bounded(float(mean[0] / max(1.0, sparse.min())), above=cut[0], below=cut[sparse.index[int(sparse.argmin())]])


def stops_earlier_by(table: pd.DataFrame, level: int) -> list[float]:
    """By how much a seed's ticket stops earlier than its dense network, % of the latter's iterations; bounds likewise.

    Returns:
        A number a seed that has both; NaN where one never improved.
    """
    want(table, "early_stop_iteration")
    stops = table[table["branch"] == TICKET].pivot(index="seed", columns="level")
    if not {0, level} <= set(stops["early_stop_iteration"]):
        return []
    found = []
    for seed, at in stops["early_stop_iteration"][[0, level]].dropna().iterrows():
        cut, never = stops["cut_off"].loc[seed], stops["never_improved"].loc[seed]
        earlier = float("nan") if never[0] or never[level] else 100 * (1 - at[level] / at[0])
        found.append(bounded(earlier, above=bool(cut[0]), below=bool(cut[level])))
    return found


def share_below_ticket(table: pd.DataFrame, control: str, below_percent: float, seeds: Sequence[int]) -> float:
    """Share of the levels with fewer weights left (%) at which a control's mean accuracy at early stop is lower.

    NaN if there is none, or a network of either branch diverged.
    """
    theirs, mine = (level_means(table, branch, "accuracy_at_early_stop", seeds) for branch in (control, TICKET))
    sparse = table[table["percent_remaining"] < below_percent]["level"]
    both = (mine - theirs).dropna()
    return float((both[both.index.isin(sparse)] > 0).mean())


def level_means(table: pd.DataFrame, branch: str, value: str, seeds: Sequence[int]) -> pd.Series:
    """A branch's means by level, over networks; all NaN where one is missing: survivors are not what was asked for.

    Args:
        table: what `metrics.outcomes` gave, in which a network that diverged has no row.
        branch: which.
        value: a column.
        seeds: that were asked for; each must be there at each level, with as many copies.
    """
    want(table, value)
    rows = table[table["branch"] == branch]
    there = rows.groupby(["level", "seed"]).size()
    whole = {there.get((level, seed), 0) for level in set(rows["level"]) for seed in seeds}
    mean = rows.groupby("level")[value].mean().astype(float)
    return mean if len(whole) == 1 and 0 not in whole else mean * float("nan")


def over_levels(table: pd.DataFrame) -> pd.DataFrame:
    """Means over levels of numbers by level and seed, a row a seed; NaN where a level has no number for a seed.

    Args:
        table: by level and seed, a column a setting.
    """
    levels, by_seed = table.index.get_level_values("level").nunique(), table.groupby("seed")
    return by_seed.mean().where(by_seed.count() == levels)
