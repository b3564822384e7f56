"""Image data on disk: the kit's own `NAME.safetensors`, and what users bring (.npz, .safetensors, a folder of images).

Everything is read into one layout: uint8 `train_images` and `test_images` (N, C, H, W), integer `train_labels` and
`test_labels` (N,), and a list of class names.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from labkit.randomness import generator
from labkit.tensorfiles import write_bytes

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Arrays:
    """A data set as read: tensors by key (see the module) and class names. `test_*` may be absent."""

    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...]


def read(path: Path) -> Arrays:
    """Read a data set from a `.safetensors` or `.npz` file or a folder of images.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if the file is damaged, of an unknown kind, or its arrays are of the wrong name, type or shape.
    """
    if not path.exists():
        raise FileNotFoundError(f"no data at {path.absolute()}")
    if path.is_dir():
        return check(_read_folder(path), path)
    if path.suffix == ".safetensors":
        return check(_read_safetensors(path), path)
    if path.suffix == ".npz":
        return check(_read_npz(path), path)
    raise ValueError(f"{path}: a data set is a .safetensors file, an .npz file or a folder of images")


def write(path: Path, arrays: Arrays) -> None:
    """Write `path` (.safetensors) whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, save(dict(arrays.tensors), metadata={"name": path.stem, "classes": json.dumps(arrays.classes)}))


def check(arrays: Arrays, path: Path) -> Arrays:
    """Return `arrays` if they keep the layout.

    Raises:
        ValueError: naming the array, what it is and what it should be.
    """
    tensors = dict(arrays.tensors)
    for split in ("train", "test") if "test_images" in tensors else ("train",):
        images, labels = (tensors.get(f"{split}_{part}") for part in ("images", "labels"))
        if images is None or labels is None:
            raise ValueError(
                f"{path}: needs the arrays {', '.join(_KEYS)} (test is optional); it has {sorted(tensors)}"
            )
        if images.dtype != torch.uint8:
            raise ValueError(f"{path}: {split}_images is {images.dtype}; it must be uint8, 0 to 255")
        if images.ndim == 3:
            tensors[f"{split}_images"] = images = images[:, None]
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"{path}: {split}_images has shape {tuple(images.shape)}; it must be (N, 1 or 3, H, W)")
        if labels.dtype.is_floating_point or labels.shape != images.shape[:1]:
            raise ValueError(f"{path}: {split}_labels must be integers of shape ({len(images)},)")
        if len(images) == 0:
            raise ValueError(f"{path}: {split}_images is empty")
        if int(labels.min()) < 0 or int(labels.max()) >= len(arrays.classes):
            raise ValueError(f"{path}: {split}_labels must lie in 0 to {len(arrays.classes) - 1}")
    return Arrays({key: tensors[key].contiguous() for key in _KEYS if key in tensors}, arrays.classes)


def _read_safetensors(path: Path) -> Arrays:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys() if key in _KEYS}  # noqa: SIM118
            classes = json.loads((file.metadata() or {}).get("classes", "null"))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short ({error}): delete it and fetch it again") from error
    return Arrays(tensors, tuple(classes) if classes else _numbered(tensors))


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            names = [str(name) for name in file["classes"]] if "classes" in file else None
            arrays = {key: file[key] for key in _KEYS if key in file}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as an .npz of plain arrays ({error}): is it damaged?") from error
    whole = {key: a.astype(np.int64) if "labels" in key and a.dtype.kind in "iu" else a for key, a in arrays.items()}
    tensors = {key: torch.from_numpy(array) for key, array in whole.items()}
    return Arrays(tensors, tuple(names) if names else _numbered(tensors))


def _numbered(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    labels = [tensors[key] for key in ("train_labels", "test_labels") if key in tensors and tensors[key].numel()]
    return tuple(str(n) for n in range(1 + max((int(label.max()) for label in labels), default=0)))


def _read_folder(path: Path) -> Arrays:
    """`path/train/CLASS/*` and `path/test/CLASS/*`, or `path/CLASS/*` (a sixth of each class becomes the test set)."""
    split = (path / "train").is_dir()
    root = path / "train" if split else path
    classes = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir()))
    if not classes:
        raise ValueError(f"{path}: a folder of images holds one folder a class, or train/ and test/ that do")
    if split and (path / "test").is_dir():
        train, test = _read_classes(root, classes), _read_classes(path / "test", classes)
        return Arrays(dict(zip(_KEYS, (*train, *test), strict=True)), classes)
    images, labels = _read_classes(root, classes)
    if split:
        return Arrays({"train_images": images, "train_labels": labels}, classes)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(len(classes)):
        of_class = (labels == label).nonzero().squeeze(1)
        held[
            of_class[torch.randperm(len(of_class), generator=generator(label, "folder test"))[: len(of_class) // 6]]
        ] = True
    parts = (images[~held], labels[~held], images[held], labels[held])
    return Arrays(dict(zip(_KEYS, parts, strict=True)), classes)


def _read_classes(root: Path, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    from PIL import Image, UnidentifiedImageError

    images, labels = [], []
    for label, name in enumerate(classes):
        for file in sorted(entry for entry in (root / name).iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES):
            try:
                with Image.open(file) as image:
                    images.append(_pixels(image, file))
            except (UnidentifiedImageError, OSError) as error:
                raise ValueError(f"{file} cannot be read as an image ({error})") from error
            labels.append(label)
    if not images:
        raise ValueError(f"{root}: no images; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"{root}: images differ in size or colour: {sorted({image.shape for image in images})[:4]}")
    stacked = torch.from_numpy(np.stack(images))
    stacked = stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
    return stacked.contiguous(), torch.tensor(labels)


def _pixels(image: Any, file: Path) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3); 16-bit greys are scaled to 8 bits."""
    if image.mode.startswith("I;16"):
        return (np.asarray(image) / 257).round().astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ValueError(f"{file}: pixels are 32-bit numbers of unknown range; save it with 8 or 16 bits")
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
