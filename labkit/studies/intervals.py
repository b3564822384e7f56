"""How sure a mean of few numbers is."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from scipy.special import stdtrit

from labkit.ground.names import fraction

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, and between which numbers it lies with some confidence.

    Attributes:
        mean: of the numbers; NaN of none.
        low, high: NaN of fewer than two.
        n: how many numbers there are.
    """

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Interval:
    """mean -+ t * s / sqrt(n), with the quantile t of n - 1 degrees of freedom (Student 1908), s of the sample.

    It holds for independent numbers from a normal distribution; numbers that are not finite are left out.

    Args:
        values: one a seed, say.
        confidence: in (0, 1).

    Raises:
        ValueError: for a confidence out of range.

    >>> found = t_interval([1.0, 2.0, 3.0])
    >>> found.n, found.mean, round(found.low, 3), round(found.high, 3)
    (3, 2.0, -0.484, 4.484)
    """
    confidence = fraction("confidence", confidence)
    known = [float(value) for value in values if math.isfinite(value)]
    n, mean = len(known), math.nan
    if n:
        mean = math.fsum(known) / n
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1) / n)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * spread
    return Interval(mean, mean - half, mean + half, n)


def paired_pp(one: pd.Series, other: pd.Series) -> pd.Series:
    """Accuracies of one group of networks minus those of another, by the seeds that both have, percentage points.

    Args:
        one, other: accuracies (fractions) by seed; several of a seed are averaged.
    """
    first, second = (values.groupby(level=0).mean() for values in (one, other))
    both = first.index.intersection(second.index)
    return (100 * (first[both] - second[both])).rename("difference, pp")


def group_ends(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of each network that did not diverge.

    Args:
        evaluations: rows with run, group, seed, iteration, test_accuracy and diverged.
    """
    ordered = evaluations[~evaluations["diverged"].astype(bool)].sort_values("iteration", kind="stable")
    return ordered.groupby("run", sort=False).tail(1)


def group_differences(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at the end of each group of networks minus that of the first, paired by seed.

    Args:
        evaluations: as of `group_ends`; the first group is that of the first row.

    Returns:
        A row a group but the first: group, minus (the first), mean, low, high, n (see `Interval`; percentage points)
        and said, the same in words.
    """
    ends, rows = group_ends(evaluations), []
    accuracy = {name: part.set_index("seed")["test_accuracy"] for name, part in ends.groupby("group")}
    none = pd.Series(dtype=float, index=pd.Index([], name="seed"))
    first, *others = dict.fromkeys(evaluations["group"]) or [""]
    for group in others:
        found = t_interval(paired_pp(accuracy.get(group, none), accuracy.get(first, none)))
        rows.append({"group": group, "minus": first, **vars(found), "said": told(found)})
    return pd.DataFrame(rows, columns=["group", "minus", "mean", "low", "high", "n", "said"])


def told(found: Interval, unit: str = "pp", noun: str = "seed") -> str:
    """An interval in words, with its n; of fewer than two numbers it says that there is none.

    >>> told(t_interval([1.0, 2.0, 3.0]))
    '+2.00 pp, 95 % interval -0.48 to +4.48 (3 seeds)'
    >>> told(t_interval([0.5]))
    '+0.50 pp in 1 seed, too few for an interval'
    """
    if not found.n:
        return f"no {noun} in common"
    if found.n < 2:
        return f"{found.mean:+.2f} {unit} in 1 {noun}, too few for an interval"
    interval = f"{100 * CONFIDENCE:g} % interval {found.low:+.2f} to {found.high:+.2f}"
    return f"{found.mean:+.2f} {unit}, {interval} ({found.n} {noun}s)"
