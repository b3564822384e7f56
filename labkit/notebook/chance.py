"""How often a rule passes by chance alone: simulated draws of what a notebook measures where nothing is to be found.

A null is a row of plain data, `{kind: difference, values: 4, spread: 0.25}`: a name of `NULLS` and its arguments. The
spread is that of one value, as seen between networks that differ by their seed alone.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from labkit.ground.names import choose, whole

DRAWS = 20_000
Draw = Callable[..., np.ndarray]


def difference(rng: np.random.Generator, *, values: int, spread: float, mean: float = 0.0) -> np.ndarray:
    """Differences about `mean`: 0 of two alike, or as large as a control's where the claim is that two are equal."""
    return rng.normal(mean, spread, (DRAWS, values))


def ratio(rng: np.random.Generator, *, values: int, spread: float) -> np.ndarray:
    """Ratios of alike quantities: their logarithms scatter about zero with the standard deviation `spread`."""
    return np.exp(rng.normal(0.0, spread, (DRAWS, values)))


def sign(rng: np.random.Generator, *, values: int) -> np.ndarray:
    """Differences of which nothing is known but that either sign is as likely: 1 or -1."""
    return rng.choice([-1.0, 1.0], (DRAWS, values))


def best_gain(rng: np.random.Generator, *, values: int, spread: float, levels: int) -> np.ndarray:
    """The best of `levels` alike networks minus one more, which all of them are compared with."""
    tried = rng.normal(0.0, spread, (DRAWS, values, levels))
    return tried.max(axis=-1) - rng.normal(0.0, spread, (DRAWS, values))


def best_speed(rng: np.random.Generator, *, values: int, spread: float, levels: int) -> np.ndarray:
    """The early stop of one network over the earliest of `levels` alike ones; `spread` is of the logarithms."""
    return np.exp(best_gain(rng, values=values, spread=spread, levels=levels))


def share(rng: np.random.Generator, *, values: int, levels: int) -> np.ndarray:
    """The share of `levels` alike networks that lie below one more: tickets of neighbouring levels can be that alike.

    Were the signs of levels independent, a large share would be rarer.
    """
    below = rng.normal(size=(DRAWS, values, levels)) < rng.normal(size=(DRAWS, values, 1))
    return below.mean(axis=-1)


def order(rng: np.random.Generator, *, values: int) -> np.ndarray:
    """The steps from each to the next of `values` + 1 alike quantities, in the order that is claimed."""
    return np.diff(rng.normal(size=(DRAWS, values + 1)), axis=1)


NULLS: dict[str, Draw] = {
    draw.__name__: draw for draw in (difference, ratio, sign, best_gain, best_speed, share, order)
}


def draw(null: Mapping[str, Any]) -> np.ndarray:
    """What would be measured, `DRAWS` times over, if there were nothing to find: (DRAWS, values). The same every time.

    Args:
        null: `kind`, a name of `NULLS`; `values`, how many numbers the rule sees; and what that kind takes.

    Raises:
        ValueError: for an unknown kind, one of its arguments missing, or one that it does not take.
    """
    given = dict(null)
    kind = NULLS[choose("kind of null", given.pop("kind", None), NULLS)]
    takes = [name for name in inspect.signature(kind).parameters if name != "rng"]
    for name in given:
        choose(f"argument of the null {kind.__name__!r}", name, takes)
    whole("values of the null", given.get("values"), 1)
    try:
        return kind(np.random.default_rng(0), **given)
    except TypeError as error:
        raise ValueError(f"the null {kind.__name__!r} takes {', '.join(takes)}: {error}") from error
