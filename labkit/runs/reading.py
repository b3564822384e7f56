"""A finished run read by the name of its folder: no experiment is made, and no data is read.

What is read is believed only if it is right: the digests of the file must fit, and what the run says that it is must
hash to the name of its folder. Nothing is set aside or changed: that is for those who compute runs.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.ground import tensor_files
from labkit.ground.names import shown
from labkit.runs.files import FINISHED, KIND, RUN_NAME, VERSION
from labkit.specs.base import digest
from labkit.training.history import Record


@dataclass(frozen=True)
class Finished:
    """What a finished run has left, without its weights.

    Attributes:
        name: of its folder.
        identity: what the run is (see `labkit.runs.run.Run.identity`).
        result: what became of it: density, kept, diverged_at, seconds, hardware ...
        record: its history.
    """

    name: str
    identity: dict[str, Any]
    result: dict[str, Any]
    record: Record

    def rows(self) -> list[dict[str, Any]]:
        """Its evaluations, a row each: iteration, losses and accuracies (see `Record.rows`)."""
        return self.record.rows(self.identity["recipe"]["train"]["batch_size"])


def finished(root: Path, name: str) -> Finished:
    """Read a finished run.

    Args:
        root: the folder of all runs.
        name: of the run's folder there, sixteen hexadecimal digits.

    Raises:
        ValueError: for another name, or a file that is damaged, not of a run, or of another one.
        FileNotFoundError: if there is no such run, or it was deleted.
    """
    if not isinstance(name, str) or not re.fullmatch(RUN_NAME, name):
        raise ValueError(f"name is {shown(name)}: a run is named by sixteen hexadecimal digits")
    path = root / name / FINISHED
    tensors, about = tensor_files.read(path, "history/")
    identity, result = described(path, about)
    try:
        return Finished(name, identity, result, Record.of(tensors))
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not as a run is written: its history is not whole ({error})") from error


def described(path: Path, about: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run is and what became of it, of the description in its file.

    Raises:
        ValueError: if the description is not of a run, of another version, or not of the run of this folder.
    """
    if about.get("kind") != f"{KIND} {VERSION}":
        raise ValueError(f"{path} is not a run of this version of labkit: it says {shown(about.get('kind'))}")
    identity, result = about.get("identity"), about.get("result")
    if not isinstance(identity, dict) or not isinstance(result, dict) or about.get("run") != path.parent.name:
        raise ValueError(f"{path} is not of the run of its folder: it says {shown(about.get('run'))}")
    if digest(identity) != path.parent.name:
        raise ValueError(f"{path} is not of the run of its folder: what it describes is another")
    return identity, result
