"""Numbers that were cut off: what is known of them is a bound."""


class AtLeast(float):
    """A measured number that was cut off: it is this large or larger."""


class AtMost(float):
    """A measured number that was cut off: it is this large or smaller."""


def bounded(value: float, *, above: bool, below: bool) -> float:
    """A number that is known, or that the true one lies above or below; NaN where it may lie on either side.

    >>> type(bounded(2.0, above=True, below=False)).__name__, bounded(2.0, above=True, below=True)
    ('AtLeast', nan)
    """
    if above and below:
        return float("nan")
    return AtLeast(value) if above else AtMost(value) if below else value
