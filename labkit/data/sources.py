"""Where data sets come from: embedded in the kit, downloaded once by torchvision, brought, or the user's own files."""

import os
from collections.abc import Callable
from pathlib import Path

from labkit.data.downloads import DOWNLOADED, download
from labkit.data.embedded import EMBEDDED
from labkit.data.files import Arrays, check, read, write
from labkit.data.superclasses import coarse
from labkit.ground.names import choose

DERIVED: dict[str, tuple[str, Callable[[Arrays], Arrays]]] = {"cifar100_coarse": ("cifar100", coarse)}
BROUGHT = {  # no loader knows these; what is read is NAME.safetensors in the data folder
    "colon_nuclei": "train_images and test_images, uint8 (N, 3, H, W), of single nuclei, train_labels and test_labels "
    "(N,), and train_patient (N,): a half keeps the images of a patient together",
}
KNOWN = (*EMBEDDED, *DOWNLOADED, *DERIVED, *BROUGHT)


def folder() -> Path:
    """The data folder: `LABKIT_DATA`, else `labkit/data` in the user's cache folder."""
    if "LABKIT_DATA" in os.environ:
        return Path(os.environ["LABKIT_DATA"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "labkit" / "data"


def is_own(name: str) -> bool:
    """Whether `name` is a path of the user's rather than a known data set: it has a separator or a file suffix."""
    return any(mark in name for mark in ("/", "\\", ".", "~"))


def arrays(name: str) -> Arrays:
    """The data set of that name, or at that path.

    A known set is read from `folder()/NAME.safetensors`; where that is absent it is downloaded there first.

    Raises:
        ValueError: for an unknown name or a damaged file.
        FileNotFoundError: if the file is absent and cannot be downloaded; says where it was looked for.
    """
    if is_own(name):
        return read(Path(name).expanduser())
    if choose("data set (or path: './mine')", name, KNOWN) in EMBEDDED:
        return EMBEDDED[name]()
    if name in DERIVED:
        source, change = DERIVED[name]
        return change(arrays(source))
    path = folder() / f"{name}.safetensors"
    if not path.exists() and name in BROUGHT:
        raise FileNotFoundError(
            f"the data set {name!r} is not here, and there is no download of it.\nLooked for: {path}\n"
            f"It holds {BROUGHT[name]}.\nTissue that can be downloaded is 'pcam'; 'photos' needs no file."
        )
    if not path.exists():
        write(path, check(download(name, path), path))
    return read(path)
