"""Image data on disk: the kit's own `NAME.safetensors`, and what users bring (.npz, .safetensors, a folder of images).

Everything is read into one layout: uint8 `train_images` and `test_images` (N, C, H, W), integer `train_labels` and
`test_labels` (N,), and a list of class names. Files may also hold images as (N, H, W, C), or grey ones as (N, H, W).
Labels number the classes from 0, and every class has a training example. `train_group` (N,), or `train_patient`, may
number which training images belong together; other arrays are not read.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from labkit.data.folders import read_folder
from labkit.ground.names import shown
from labkit.ground.tensor_files import write_bytes

CHANNELS = (1, 3)
_KEYS = ("train_images", "train_labels", "test_images", "test_labels")
_GROUPS = ("train_group", "train_patient")  # names of the same


@dataclass(frozen=True)
class Arrays:
    """A data set as read: tensors by key (see the module) and class names. `test_*` may be absent.

    Without class names, `check` numbers the classes.
    """

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
        return check(Arrays(*read_folder(path)), path)
    if path.suffix == ".safetensors":
        return check(_channels_first(_read_safetensors(path), path), path)
    if path.suffix == ".npz":
        return check(_channels_first(_read_npz(path), path), path)
    raise ValueError(f"{path}: a data set is a .safetensors file, an .npz file or a folder of images")


def write(path: Path, arrays: Arrays) -> None:
    """Write `path` (.safetensors) whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, save(dict(arrays.tensors), metadata={"name": path.stem, "classes": json.dumps(arrays.classes)}))


def check(arrays: Arrays, path: Path) -> Arrays:
    """Return `arrays` if they keep the layout.

    Raises:
        ValueError: naming the array, what it is and what it should be; or the class that has no training example.
    """
    tensors, classes = dict(arrays.tensors), arrays.classes
    for split in ("train", "test") if "test_images" in tensors else ("train",):
        images, labels = (tensors.get(f"{split}_{part}") for part in ("images", "labels"))
        if images is None or labels is None:
            raise _lacking(path, tensors)
        tensors[f"{split}_images"] = images = _checked_images(images, f"{path}: {split}_images")
        highest = _highest_label(labels, len(images), len(classes), f"{path}: {split}_labels")
        classes = classes or tuple(str(n) for n in range(highest + 1))
    if len(classes) < 2:
        raise ValueError(f"{path}: all images are of one class ({classes[0]!r}): there is nothing to tell apart")
    if twice := [name for name in classes if classes.count(name) > 1]:
        raise ValueError(f"{path}: two classes are named {twice[0]!r}")
    examples = torch.bincount(tensors["train_labels"].long(), minlength=len(classes))
    if lacking := [name for name, count in zip(classes, examples.tolist(), strict=True) if not count]:
        names = ", ".join(map(repr, lacking[:5])) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        raise ValueError(
            f"{path}: {len(classes)} classes, but no training example of {names}: labels must number the classes "
            f"without a gap (the rarest label is {int(examples.where(examples > 0, examples.max() + 1).argmin())})"
        )
    kept = {key: tensors[key].contiguous() for key in _KEYS if key in tensors}
    for key in _GROUPS:
        if key in tensors:
            kept["train_group"] = _checked_groups(tensors[key], len(kept["train_labels"]), f"{path}: {key}")
    return Arrays(kept, classes)


def _checked_groups(groups: Tensor, examples: int, what: str) -> Tensor:
    if groups.dtype.is_floating_point or groups.dtype.is_complex or groups.shape != (examples,):
        raise ValueError(
            f"{what} must be integers of shape ({examples},), one an image, and is {groups.dtype} of shape "
            f"{tuple(groups.shape)}"
        )
    return groups.contiguous()


def _checked_images(images: Tensor, what: str) -> Tensor:
    if images.dtype != torch.uint8:
        raise ValueError(f"{what} is {images.dtype}; it must be uint8, 0 to 255")
    images = images[:, None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1] not in CHANNELS:
        raise ValueError(f"{what} has shape {tuple(images.shape)}; it must be (N, 1 or 3, H, W) or (N, H, W, 1 or 3)")
    if images.numel() == 0:
        raise ValueError(f"{what} is empty: its shape is {tuple(images.shape)}")
    return images


def _highest_label(labels: Tensor, examples: int, classes: int, what: str) -> int:
    """The highest label, if all lie below the number of classes, or of examples where that is not known (0)."""
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.shape != (examples,):
        hint = "labels.reshape(-1)" if labels.shape == (examples, 1) else "labels.argmax(1) of one-hot rows"
        raise ValueError(
            f"{what} must be integers of shape ({examples},), and is {labels.dtype} of shape {tuple(labels.shape)}; "
            f"take {hint}, labels.astype('int64') of whole floats"
        )
    values, most = labels.numpy(), classes or examples  # NumPy knows the order of unsigned 64-bit numbers
    for label in (int(values.min()), int(values.max())):
        if not 0 <= label < most:
            reason = "" if classes else f", since each class needs one of the {examples} examples"
            raise ValueError(f"{what} must lie in 0 to {most - 1}{reason}; it holds {label}")
    return label


def _channels_first(arrays: Arrays, path: Path) -> Arrays:
    """Images (N, H, W, C) as (N, C, H, W); which it is, the axis of 1 or 3 says.

    Raises:
        ValueError: if both axes could be the channels.
    """
    tensors = dict(arrays.tensors)
    for key in ("train_images", "test_images"):
        shape = tuple(tensors[key].shape) if key in tensors else ()
        if len(shape) != 4 or shape[3] not in CHANNELS or shape[1:] == (1, 1, 1):
            continue
        if shape[1] in CHANNELS:
            raise ValueError(
                f"{path}: {key} has shape {shape}, which may be (N, C, H, W) or (N, H, W, C): give grey images as "
                "(N, H, W), coloured ones as a folder of images"
            )
        tensors[key] = tensors[key].permute(0, 3, 1, 2)
    return Arrays(tensors, arrays.classes)


def _read_safetensors(path: Path) -> Arrays:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys() if key in (*_KEYS, *_GROUPS)}  # noqa: SIM118
            known, said = list(file.keys()), (file.metadata() or {}).get("classes", "[]")
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}): delete it and fetch it again") from error
    _name_keys(path, known)
    try:
        classes = json.loads(said)
    except ValueError:
        classes = None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{path}: its metadata `classes` is {shown(said)}: it must be a JSON list of names")
    return Arrays(tensors, tuple(classes))


def _name_keys(path: Path, found: list[str]) -> None:
    if "train_images" not in found or "train_labels" not in found:
        raise _lacking(path, found)


def _lacking(path: Path, found: Iterable[str]) -> ValueError:
    return ValueError(f"{path}: needs the arrays {', '.join(_KEYS)} (test is optional); it has {sorted(found)}")


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            known = list(file.keys())
            names = file["classes"].tolist() if "classes" in file else []
            classes = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
            arrays = {key: file[key] for key in (*_KEYS, *_GROUPS) if key in file}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, MemoryError) as error:
        raise ValueError(f"{path} cannot be read as an .npz of plain arrays ({error}): is it damaged?") from error
    _name_keys(path, known)
    for key, array in arrays.items():
        if array.dtype.kind not in "buif":
            hint = "; number the classes from 0, and name them in an array `classes`" if "labels" in key else ""
            raise ValueError(f"{path}: {key} is {array.dtype}; it must be integers{hint}")
    native = {key: array.astype(array.dtype.newbyteorder("=")) for key, array in arrays.items()}
    return Arrays({key: torch.from_numpy(array) for key, array in native.items()}, classes)
