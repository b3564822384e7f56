"""The store: one folder a run, named by the hash of what the run is. Finished runs are read, broken ones resumed.

`runs/<hash>/` holds `spec.yaml` (what the run is), `resolved.json` (all its values, defaults included),
`checkpoint.safetensors` (while it runs), `ticket.safetensors` (where it started: weights and masks),
`final.safetensors`, `metrics.jsonl` and, written last, `result.json`: its presence means done. Every file is written
whole or not at all. No pickle anywhere.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout
from torch import Tensor

from labkit.ground import tensor_files
from labkit.specs.base import digest

_NONE: Mapping[str, Any] = {}


def runs_folder() -> Path:
    """Where runs are kept: `LABKIT_RUNS`, else `runs/` of the checkout one works in, else `./runs`."""
    if "LABKIT_RUNS" in os.environ:
        return Path(os.environ["LABKIT_RUNS"]).expanduser()
    checkout, here = Path(__file__).resolve().parents[2], Path.cwd()
    inside = (checkout / "params").is_dir() and here.is_relative_to(checkout)
    return (checkout if inside else here) / "runs"


def difference(recorded: Any, asked: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first value that differs between two records: (name, recorded, asked), or None.

    What only one of them has does not count: it is of another version. Logits may differ by a thousandth of the
    largest, since machines round differently.

    >>> difference({"spec": {"train": {"lr": 0.1}}}, {"spec": {"train": {"lr": 0.2, "new": 1}}})
    ('train.lr', 0.1, 0.2)
    """
    if isinstance(recorded, Mapping) and isinstance(asked, Mapping):
        common = [key for key in asked if key in recorded]
        inner = (difference(recorded[key], asked[key], f"{name}.{key}".lstrip(".")) for key in common)
        return next((found for found in inner if found is not None), None)
    if recorded == asked:
        return None
    if isinstance(recorded, list) and isinstance(asked, list):
        pairs = [(old, new) for old, new in zip_longest(recorded, asked) if old != new]
        if name.endswith("network.logits"):
            pairs = [(old, new) for old, new in pairs if abs(old - new) > 1e-3 * max(map(abs, asked))]
        return (name, *pairs[0]) if pairs else None
    return name.removeprefix("spec."), recorded, asked


class RunFolder:
    """The folder of one run.

    Args:
        identity: everything that determines the run's result, as plain values; its hash names the folder.
        root: the folder of all runs; default `runs_folder()`.
        resolved: all values of the run as plain values, those too that the identity leaves out (see `identity`).
    """

    def __init__(self, identity: Mapping[str, Any], root: Path | None = None, resolved: Mapping[str, Any] = _NONE):
        self.identity, self.resolved = dict(identity), dict(resolved)
        self.hash = digest(self.identity)
        self.path = (root or runs_folder()) / self.hash

    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.path / "result.json").exists()

    def agree(self) -> None:
        """See that what is stored was computed, or begun, with the values that are asked for, defaults included.

        Runs of older versions recorded their spec alone, when they were finished: that is what is compared of them.

        Raises:
            ValueError: naming the first value that differs, as it was recorded and as it is asked for.
        """
        if not self.done() and not (self.path / "checkpoint.safetensors").exists():
            return
        try:
            recorded = json.loads((self.path / "resolved.json").read_text())
        except FileNotFoundError:
            recorded = self.result() if self.done() else {}
        if (found := difference(recorded, self.resolved)) is not None:
            name, old, new = found
            raise ValueError(
                f"the run folder {self.path} was computed with {name} {old!r}, and {new!r} is asked for: what a name "
                "stands for, or a default, has changed since. Its numbers are not those of this experiment. Move or "
                "delete the folder, or set LABKIT_RUNS to another, and the run will be computed anew"
            )

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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run: of two processes that ask for it, one computes and the other waits."""
        self.prepare()
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print(f"run {self.hash} is being computed by another process; waiting for it", flush=True)
            lock.acquire()
        try:
            for part in self.path.glob(f"*{tensor_files.PART}"):  # of a process that was killed
                part.unlink()
            self.agree()  # another process may have computed it meanwhile
            content = yaml.safe_dump(self.identity, sort_keys=False).encode()
            tensor_files.write_bytes(self.path / "spec.yaml", content)
            if not self.done():
                self._tell_if_begun_without_record()
                tensor_files.write_bytes(self.path / "resolved.json", json.dumps(self.resolved, indent=1).encode())
            yield
        finally:
            lock.release()

    def _tell_if_begun_without_record(self) -> None:
        if (self.path / "checkpoint.safetensors").exists() and not (self.path / "resolved.json").exists():
            warnings.warn(
                f"{self.path} was begun by a version that did not record all values: it goes on with those of today",
                stacklevel=4,
            )

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write `NAME.safetensors`."""
        tensor_files.write(self.path / f"{name}.safetensors", tensors)

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read `NAME.safetensors`.

        Raises:
            ValueError: if it is damaged; says to delete the folder, since the run can be computed again.
        """
        try:
            return tensor_files.read(self.path / f"{name}.safetensors")[0]
        except ValueError as error:
            raise ValueError(f"{error}; delete {self.path} and the run will be computed again") from error

    def checkpoint(self) -> dict[str, Tensor] | None:
        """The last checkpoint, or None. A damaged one is set aside with a warning: the run starts anew."""
        path = self.path / "checkpoint.safetensors"
        try:
            return tensor_files.read(path)[0]
        except FileNotFoundError:
            return None
        except ValueError as error:
            os.replace(path, path.with_suffix(".damaged"))
            warnings.warn(f"{error}: the run starts again from its beginning", stacklevel=2)
            return None

    def finish(self, rows: list[dict[str, Any]], result: Mapping[str, Any]) -> None:
        """Write `metrics.jsonl` and then `result.json`, and drop the checkpoint."""
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        tensor_files.write_bytes(self.path / "metrics.jsonl", lines.encode())
        tensor_files.write_bytes(self.path / "result.json", json.dumps(result, indent=1).encode())
        with suppress(FileNotFoundError):
            (self.path / "checkpoint.safetensors").unlink()

    def metrics(self) -> pd.DataFrame:
        """The run's metrics, one row an evaluation of a replicate."""
        with (self.path / "metrics.jsonl").open() as file:
            return pd.DataFrame([json.loads(line) for line in file])

    def result(self) -> dict[str, Any]:
        """What `finish` was given."""
        return json.loads((self.path / "result.json").read_text())


def scan(root: Path | None = None) -> pd.DataFrame:
    """All finished runs, a row for each network: run, seed, copy, density, and the run's result, its spec flattened."""
    rows = []
    for path in sorted((root or runs_folder()).glob("*/result.json")):
        result = json.loads(path.read_text())
        replicates = result.pop("replicates", [{}])
        flat = pd.json_normalize(result).to_dict("records")[0] if result else {}
        common = {"run": path.parent.name, **{str(key): value for key, value in flat.items()}}
        rows += [{**common, **replicate} for replicate in replicates]
    return pd.DataFrame(rows)
