"""Arrays become a data set: which images train, in which shape, normalised how; and a digest of all that a run sees."""

import hashlib
import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from labkit.data.dataset import DataSet
from labkit.data.files import Arrays
from labkit.data.shapes import Shape, fit
from labkit.data.splits import half as half_of
from labkit.data.splits import held_out
from labkit.ground.names import choose


def _dataset(images: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = pixel_statistics(images)
    return 1 / (255 * std), -mean / std


# images x in 0..255 -> scale * x + shift, per channel
NORMALISATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "dataset": _dataset,  # zero mean and unit variance over the training images, those held out included
    "unit": lambda images: (torch.tensor([1 / 255]), torch.tensor([0.0])),  # [0, 1]
    "half": lambda images: (torch.tensor([2 / 255]), torch.tensor([-1.0])),  # [-1, 1]
    "lecun": lambda images: (torch.tensor([1.275 / 255]), torch.tensor([-0.1])),  # background -0.1, ink 1.175
    "none": lambda images: (torch.tensor([1.0]), torch.tensor([0.0])),  # 0..255 as they are
}


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of uint8 images (N, C, H, W), on the scale [0, 1]; from exact counts."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].reshape(-1), minlength=256).double()
        share = counts / counts.sum()
        means.append(mean := (share * values).sum())
        stds.append((share * (values - mean) ** 2).sum().sqrt())
    return torch.stack(means).float(), torch.stack(stds).float().clamp_min(1e-6)


def make(
    name: str,
    found: Arrays,
    *,
    normalisation: str = "dataset",
    shape: Shape | None = None,
    resize: str = "bilinear",
    validation: int | None = None,
    train: int | None = None,
    half: str | None = None,
    per_class: int | None = None,
) -> DataSet:
    """Split, resize and describe arrays; see `labkit.data.load` for the arguments.

    The order is: the half, the validation set out of it, the images that train out of the rest. Test images are always
    all there are.

    Args:
        name: for messages.
        found: the arrays.
        normalisation, shape, resize, validation, train, half, per_class: as of `load`.

    Raises:
        ValueError: for an unknown normalisation or sizes that the data cannot give.
    """
    normalise = NORMALISATIONS[choose("normalisation", normalisation, NORMALISATIONS)]
    _check_test(name, found)
    images, labels = found.tensors["train_images"], found.tensors["train_labels"].long()
    if half is not None:
        kept = half_of(labels, half, found.tensors.get("train_group"))
        images, labels = images[kept], labels[kept]
    sizes = {"validation": validation, "train": train, "per_class": per_class}
    parts = _parts(f"{name}, half {half!r}" if half else name, labels, found.classes, **sizes)
    images = fit(images, shape, resize)
    split_images = {key: images[index] for key, index in parts.items()}
    split_labels = {key: labels[index] for key, index in parts.items()}
    split_images["test"] = fit(found.tensors["test_images"], shape, resize)
    split_labels["test"] = found.tensors["test_labels"].long()
    seen = images if per_class is None else torch.cat([split_images["train"], split_images["validation"]])
    scale, shift = (value.reshape(-1, 1, 1) for value in normalise(seen))
    digest = _digest(found.classes, [*split_images.values(), *split_labels.values(), scale, shift])
    return DataSet(name, split_images, split_labels, found.classes, scale, shift, digest)


def _check_test(name: str, found: Arrays) -> None:
    if "test_images" not in found.tensors:
        raise ValueError(f"{name}: there is no test set (arrays test_images and test_labels, or a folder test/)")
    sizes = [tuple(found.tensors[f"{split}_images"].shape[1:]) for split in ("train", "test")]
    if sizes[0] != sizes[1]:
        raise ValueError(f"{name}: training and test images differ in size or colour: {sizes[0]} and {sizes[1]}")


def _parts(name: str, labels: Tensor, classes: tuple[str, ...], **sizes: int | None) -> Mapping[str, Tensor]:
    """What `held_out` gives by the same sizes, where each class has images left to train, and as many as asked for."""
    try:
        parts = held_out(labels, **sizes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    counts, held = torch.bincount(labels[parts["train"]], minlength=len(classes)), len(parts["validation"])
    scarce, wanted, train = int(counts.argmin()), sizes["per_class"], sizes["train"]
    if wanted is not None and counts[scarce] < wanted:
        rest = f" besides the {held} held out for validation" if held else ""
        has = f"class {classes[scarce]!r} has {counts[scarce]} training images{rest}"
        raise ValueError(f"{name}: per_class is {wanted}, and {has}")
    if not counts[scarce]:
        how = f"{held} images held out for validation" + (f" and {train} taken to train" if train else "")
        raise ValueError(f"{name}: with {how}, none is left to train of class {classes[scarce]!r}")
    return parts


def _digest(classes: tuple[str, ...], tensors: list[Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(classes).encode())
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
