"""The store: one folder a run, named by the hash of what the run is. Finished runs are read, broken ones resumed.

`runs/<hash>/` holds `spec.yaml` (what the run is), `checkpoint.safetensors` (while it runs), `ticket.safetensors`
(where it started: weights and masks), `final.safetensors`, `metrics.jsonl` and, written last, `result.json`: its
presence means done. Every file is written whole or not at all. No pickle anywhere.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout
from torch import Tensor

from labkit import tensorfiles
from labkit.specs import digest


def runs_folder() -> Path:
    """Where runs are kept: `LABKIT_RUNS`, else `runs/` of the checkout one works in, else `./runs`."""
    if "LABKIT_RUNS" in os.environ:
        return Path(os.environ["LABKIT_RUNS"]).expanduser()
    checkout, here = Path(__file__).resolve().parents[1], Path.cwd()
    inside = (checkout / "params").is_dir() and here.is_relative_to(checkout)
    return (checkout if inside else here) / "runs"


class RunFolder:
    """The folder of one run.

    Args:
        identity: everything that determines the run's result, as plain values; its hash names the folder.
        root: the folder of all runs; default `runs_folder()`.
    """

    def __init__(self, identity: Mapping[str, Any], root: Path | None = None):
        self.identity = dict(identity)
        self.hash = digest(self.identity)
        self.path = (root or runs_folder()) / self.hash

    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.path / "result.json").exists()

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
            for part in self.path.glob(f"*{tensorfiles.PART}"):  # of a process that was killed
                part.unlink()
            content = yaml.safe_dump(self.identity, sort_keys=False).encode()
            tensorfiles.write_bytes(self.path / "spec.yaml", content)
            yield
        finally:
            lock.release()

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write `NAME.safetensors`."""
        tensorfiles.write(self.path / f"{name}.safetensors", tensors)

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read `NAME.safetensors`.

        Raises:
            ValueError: if it is damaged; says to delete the folder, since the run can be computed again.
        """
        try:
            return tensorfiles.read(self.path / f"{name}.safetensors")[0]
        except ValueError as error:
            raise ValueError(f"{error}; delete {self.path} and the run will be computed again") from error

    def checkpoint(self) -> dict[str, Tensor] | None:
        """The last checkpoint, or None. A damaged one is set aside with a warning: the run starts anew."""
        path = self.path / "checkpoint.safetensors"
        try:
            return tensorfiles.read(path)[0]
        except FileNotFoundError:
            return None
        except ValueError as error:
            os.replace(path, path.with_suffix(".damaged"))
            warnings.warn(f"{error}: the run starts again from its beginning", stacklevel=2)
            return None

    def finish(self, rows: list[dict[str, Any]], result: Mapping[str, Any]) -> None:
        """Write `metrics.jsonl` and then `result.json`, and drop the checkpoint."""
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        tensorfiles.write_bytes(self.path / "metrics.jsonl", lines.encode())
        tensorfiles.write_bytes(self.path / "result.json", json.dumps(result, indent=1).encode())
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
