"""Who watches runs being computed: is told after every slice of work, and may stop it there."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Progressed:
    """How far work is.

    Attributes:
        done, total: steps of all networks.
        rows: run -> what its evaluations gave so far (as `labkit.training.history.Record.rows`), of those on their way.
        waiting: whether all that could be done next is being computed by somebody else.
    """

    done: int
    total: int
    rows: Mapping[str, list[Row]]
    waiting: bool


Watch = Callable[[Progressed], object]


@dataclass(frozen=True)
class Watching:
    """A watch, and how often what is on its way is saved for others to follow, in seconds."""

    told: Watch
    saved_every: float


_WATCHING: ContextVar[Watching | None] = ContextVar("watching", default=None)


def watching() -> Watching | None:
    """Who watches what is computed here, if anybody does."""
    return _WATCHING.get()


@contextmanager
def watched(told: Watch, *, saved_every: float = 2.0) -> Iterator[None]:
    """Runs that are computed inside, by this thread, are watched; they show no progress of their own.

    Args:
        told: called after every slice of work (a quarter of a second, unless a step takes longer), by the thread that
            asked for the runs. If it raises `labkit.ground.interrupts.Stopped`, slices on their way are ended, what is
            on its way is saved, and the work ends with `Stopped`, as by Ctrl-C; asked for again, it goes on from there.
        saved_every: seconds after which what is on its way is saved, so that others can follow it.
    """
    token = _WATCHING.set(Watching(told, saved_every))
    try:
        yield
    finally:
        _WATCHING.reset(token)
