"""A folder of images as arrays: `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`.

Each folder that lies there is a class, but for hidden ones (a dot first) and what systems leave behind (`LITTER`). A
class folder without an image is refused, and so is one that is a link: what it points to may be another class, a loop,
or gone. Linked images, and a link to the whole data set, are followed.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.ground.randomness import generator

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
PARTS = ("train", "test")
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
    found = {"train_images": images, "train_labels": labels}
    if "train" not in parts:
        found = _hold_out(images, labels, path)
    if "test" in parts:
        if lone := sorted(set(classes) ^ set(_classes(parts["test"]))):
            only = parts["train" if lone[0] in classes else "test"].name
            raise ValueError(f"{path}: train/ and test/ must hold the same classes; {lone[0]!r} is in {only}/ alone")
        found["test_images"], found["test_labels"] = _read_classes(parts["test"], classes)
    _tell_seen(found, path)
    return found, classes


def write_folder(path: Path, tensors: Mapping[str, Tensor], classes: Sequence[str]) -> Path:
    """Write a data set as a folder of images: `train/CLASS/00000.png` and `test/CLASS/...`, numbered in each part.

    It is made beside `path` and moved there when it is whole; what is at `path` already is kept as it is.

    Args:
        path: of the folder.
        tensors: uint8 images (N, 1 or 3, H, W) and labels (N,), by key (see `labkit.data.files`).
        classes: names, by label.

    Returns:
        `path`.
    """
    from PIL import Image

    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
        whole = Path(beside) / path.name
        for part in (part for part in PARTS if f"{part}_images" in tensors):
            for name in classes:
                (whole / part / name).mkdir(parents=True)
            pairs = zip(tensors[f"{part}_images"], tensors[f"{part}_labels"].tolist(), strict=True)
            for number, (image, label) in enumerate(pairs):
                pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
                Image.fromarray(pixels.numpy()).save(whole / part / classes[label] / f"{number:05}.png")
        with suppress(OSError):  # somebody else was faster
            whole.rename(path)
    return path


def _parts(path: Path) -> dict[str, Path]:
    """`train` and `test`, however they are written; what else lies beside them is told."""
    folders = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    if "train" not in folders or not any(entry.is_dir() and _is_class(entry) for entry in folders["train"].iterdir()):
        return {}  # no such folder, or a class of that name
    others = sorted(entry.name for name, entry in folders.items() if name not in PARTS and _is_class(entry))
    if others:
        warnings.warn(
            f"{path}: only train/ and test/ are read, not {', '.join(others)}/; validation images come from train/",
            stacklevel=5,
        )
    return {name: folders[name] for name in PARTS if name in folders}


def _tell_seen(found: Mapping[str, Tensor], path: Path) -> None:
    """Warn of test images that are training images too, pixel by pixel."""
    marks = {
        key: [blake2b(image.numpy().tobytes()).digest() for image in found[key]] for key in found if "images" in key
    }
    if twice := sum(map(set(marks["train_images"]).__contains__, marks.get("test_images", []))):
        warnings.warn(
            f"{path}: {twice} of {len(marks['test_images'])} test images are training images too: accuracy on them "
            "says nothing of images that were never seen",
            stacklevel=5,
        )


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
            raise ValueError(
                f"{root / name} is a class and holds a folder, {inner[0]}: images lie in the class itself (of parts of "
                "a data set, only train/ and test/ are known)"
            )
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
