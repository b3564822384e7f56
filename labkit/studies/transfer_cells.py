"""What carrying gained, route by route: means over seeds by source, target and level, and why a number is missing."""

import math
from collections.abc import Mapping

import pandas as pd

from labkit.ground.names import choose
from labkit.specs.tickets import TICKET
from labkit.studies.carried import END, minus
from labkit.studies.transfer import CARRIED

AGAINST = {"random ticket": "random_ticket", "native ticket": TICKET, "dense network": f"{TICKET}/0"}
COLUMNS = ["route", "source", "target", "level", "percent_remaining", "mean", "low", "high", "n", "asked", "said"]
NOT_RUN, DIVERGED = "not run", "diverged"


def cells(
    tables: Mapping[str, pd.DataFrame], pairs: Mapping[str, tuple[str, str]], against: str = "random ticket"
) -> pd.DataFrame:
    """Carried tickets minus others on the same task and seed, percentage points at the end, a row a route and level.

    Args:
        tables: route -> what `TransferStudy.ends` gave.
        pairs: route -> source and target.
        against: a key of `AGAINST`: a random ticket, the task's own ticket of that level, or its dense network.

    Returns:
        Columns route, source, target, level (from 1; all levels of any route), percent_remaining, mean, low, high (over
        the seeds that have both networks; NaN of none), n (how many have), asked (how many were to have), and said:
        "", "not run" or "diverged".

    Raises:
        ValueError: for another word in `against`.
    """
    other = AGAINST[choose("against", against, AGAINST)]
    left = pd.concat(tables.values()).groupby("level")["percent_remaining"].mean() if tables else pd.Series(dtype=float)
    rows = []
    for route, table in tables.items():
        found = _minus(table, other)
        source, target = pairs[route]
        for level in [int(level) for level in left.index if level > 0]:
            part = found[found.index.get_level_values("level") == level]
            known = part.dropna()
            said = "" if len(known) else DIVERGED if len(part) else NOT_RUN
            rows.append((route, source, target, level, float(left[level]), known.mean(), known.min(), known.max(),
                         len(known), len(part), said))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _minus(table: pd.DataFrame, other: str) -> pd.Series:
    """As `carried.minus`; empty where one of the two was not run at all."""
    branch, _, dense = other.partition("/")
    there = table[table["branch"] == branch]
    if not (table["branch"] == CARRIED).any() or there.empty or (dense and not (there["level"] == 0).any()):
        index = pd.MultiIndex.from_arrays([[], []], names=["level", "seed"])
        return pd.Series(dtype=float, index=index)
    return minus(table, CARRIED, other, END)


def cell_said(mean: float, n: int, asked: int, said: str) -> str:
    """What stands in a cell: the mean with its sign, from how many seeds if some are missing, or why there is none.

    >>> cell_said(0.314, 3, 3, ""), cell_said(0.314, 2, 3, ""), cell_said(float("nan"), 0, 3, "diverged")
    ('+0.31', '+0.31 (2 of 3 seeds)', 'diverged')
    """
    if math.isnan(mean):
        return said
    return f"{mean:+.2f}" + (f" ({n} of {asked} seeds)" if n < asked else "")
