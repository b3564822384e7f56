"""Names given by people: an unknown one is answered with the nearest right one and the whole list."""

import operator
from collections.abc import Iterable
from difflib import get_close_matches
from typing import SupportsIndex


def choose(kind: str, name: object, choices: Iterable[str]) -> str:
    """Return `name` if it is one of `choices`.

    Args:
        kind: what the name names, for the message: "model", "data set", "parameter".
        name: the name as given.
        choices: the allowed names.

    Raises:
        ValueError: for any other name; the message holds the nearest choice and all of them.

    >>> choose("model", "lenet_300_10", ["lenet_300_100", "conv_2"])
    Traceback (most recent call last):
    ValueError: unknown model 'lenet_300_10': did you mean 'lenet_300_100'? There are: conv_2, lenet_300_100
    """
    known = sorted(choices)
    if isinstance(name, str) and name in known:
        return name
    near = get_close_matches(str(name), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown {kind} {name!r}: {hint}There are: {', '.join(known)}")


def fraction(what: str, value: object, *, zero: bool = False, one: bool = False) -> float:
    """Return `value` as a float in (0, 1), with 0 or 1 included on request.

    Raises:
        ValueError: outside that interval (30 meant as percent, say) or not a number.

    >>> fraction("rate", 30)
    Traceback (most recent call last):
    ValueError: rate is 30: it must lie in (0, 1), as a fraction; if 30 percent is meant, write 0.3
    """
    interval = f"{'[' if zero else '('}0, 1{']' if one else ')'}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is {value!r}: it must be a number in {interval}")
    if (0 < value < 1) or (zero and value == 0) or (one and value == 1):
        return float(value)
    percent = f"; if {value:g} percent is meant, write {value / 100:g}" if 1 <= value <= 100 else ""
    raise ValueError(f"{what} is {value:g}: it must lie in {interval}, as a fraction{percent}")


def whole(what: str, value: object, least: int = 0) -> int:
    """Return `value` as an integer of at least `least`.

    Raises:
        ValueError: for anything else, a float or a boolean included.
    """
    if not isinstance(value, bool) and isinstance(value, SupportsIndex) and operator.index(value) >= least:
        return operator.index(value)
    raise ValueError(f"{what} is {value!r}: it must be a whole number of at least {least}")
