"""Schedules: functions from the iteration (0 for the first) to a value."""

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda step: value


def piecewise(value: float, drops: Sequence[int], factor: float) -> Schedule:
    """`value * factor**(number of drops at or before the step)`.

    >>> f = piecewise(0.1, [20, 25], 0.1)
    >>> [round(f(step), 6) for step in (0, 19, 20, 25)]
    [0.1, 0.1, 0.01, 0.001]
    """
    ordered = sorted(drops)
    return lambda step: value * factor ** sum(step >= drop for drop in ordered)


def cosine(value: float, until: int) -> Schedule:
    """Half a cosine from `value` at 0 to zero at `until`: value / 2 * (1 + cos(pi * step / until)), zero after.

    Drop fraction of RigL: alpha / 2 * (1 + cos(pi * t / T_end)) (Evci et al. 2020, section 3), exactly zero from T_end.

    Raises:
        ValueError: if `until` is not positive.

    >>> f = cosine(0.3, until=100)
    >>> [round(f(step), 6) for step in (0, 50, 100, 101)]
    [0.3, 0.15, 0.0, 0.0]
    """
    if until <= 0:
        raise ValueError(f"until is {until}: a cosine needs a positive number of steps")
    return lambda step: 0.5 * value * (1 + math.cos(math.pi * min(step, until) / until))


def cubic(start: float, end: float, begin: int, until: int) -> Schedule:
    """Density of gradual pruning: end + (start - end) * (1 - (step - begin) / (until - begin))**3, held outside.

    Zhu & Gupta 2017, equation 1, s_t = s_f + (s_i - s_f) * (1 - (t - t_0) / (n dt))**3, written for the density 1 - s,
    with t_0 `begin` and t_0 + n dt `until`. Where to read it off, every dt steps, is for the one who prunes to say.

    Args:
        start, end: densities at and before `begin`, and at and after `until`.
        begin, until: steps.

    Raises:
        ValueError: if `until` is not after `begin`.

    >>> f = cubic(1.0, 0.1, begin=0, until=10)
    >>> [round(f(step), 4) for step in (0, 5, 10, 20)]
    [1.0, 0.2125, 0.1, 0.1]
    """

    if until <= begin:
        raise ValueError(f"until is {until}: gradual pruning must end after it begins, at {begin}")

    def at(step: int) -> float:
        done = min(1.0, max(0.0, (step - begin) / (until - begin)))
        return end + (start - end) * (1 - done) ** 3

    return at


def warmup(schedule: Schedule, steps: int) -> Schedule:
    """Scale a schedule linearly from 1/steps at step 0 to its own value at step `steps - 1` and after."""
    return lambda step: schedule(step) * min(1.0, (step + 1) / steps) if steps else schedule(step)
