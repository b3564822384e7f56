"""Data sets that torchvision downloads, read into the kit's layout."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labkit.data.files import Arrays

DOWNLOADED = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
    "pcam": "PCAM",
}
CLASSES = {"pcam": ("no tumour", "tumour")}
CENTRE = slice(32, 64)  # of the 96 pixels of PCAM's images
AT_ONCE = 4096  # images of PCAM that are unpacked together: 113 MB


def download(name: str, path: Path) -> Arrays:
    """A data set, downloaded to a folder that is gone afterwards.

    Args:
        name: of `DOWNLOADED`.
        path: where it was looked for, for the message.

    Raises:
        FileNotFoundError: if it cannot be downloaded; says how to bring it.
    """
    import torchvision  # only where a loader needs it: its import takes seconds

    loader: Callable[..., Any] = getattr(torchvision.datasets, DOWNLOADED[name])
    by_name = name in ("svhn", "pcam")
    tensors: dict[str, Tensor] = {}
    with tempfile.TemporaryDirectory(prefix="labkit-") as scratch:
        for split in ("train", "test"):
            which = {"split": split} if by_name else {"train": split == "train"}
            try:
                found = loader(scratch, download=True, **which)
            except Exception as error:  # torchvision raises URLError, RuntimeError or OSError, by data set and version
                raise FileNotFoundError(_how_to_bring(name, path, error)) from error
            images, labels = _read_pcam(Path(scratch), split) if name == "pcam" else _read(name, found)
            tensors[f"{split}_images"], tensors[f"{split}_labels"] = images, labels.to(torch.uint8)
    classes = CLASSES.get(name, getattr(found, "classes", range(10)))
    return Arrays(tensors, tuple(map(str, classes)))


def _read(name: str, found: Any) -> tuple[Tensor, Tensor]:
    """Images and labels of one of torchvision's data sets."""
    images = torch.as_tensor(found.data)
    images = images.permute(0, 3, 1, 2) if name.startswith("cifar") else images
    return images, torch.as_tensor(found.labels if name == "svhn" else found.targets)


def _read_pcam(scratch: Path, split: str) -> tuple[Tensor, Tensor]:
    """The central 32x32 pixels of PatchCamelyon's images, which alone decide their labels (Veeling et al. 2018)."""
    import h5py

    stem = scratch / "pcam" / f"camelyonpatch_level_2_split_{split}"
    with h5py.File(f"{stem}_x.h5") as images, h5py.File(f"{stem}_y.h5") as labels:
        stored = images["x"]  # (N, 96, 96, 3), compressed
        parts = [torch.from_numpy(stored[n : n + AT_ONCE, CENTRE, CENTRE]) for n in range(0, len(stored), AT_ONCE)]
        return torch.cat(parts).permute(0, 3, 1, 2), torch.from_numpy(labels["y"][:]).reshape(-1)


def _how_to_bring(name: str, path: Path, error: Exception) -> str:
    return (
        f"the data set {name!r} is not here and could not be downloaded ({type(error).__name__}: {error}).\n"
        f"Looked for: {path}\n"
        f"To bring it: on a machine with network run\n"
        f"    python -c \"import labkit.data as d; d.arrays('{name}')\"\n"
        f"and copy that file from its data folder to this path, or set LABKIT_DATA to the folder that holds it. "
        f"The embedded data sets, 'digits' and 'photos', need no file."
    )
