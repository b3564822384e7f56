"""Progress of long work: one self-updating line in a notebook or terminal, sparse lines in a batch log.

`LABKIT_PROGRESS` = "line", "log" or "off" overrides what is found out about where output goes.
"""

import os
import sys
import time
from typing import Any

from labkit.ground.names import choose

MODES = ("line", "log", "off")
_BATCH = ("papermill", "nbconvert", "pytest", "nbclient")


def mode() -> str:
    """How progress is shown here.

    Raises:
        ValueError: if `LABKIT_PROGRESS` holds none of the modes.
    """
    if wanted := os.environ.get("LABKIT_PROGRESS"):
        return choose("value of LABKIT_PROGRESS", wanted, MODES)
    if _in_kernel():
        return "log" if any(name in _parent_command() for name in _BATCH) else "line"
    return "line" if sys.stderr.isatty() else "log"


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


def _parent_command() -> str:
    import psutil

    try:
        return " ".join(psutil.Process(os.getppid()).cmdline())
    except psutil.Error:
        return ""


def duration(seconds: float) -> str:
    """A duration for people.

    >>> [duration(s) for s in (0.4, 42, 150, 5000, 200000)]
    ['under a second', '42 s', '2.5 min', '1 h 23 min', '55 h 33 min']
    """
    if seconds < 1:
        return "under a second"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.2g} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min"


class Progress:
    """Shows how far a piece of work is and how long the rest will take.

    Args:
        what: the work, in a few words.
        total: units of work in all; the time of each is taken to be the same.
        quiet: whether nothing is shown, whatever the mode: somebody else shows it.
    """

    def __init__(self, what: str, total: int, *, quiet: bool = False):
        self.what, self.total, self.mode = what, total, "off" if quiet else mode()
        self.began = self._shown = time.monotonic()
        self._first: int | None = None
        self._handle: Any = None

    def say(self, text: str) -> None:
        """A line of its own, in every mode but "off"."""
        if self.mode != "off":
            print(text, flush=True)

    def __call__(self, done: int, note: str = "") -> None:
        """Show that `done` units are done, if it is time to."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if self.mode == "off" or now - self._shown < (0.5 if self.mode == "line" else 30):
            return
        self._shown = now
        new, left = done - self._first, self.total - done
        eta = f", {duration((now - self.began) / new * left)} left" if new and left else ""
        self._show(f"{self.what}: {100 * done / max(1, self.total):.0f} %{note and ', ' + note}{eta}")

    def close(self, text: str = "") -> None:
        """Say how it ended."""
        if self.mode != "off":
            self._show(f"{self.what}: {text or 'done'} in {duration(time.monotonic() - self.began)}", last=True)

    def _show(self, text: str, last: bool = False) -> None:
        if self.mode == "log":
            print(text, flush=True)
        elif _in_kernel():
            from IPython.display import display

            bundle = {"text/plain": text}
            if self._handle is None:
                self._handle = display(bundle, raw=True, display_id=True)
            else:
                self._handle.update(bundle, raw=True)
        else:
            print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
