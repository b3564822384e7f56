"""A folder of images as arrays: `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`.

Each folder that lies there is a class, but for hidden ones (a dot first) and what systems leave behind (`LITTER`). A
class folder without an image is refused, and so is one that is a link: what it points to may be another class, a loop,
or gone. Linked images, and a link to the whole data set, are followed.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.ground.randomness import generator

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
LITTER = {"__MACOSX", "__pycache__", "@eaDir", "lost+found"}


def read_folder(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Images and labels by key (see `labkit.data.files`), and class names in the order of the alphabet.

    Without `train/` a sixth of each class, drawn once, becomes the test set.

    Raises:
        ValueError: naming the folder or the image that is wrong.
    """
    parts = _parts(path)
    root = parts.get("train", path)
    classes = _classes(root)
    if not classes:
        raise ValueError(f"{path}: a folder of images holds one folder a class, or train/ and test/ that do")
    images, labels = _read_classes(root, classes)
    if "train" not in parts:
        return _hold_out(images, labels, path), classes
    found = {"train_images": images, "train_labels": labels}
    if "test" in parts:
        if lone := sorted(set(classes) ^ set(_classes(parts["test"]))):
            raise ValueError(f"{path}: train/ and test/ must hold the same classes; in only one of them is {lone[0]!r}")
        found["test_images"], found["test_labels"] = _read_classes(parts["test"], classes)
    return found, classes


def _parts(path: Path) -> dict[str, Path]:
    """`train` and `test`, however they are written; what else lies beside them is told."""
    folders = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    if "train" not in folders or not any(entry.is_dir() and _is_class(entry) for entry in folders["train"].iterdir()):
        return {}  # no such folder, or a class of that name
    others = sorted(entry.name for name, entry in folders.items() if name not in ("train", "test") and _is_class(entry))
    if others:
        warnings.warn(
            f"{path}: only train/ and test/ are read, not {', '.join(others)}/; validation images come from train/",
            stacklevel=5,
        )
    return {name: folders[name] for name in ("train", "test") if name in folders}


def _is_class(entry: Path) -> bool:
    return not entry.name.startswith(".") and entry.name not in LITTER


def _classes(root: Path) -> tuple[str, ...]:
    found = [entry for entry in root.iterdir() if _is_class(entry)]
    if loose := sorted(entry.name for entry in found if entry.is_file() and _is_image(entry.name)):
        raise ValueError(f"{root} holds images beside its classes ({loose[0]}): each image belongs into a class folder")
    for entry in found:
        if entry.is_symlink() and not entry.is_file():
            raise ValueError(f"{entry} is a link: a class is a folder of its own (its images may be links)")
    return tuple(sorted(entry.name for entry in found if entry.is_dir()))


def _hold_out(images: Tensor, labels: Tensor, path: Path) -> dict[str, Tensor]:
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        of_class = (labels == label).nonzero().squeeze(1)
        drawn = torch.randperm(len(of_class), generator=generator(label, "folder test"))[: len(of_class) // 6]
        held[of_class[drawn]] = True
    if not held.any():
        raise ValueError(f"{path}: a sixth of each class becomes the test set, and no class has 6 images")
    return {"train_images": images[~held], "train_labels": labels[~held],
            "test_images": images[held], "test_labels": labels[held]}  # fmt: skip


def _read_classes(root: Path, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = sorted(file for file in (root / name).iterdir() if _is_image(file.name))
        if inner := sorted(entry.name for entry in (root / name).iterdir() if entry.is_dir() and _is_class(entry)):
            raise ValueError(f"{root / name} is a class and holds a folder, {inner[0]}: images lie in the class itself")
        if not files:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise ValueError(f"{root / name} holds no image: a class needs some ({known}); take away what is no class")
        for file in files:
            images.append(_read_image(file))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                shapes = f"{images[-1].shape}, those before {images[0].shape}"
                raise ValueError(f"{root}: images differ in size or colour: {file} is {shapes}")
    stacked = torch.from_numpy(np.stack(images))
    stacked = stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
    return stacked.contiguous(), torch.tensor(labels)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _read_image(file: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return _pixels(image)
    except Exception as error:  # of many types, by what is wrong with the file and by its format
        raise ValueError(f"{file} cannot be read as an image ({error})") from error


def _pixels(image: Any) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3); 16-bit greys are scaled to 8 bits."""
    if image.mode.startswith("I;16"):
        return (np.asarray(image) / 257).round().astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit numbers of unknown range; save it with 8 or 16 bits")
    if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
        raise ValueError("some of its pixels are transparent: what lies behind them is not said; save it on a ground")
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
