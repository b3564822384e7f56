"""Titles of figures: what was found in all networks that are meant, from the lowest to the highest, never a mean alone.

Where nothing was measured (a level that was not run, an arm that was left out, networks that diverged), a title says
what is shown instead of what was found. What the notebooks' figures say by them: `labkit.figures.findings`.
"""

import math
from collections.abc import Hashable, Iterable, Mapping

import pandas as pd


def measured(values: Iterable[float]) -> list[float]:
    """The finite ones: a network that diverged has no number."""
    return [float(value) for value in values if math.isfinite(value)]


def span(values: Iterable[float], unit: str = "pp", digits: int = 1, *, signed: bool = True) -> str:
    """From the lowest to the highest; one number where they print alike, nothing for none.

    >>> span([0.6, 0.21]), span([-4, 6]), span([0.6, float("nan")]), span([])
    ('+0.2 to +0.6 pp', '-4.0 to +6.0 pp', '+0.6 pp', '')
    """
    found = measured(values)
    if not found:
        return ""
    exact = (round(value, 9) for value in (min(found), max(found)))  # 100 * (0.5105 - 0.487) is a little below 2.35
    ends = [f"{round(value, digits) + 0.0:{'+' * signed}.{digits}f}" for value in exact]
    return f"{' to '.join(dict.fromkeys(ends))} {unit}".strip()


def counted(found: int, asked: int, noun: str = "seed") -> str:
    """How many of those asked for have a number.

    >>> counted(3, 3), counted(1, 1), counted(2, 3, "pair")
    ('3 seeds', '1 seed', '2 of 3 pairs')
    """
    return f"{found}{'' if found == asked else f' of {asked}'} {noun}{'s' * (asked != 1)}"


def spans(
    said: str, found: Mapping[str, Iterable[float]], asked: int, *, otherwise: str, noun: str = "seed",
    unit: str = "pp", digits: int = 1, signed: bool = True,
) -> str:  # fmt: skip
    """What was found, arm by arm, each from the lowest to the highest, and in how many networks.

    Args:
        said: of what, such as "ticket minus reinit".
        found: arm, level, allocation or density -> numbers, one a seed (or pair); those without any are left out.
        asked: how many numbers each should have.
        otherwise: the title if there is no number at all.
        noun: what a number is of.
        unit, digits, signed: how numbers are written.

    >>> spans("RigL minus Static", {"Random": [-4.0, 6.0], "ERK": []}, 2, otherwise="Accuracy over density")
    'RigL minus Static: -4.0 to +6.0 pp (Random), in 2 seeds'
    """
    there = {name: numbers for name, values in found.items() if (numbers := measured(values))}
    if not there:
        return otherwise
    counts = {name: f"in {counted(len(numbers), asked, noun)}" for name, numbers in there.items()}
    alike = len(set(counts.values())) == 1
    parts = [
        f"{span(numbers, unit, digits, signed=signed)} ({name}{'' if alike else ', ' + counts[name]})"
        for name, numbers in there.items()
    ]
    return f"{said}: {', '.join(parts)}{', ' + next(iter(counts.values())) if alike else ''}"


def minus(table: pd.DataFrame, one: Hashable, other: Hashable) -> pd.Series:
    """A column minus another, row by row; empty if either is missing, as where all its networks diverged."""
    if one not in table or other not in table:
        return pd.Series(dtype=float)
    return table[one] - table[other]


def apart(table: pd.DataFrame) -> pd.Series:
    """Highest minus lowest of each row, of at least two columns; rows with a gap are left out."""
    whole = table.dropna() if len(table.columns) > 1 else table.iloc[:0]
    return whole.max(axis=1) - whole.min(axis=1)


def network(name: str, width: float) -> str:
    """A network's name, with its width where that is not the published one.

    >>> network("VGG-19", 1.0), network("VGG-19", 0.125)
    ('VGG-19', 'VGG-19 of width 0.125')
    """
    return name if width == 1 else f"{name} of width {width:g}"
