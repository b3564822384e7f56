"""Lists and mappings given by people, checked element by element; checks are as `labkit.ground.names` has them."""

import math
from collections.abc import Mapping, Set
from numbers import Integral, Real
from typing import Any

import numpy as np

from labkit.ground.names import LARGEST, Check, shown


def optional(what: str, value: object, *, of: Check) -> Any:
    """Return None, or what the check `of` returns."""
    return None if value is None else of(what, value)


def listed(what: str, value: object, *, of: Check, like: str) -> list[Any]:
    """Return the elements of a list, each as the check `of` returns it.

    Args:
        what: the list's name, for the message.
        value: as given: anything that has an order.
        of: check of an element.
        like: a right list, for the message.

    Raises:
        ValueError: for one value in place of a list, or a wrong element.

    >>> from labkit.ground.names import whole
    >>> listed("seeds", 3, of=whole, like="[0, 1, 2]")
    Traceback (most recent call last):
    ValueError: seeds is 3: write a list, such as [0, 1, 2]
    """
    try:
        found = None if isinstance(value, str | bytes | Mapping | Set) else list(value)  # type: ignore[call-overload]
    except TypeError:
        found = None
    if found is None:
        raise ValueError(f"{what} is {shown(value)}: write a list, such as {like}")
    return [of(f"{what}[{n}]", element) for n, element in enumerate(found)]


def mapped(what: str, value: object, *, of: Check, like: str) -> dict[str, Any]:
    """Return a mapping with texts as keys, each value as the check `of` returns it.

    Raises:
        ValueError: for anything else, or a wrong value.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{what} is {shown(value)}: write a mapping with names as keys, such as {like}")
    return {str(key): of(f"{what}[{str(key)!r}]", element) for key, element in value.items()}


def plain(what: str, value: object) -> Any:
    """Return what files can hold: nothing, a boolean, a number, a text, or lists and mappings of these.

    Raises:
        ValueError: for anything else; names the element.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral) and abs(int(value)) <= LARGEST:
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Integral) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple):
        return type(value)(plain(f"{what}[{n}]", element) for n, element in enumerate(value))
    if isinstance(value, Mapping):
        return mapped(what, value, of=plain, like="{'width': 0.5}")
    raise ValueError(
        f"{what} is {shown(value)}: it must be a finite number, a text, true or false, or a list or mapping of these"
    )
