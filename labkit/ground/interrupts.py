"""Ctrl-C, the Stop button and SIGTERM: work ends at the end of a step and is saved, and one line says so."""

import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """Work was stopped, and can go on. Its message is one line, and all that a notebook shows of it."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


class Held:
    """Signals that are held back."""

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}
        self.received: list[tuple[int, FrameType | None]] = []

    @property
    def asked(self) -> bool:
        """Whether one has come."""
        return bool(self.received)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take one in."""
        self.received.append((number, frame))

    def deliver(self) -> None:
        """Do what the program does about what has come: most programs raise `KeyboardInterrupt`; others go on."""
        last = max(self.received, key=lambda signalled: signalled[0])  # SIGTERM before Ctrl-C
        self.received.clear()
        self.handlers[last[0]](*last)


@contextmanager
def held_back() -> Iterator[Held]:
    """Hold Ctrl-C and SIGTERM back until what is done inside has ended, where the program does something about them.

    What is done inside may look whether one has come, and have it delivered; once that has raised `KeyboardInterrupt`,
    further ones change nothing.
    """
    held = Held()
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield held
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held.handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held.handlers:
        signal.signal(number, held.note)
    obeyed = False
    try:
        yield held
    except KeyboardInterrupt:
        obeyed = True
        raise
    finally:
        for number, handler in held.handlers.items():
            signal.signal(number, handler)
        if held.asked:
            with suppress(KeyboardInterrupt) if obeyed else nullcontext():
                held.deliver()


def import_whole(module: str) -> None:
    """Import a large module that a library would import on first use: an interrupt waits for the end of that.

    What is left of an import that was broken off cannot be mended within the process.
    """
    if module not in sys.modules:
        with held_back():
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
