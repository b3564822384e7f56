"""Where data sets come from: embedded in the kit, downloaded once by torchvision, or the user's own files."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.data.files import Arrays, check, read, write
from labkit.ground.names import choose
from labkit.ground.randomness import generator

EMBEDDED = "digits"
DOWNLOADED = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}


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
    if choose("data set (or path)", name, [EMBEDDED, *DOWNLOADED]) == EMBEDDED:
        return _digits()
    path = folder() / f"{name}.safetensors"
    if not path.exists():
        write(path, check(_download(name, path), path))
    return read(path)


def _digits() -> Arrays:
    """1,797 handwritten digits, 8x8, of 43 writers (Alpaydin & Kaynak 1998, UCI), as scikit-learn ships them.

    A fixed fifth, drawn once, is the test set.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))[:, None]  # 0..16 -> 0..255
    labels = torch.from_numpy(digits.target.astype(np.uint8))
    order = torch.randperm(len(labels), generator=generator(0, "digits test"))
    test, train = order[:360], order[360:]
    tensors = {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }
    return check(Arrays(tensors, tuple("0123456789")), Path("digits"))


def _download(name: str, path: Path) -> Arrays:
    import torchvision  # only where a loader needs it: its import takes seconds

    loader: Callable[..., Any] = getattr(torchvision.datasets, DOWNLOADED[name])
    switch = "split" if name == "svhn" else "train"
    choices = {"train": "train", "test": "test"} if name == "svhn" else {"train": True, "test": False}
    tensors: dict[str, torch.Tensor] = {}
    with tempfile.TemporaryDirectory(prefix="labkit-") as scratch:
        for split, value in choices.items():
            try:
                found = loader(scratch, download=True, **{switch: value})
            except Exception as error:  # torchvision raises URLError, RuntimeError or OSError, by data set and version
                raise FileNotFoundError(_how_to_bring(name, path, error)) from error
            images = torch.as_tensor(found.data)
            if name.startswith("cifar"):
                images = images.permute(0, 3, 1, 2)
            labels = found.labels if name == "svhn" else found.targets
            tensors[f"{split}_images"] = images
            tensors[f"{split}_labels"] = torch.as_tensor(labels).to(torch.uint8)
        classes = getattr(found, "classes", [str(n) for n in range(10)])
    return Arrays(tensors, tuple(map(str, classes)))


def _how_to_bring(name: str, path: Path, error: Exception) -> str:
    return (
        f"the data set {name!r} is not here and could not be downloaded ({type(error).__name__}: {error}).\n"
        f"Looked for: {path}\n"
        f"To bring it: on a machine with network run\n"
        f"    python -c \"import labkit.data as d; d.arrays('{name}')\"\n"
        f"and copy that file from its data folder to this path, or set LABKIT_DATA to the folder that holds it. "
        f"The embedded data set '{EMBEDDED}' needs no file."
    )
