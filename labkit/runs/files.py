"""The files of a run: its folder, made and locked; what is believed of them, and what is set aside."""

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from labkit.ground import tensor_files
from labkit.runs.identity import difference
from labkit.runs.run import Run

RUN_NAME = "[0-9a-f]{16}"  # a regular expression
KIND, VERSION = "labkit run", 2
FINISHED, CHECKPOINT, LOCK = "run.safetensors", "checkpoint.safetensors", ".lock"
Read = tuple[dict[str, Tensor], dict[str, Any]]  # tensors and description of a file


class RunFiles:
    """The folder of one run.

    Args:
        run: whose.
        root: the folder of all runs.
    """

    def __init__(self, run: Run, root: Path):
        self.run, self.path = run, root / run.hash
        self._lock = FileLock(self.path / LOCK, thread_local=False)  # taken and given back by any thread

    @property
    def hash(self) -> str:
        """Of the run."""
        return self.run.hash

    def believed(self, name: str, read: Callable[[Path], Read]) -> Read | None:
        """What a file of this run holds; None if it is not there, or is not believed and set aside with a warning."""
        try:
            found = read(self.path / name)
            self.check(name, found[1])
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.set_aside(name, error)
            return None
        return found

    def check(self, name: str, about: Mapping[str, Any]) -> None:
        """See that a description is of this run.

        Raises:
            ValueError: if it is not.
            RuntimeError: if a later version wrote it.
        """
        kind, _, version = str(about.get("kind")).rpartition(" ")
        if kind == KIND and version.isdigit() and int(version) > VERSION:
            raise RuntimeError(
                f"{self.path / name} is by a later version of labkit (it says {kind} {version}; this one knows "
                f"{VERSION}): update labkit, or set LABKIT_RUNS to another folder"
            )
        if (kind, version, about.get("run")) != (KIND, str(VERSION), self.hash):
            raise ValueError(f"{self.path / name} is not of this run: it says {about.get('kind')} {about.get('run')}")

    def check_behaviour(self, about: Mapping[str, Any], done: str) -> None:
        """See that what the names of the recipe stand for is what it was when the run was computed, or begun.

        Raises:
            ValueError: if it has changed since.
        """
        if (changed := difference(about["behaviour"], self.run.behaviour)) is not None:
            name, old, new = changed
            raise ValueError(
                f"the run folder {self.path} was {done} with {name} {old!r}, and it is {new!r} now: what a name stands "
                "for has changed since. Its numbers are not those of this experiment. Move or delete the folder, or "
                "set LABKIT_RUNS to another, and the run will be computed anew"
            )

    def set_aside(self, name: str, error: Exception) -> None:
        """Rename a file that is not believed, with a warning."""
        path = self.path / name
        os.replace(path, path.with_suffix(".damaged"))
        warnings.warn(f"{error}. It is set aside as {path.with_suffix('.damaged').name}, and computed again",
                      stacklevel=5)  # fmt: skip

    def described(self) -> dict[str, Any]:
        """What every file of the run says of itself."""
        return {"kind": f"{KIND} {VERSION}", "run": self.hash, "behaviour": self.run.behaviour}

    def prepare(self) -> None:
        """Make the folder and see that it can be written to.

        Raises:
            OSError: if it cannot.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
        except OSError as error:
            message = (
                f"cannot write to the run folder {self.path} ({error.strerror}); set LABKIT_RUNS to one that can be"
            )
            raise OSError(error.errno, message) from error

    def lock(self) -> bool:
        """Take the run, if no other process has it; whether that went well."""
        self.prepare()
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        for part in self.path.glob(f"*{tensor_files.PART}"):  # of a process that was killed
            part.unlink(missing_ok=True)
        return True

    def unlock(self) -> None:
        """Give the run back."""
        self._lock.release()


def busy(folder: Path) -> bool:
    """Whether a process computes the run of a folder."""
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def read_header(path: Path) -> Read:
    """The description of a file alone, as `RunFiles.believed` wants it."""
    return {}, tensor_files.read_about(path)
