"""Ctrl-C, the Stop button and SIGTERM: work ends at the end of a step and is saved, and one line says so."""

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """Work was stopped, and can go on. Its message is one line, and all that a notebook shows of it."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


@contextmanager
def held_back(told: Callable[[], None]) -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until what is done inside has ended, where the program does something about them.

    What is done inside may end itself with a `KeyboardInterrupt` when it is told: that stands for the one held back.

    Args:
        told: called when one comes, to make that soon.
    """
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield
        return
    received: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append((number, frame))
        told()

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, note)
    obeyed = False
    try:
        yield
    except KeyboardInterrupt:
        obeyed = True
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            last = max(received, key=lambda signalled: signalled[0])  # SIGTERM before Ctrl-C
            with suppress(KeyboardInterrupt) if obeyed else nullcontext():
                handlers[last[0]](*last)


def import_whole(module: str) -> None:
    """Import a large module that a library would import on first use: an interrupt waits for the end of that.

    What is left of an import that was broken off cannot be mended within the process.
    """
    if module not in sys.modules:
        with held_back(lambda: None):
            importlib.import_module(module)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which batch schedulers send, raises `KeyboardInterrupt`; when that has arrived here, the process ends.

    It ends of SIGTERM, as it would have. Where the program handles or ignores SIGTERM itself, and outside the main
    thread, nothing is changed.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    received = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if not received:  # a second one must not break into the saving
            received = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        if received:
            print(f"\n{error}", file=sys.stderr, flush=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)
