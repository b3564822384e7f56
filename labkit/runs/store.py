"""The store: the folders of all runs, read by those that start from them, and scanned."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from labkit.ground import tensor_files
from labkit.runs.files import FINISHED, RUN_NAME
from labkit.runs.folder import RunFolder
from labkit.runs.reading import described
from labkit.runs.run import Run
from labkit.runs.weight_sources import END, Moment
from labkit.sparsity.masks import Masks

# of a version that kept a population in several files
OLD_FILES = {"spec.yaml", "resolved.json", "ticket.safetensors", "checkpoint.safetensors", "final.safetensors",
             "metrics.jsonl", "result.json", ".lock"}  # fmt: skip


def runs_folder() -> Path:
    """Where runs are kept: `LABKIT_RUNS`, else `runs/` of the checkout one works in, else `./runs`."""
    if "LABKIT_RUNS" in os.environ:
        return Path(os.environ["LABKIT_RUNS"]).expanduser()
    checkout, here = Path(__file__).resolve().parents[2], Path.cwd()
    inside = (checkout / "params").is_dir() and here.is_relative_to(checkout)
    return (checkout if inside else here) / "runs"


class Store:
    """What runs have left, for those that start from them (a `labkit.runs.weight_sources.Reader`).

    Args:
        root: the folder of all runs; default `runs_folder()`.
    """

    def __init__(self, root: Path | None = None):
        self.root = runs_folder() if root is None else Path(root)

    def folder(self, run: Run) -> RunFolder:
        """Of a run."""
        return RunFolder(run, self.root)

    def weights(self, run: Run, moment: Moment) -> dict[str, Tensor]:
        """See `Reader`."""
        if moment == END:
            return self.folder(run).end()[0]
        found = self.folder(run).snapshot(int(moment))
        if found is None:
            raise ValueError(f"{self.folder(run).path} has no weights of step {moment}; run again to have them")
        return found

    def end_mask(self, run: Run) -> Masks:
        """See `Reader`."""
        return self.folder(run).end_mask()

    def content(self, run: Run, moment: Moment) -> str:
        """A digest of what another run takes from this one."""
        path = self.folder(run).path / (FINISHED if moment == END else f"at-{moment}.safetensors")
        return str(tensor_files.read_about(path)["content"])


def scan(root: Path | None = None) -> pd.DataFrame:
    """All finished runs, a row each: run, data (its name), seed, first, what it is and its result, flattened.

    Read from headers alone. Files that are damaged, not of a run, or cannot be read are named in a warning and left
    out, those that are deleted meanwhile without one; folders of an older version are counted in one.
    """
    root = runs_folder() if root is None else Path(root)
    rows = []
    for path in sorted(root.glob(f"*/{FINISHED}"), key=str):
        try:
            about = tensor_files.read_about(path)
            identity, result = described(path, about)
        except FileNotFoundError:
            continue
        except (ValueError, OSError) as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        rows.append({"run": path.parent.name, "data": about.get("data"), **dict(_flat({**identity, **result}))})
    tell_of_old(root)
    return pd.DataFrame(rows)


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def old_folders(root: Path) -> list[Path]:
    """Folders of runs by a version that kept a population in several files; nothing here reads them."""
    found = [path.parent for path in root.glob("*/result.json") if re.fullmatch(RUN_NAME, path.parent.name)]
    return sorted(path for path in found if {entry.name for entry in path.iterdir()} <= OLD_FILES)


@cache
def tell_of_old(root: Path) -> None:
    """Say once that there are folders of an older version, if there are."""
    if found := old_folders(root):
        warnings.warn(
            f"{len(found)} run folders in {root} are of an older version of labkit: they are left alone and not read. "
            "`python -m labkit clean` lists them",
            stacklevel=3,
        )
