"""Mistakes that teach: made on purpose in a cell, so that it prints what the kit says to them, and goes on."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill

from labkit.runs.store import runs_folder

WIDTH = 110


class NotRefused(AssertionError):
    """A mistake that a notebook makes on purpose went through."""


@contextmanager
def refused(folder: Path | None = None) -> Iterator[Path]:
    """Print the error that the block ends in: `with refused(images) as wrong: ...`.

    Args:
        folder: the block gets a copy of it to spoil, which is thrown away; without one, an empty folder.

    Yields:
        That folder; what is printed leaves out where it lies, and where the runs lie.

    Raises:
        NotRefused: if the block raises no ValueError or FileNotFoundError, which is what the kit refuses by.
    """
    with _copy(folder) as wrong:
        try:
            yield wrong
        except (ValueError, FileNotFoundError) as error:
            _show(type(error).__name__, error, wrong)
        else:
            raise NotRefused("the kit refuses nothing of this block: it is no mistake, or one that goes unnoticed")


@contextmanager
def warned(folder: Path | None = None) -> Iterator[Path]:
    """Print the warnings of the block, as `refused` prints its error. Some are given once in a session.

    Args:
        folder: as of `refused`.
    """
    with _copy(folder) as wrong, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield wrong
        for warning in caught:
            _show(warning.category.__name__, warning.message, wrong)
        if not caught:
            print("(no warning: it was given before, or there is nothing to warn of)")


@contextmanager
def _copy(folder: Path | None) -> Iterator[Path]:
    with TemporaryDirectory() as beside:
        wrong = Path(beside) / (folder.name if folder else "empty")
        wrong = Path(shutil.copytree(folder, wrong)) if folder else wrong
        wrong.mkdir(exist_ok=True)
        yield wrong


def _show(kind: str, said: Exception | Warning | str, wrong: Path) -> None:
    text = str(said)
    for place in (wrong.parent, runs_folder().absolute()):
        text = text.replace(f"{place}/", "")
    print("\n".join(fill(line, WIDTH) for line in f"{kind}: {text}".splitlines()))
