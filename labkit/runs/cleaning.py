"""What of a folder of runs can go: what is left over, and runs by name, unless others start from them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from labkit.ground import tensor_files
from labkit.ground.names import choose
from labkit.runs.folder import CHECKPOINT, FINISHED
from labkit.runs.store import old_folders


def leftovers(root: Path) -> dict[Path, str]:
    """What nothing needs -> why: damaged files, checkpoints of finished runs, folders of an older version."""
    found = {path: "was damaged, and set aside" for path in sorted(root.glob("*/*.damaged"))}
    found |= {path: f"its run is finished ({FINISHED})" for path in sorted(root.glob(f"*/{CHECKPOINT}"))
              if (path.parent / FINISHED).exists()}  # fmt: skip
    return found | dict.fromkeys(old_folders(root), "of an older version, which nothing here reads")


def dependants(root: Path, name: str) -> list[str]:
    """Names of the stored runs that start from a run; a damaged file names none."""
    found = []
    for path in sorted(root.glob(f"*/{FINISHED}")):
        try:
            sources = tensor_files.read_about(path).get("sources", {})
        except ValueError:
            continue
        if any(source.split("@")[0] == name for source in sources):
            found.append(path.parent.name)
    return found


def clean(root: Path, names: Sequence[str] = (), *, delete: bool = False) -> dict[Path, str]:
    """Say what can go, or let it go.

    Args:
        root: the folder of runs.
        names: runs that are not wanted any more, besides what is left over.
        delete: whether to delete it.

    Returns:
        Files and folders -> why.

    Raises:
        ValueError: for an unknown run, or one that others start from, unless those are named too; nothing is deleted.
    """
    known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.exists() else []
    found = leftovers(root)
    for name in names:
        choose("run", name, known)
        if needed := [other for other in dependants(root, name) if other not in names]:
            raise ValueError(f"run {name} cannot go: {', '.join(needed)} started from it")
        found[root / name] = "you named it"
    for path in found if delete else ():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return found
