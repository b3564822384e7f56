"""What of a folder of runs can go: what is left over, and runs by name, unless others start from them."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from labkit.ground import tensor_files
from labkit.ground.names import choose
from labkit.ground.tensor_files import PART
from labkit.runs.files import CHECKPOINT, FINISHED, LOCK, RUN_NAME, busy
from labkit.runs.store import old_folders


def leftovers(root: Path) -> dict[Path, str]:
    """What nothing needs -> why: damaged files, checkpoints of finished runs, broken writes, older versions' files."""
    found: dict[Path, str] = {}
    for folder in _runs(root):
        found |= {path: "was damaged, and set aside" for path in sorted(folder.glob("*.damaged"))}
        if (folder / CHECKPOINT).exists() and (folder / FINISHED).exists():
            found[folder / CHECKPOINT] = f"its run is finished ({FINISHED})"
        parts = sorted(folder.glob(f"*{PART}"))
        if parts and not busy(folder):
            found |= dict.fromkeys(parts, "was never written to its end")
    return found | dict.fromkeys(old_folders(root), "of an older version, which nothing here reads")


def _runs(root: Path) -> list[Path]:
    """Folders that are named as runs are."""
    return sorted(path for path in root.glob("*") if re.fullmatch(RUN_NAME, path.name) and path.is_dir())


def dependants(root: Path, name: str) -> list[str]:
    """Names of the stored runs that start from a run, those on their way included; a damaged file names none."""
    found = []
    for path in sorted([*root.glob(f"*/{FINISHED}"), *root.glob(f"*/{CHECKPOINT}")]):
        try:
            sources = tensor_files.read_about(path).get("sources", {})
        except (FileNotFoundError, ValueError):
            continue
        if any(source.split("@")[0] == name for source in sources) and path.parent.name not in found:
            found.append(path.parent.name)
    return found


def clean(root: Path, names: Sequence[str] = (), *, delete: bool = False) -> dict[Path, str]:
    """Say what can go, or let it go.

    Args:
        root: the folder of runs.
        names: runs that are not wanted any more, besides what is left over.
        delete: whether to delete it.

    Returns:
        Files and folders -> why. What a process begins to compute meanwhile is not deleted, and left out.

    Raises:
        ValueError: for an unknown run, one that is being computed, or one that others start from, unless those are
            named too; nothing is deleted.
    """
    known = [path.name for path in _runs(root) if not path.is_symlink()]
    found = leftovers(root)
    for name in names:
        choose("run", name, known)
        if busy(root / name):
            raise ValueError(f"run {name} cannot go: a process computes it")
        if needed := [other for other in dependants(root, name) if other not in names]:
            raise ValueError(f"run {name} cannot go: {', '.join(needed)} started from it")
        found[root / name] = "you named it"
    for path in list(found) if delete else ():
        try:
            with FileLock((path if path.is_dir() else path.parent) / LOCK, timeout=0):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except Timeout:  # a process has begun to compute it
            del found[path]
    return found
