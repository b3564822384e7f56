"""Names and numbers given by people: what is wrong is answered with what is right.

A check takes what it looks at ("rate", "train.lr"), which its message begins with, and a value. It returns the value as
a plain Python value (NumPy's scalars too; an array of one number is not a number), or raises a ValueError.
"""

import math
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

Check = Callable[..., Any]  # (what, value) -> value, and keyword arguments of its own

LARGEST = 2**63 - 1  # whole number that every file format and tensor holds


def shown(value: object) -> str:
    """A value as messages show it: on one line, cut short."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whatever a repr may do; that of a whole number gives up at 4,300 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(name: str, choices: Iterable[str], alike: float = 0.4) -> list[str]:
    """The choices that were most likely meant, at most three: equal but for case and signs, else begun, else alike.

    Args:
        name: as given.
        choices: the allowed names.
        alike: how much of a name must agree, from 0 to 1.

    >>> nearest("ResNet-20", ["resnet20", "resnet50"]), nearest("lenet", ["resnet50", "lenet_300_100"])
    (['resnet20'], ['lenet_300_100'])
    >>> nearest("learning_rate", ["lr", "lr_drops"])
    ['lr']
    """
    letters = {choice: _letters(choice) for choice in sorted(choices)}
    if not (wanted := _letters(name)):
        return []
    initials = "".join(word[:1] for word in name.lower().split("_"))
    same = [choice for choice, text in letters.items() if text in (wanted, initials)]
    begun = [choice for choice, text in letters.items() if text.startswith(wanted)]
    longer = [choice for choice, text in letters.items() if len(text) > 2 and wanted.startswith(text)]
    close = get_close_matches(wanted, letters.values(), n=1, cutoff=alike)
    return (same or begun or longer or [choice for choice, text in letters.items() if text in close])[:3]


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def choose(kind: str, name: object, choices: Iterable[str]) -> str:
    """Return `name` if it is one of `choices`.

    Args:
        kind: what the name names, for the message: "model", "data set", "parameter".
        name: the name as given.
        choices: the allowed names.

    Raises:
        ValueError: for any other name; the message holds the nearest choices and all of them.

    >>> choose("model", "lenet_300_10", ["lenet_300_100", "conv_2"])
    Traceback (most recent call last):
    ValueError: unknown model 'lenet_300_10': did you mean 'lenet_300_100'? There are: conv_2, lenet_300_100
    """
    known = sorted(choices)
    if isinstance(name, str) and name in known:
        return known[known.index(name)]
    near = nearest(str(name), known) if name is None or isinstance(name, str) else []
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown {kind} {shown(name)}: {hint}There are: {', '.join(known)}")


def text(what: str, value: object) -> str:
    """Return `value` as text that is not empty.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, str) and value:
        return str(value)
    raise ValueError(f"{what} is {shown(value)}: it must be a text")


def path(what: str, value: object) -> Path:
    """Return `value`, a text or a path, as a path.

    Raises:
        ValueError: for anything else, an empty text included.
    """
    if isinstance(value, PathLike):
        value = fspath(value)
    return Path(text(what, value)).expanduser()


def switch(what: str, value: object) -> bool:
    """Return `value` as a boolean.

    Raises:
        ValueError: for anything else: "false" is a text, and would count as true.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    hint = ", without quotes" if isinstance(value, str) else ""
    raise ValueError(f"{what} is {shown(value)}: it must be true or false{hint}")


def _real(what: str, value: object, wanted: str) -> float:
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf  # beyond all bounds; of which sign, no message says
    hint = " (YAML needs 1.0e-3, not 1e-3)" if isinstance(value, str) else ""
    raise ValueError(f"{what} is {shown(value)}: it must be {wanted}{hint}")


def number(what: str, value: object, *, zero: bool = False, most: float = math.inf) -> float:
    """Return `value` as a finite float above 0 (with 0 included on request), of at most `most`.

    Raises:
        ValueError: outside that interval or not a number.
    """
    wanted = ("a number of at least 0" if zero else "a positive number") + f", at most {most:,g}" * math.isfinite(most)
    found = _real(what, value, wanted)
    if math.isfinite(found) and (found > 0 or (zero and found == 0)) and found <= most:
        return found
    raise ValueError(f"{what} is {shown(value)}: it must be {wanted}")


def fraction(what: str, value: object, *, zero: bool = False, one: bool = False) -> float:
    """Return `value` as a float in (0, 1), with 0 or 1 included on request.

    Raises:
        ValueError: outside that interval (30 meant as percent, say) or not a number.

    >>> fraction("rate", 30)
    Traceback (most recent call last):
    ValueError: rate is 30: it must lie in (0, 1), as a fraction; if 30 percent is meant, write 0.3
    """
    interval = f"{'[' if zero else '('}0, 1{']' if one else ')'}"
    found = _real(what, value, f"a number in {interval}")
    if (0 < found < 1) or (zero and found == 0) or (one and found == 1):
        return found
    percent = f"; if {found:g} percent is meant, write {found / 100:g}" if 1 <= found <= 100 else ""
    raise ValueError(f"{what} is {shown(value)}: it must lie in {interval}, as a fraction{percent}")


def whole(what: str, value: object, least: int = 0, most: int = LARGEST) -> int:
    """Return `value` as an integer from `least` to `most`.

    Raises:
        ValueError: for anything else, a float or a boolean included.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= most:
        return int(value)
    bounds = f"of at least {least}" if most == LARGEST else f"from {least:,} to {most:,}"
    raise ValueError(f"{what} is {shown(value)}: it must be a whole number {bounds}")
