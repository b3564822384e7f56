"""A data set as tensors on the device: fixed splits, the model's input size, normalisation, seeded batches."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from labkit.data.files import Arrays
from labkit.ground.names import choose
from labkit.ground.randomness import generator


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


@dataclass(frozen=True)
class DataSet:
    """Training, validation and test images as uint8 tensors, with the normalisation that turns them into inputs.

    Attributes:
        name: of the data set.
        images: "train", "validation", "test" -> uint8 (N, C, H, W).
        labels: the same keys -> int64 (N,).
        classes: class names.
        scale, shift: inputs are scale * image + shift, float32 (C, 1, 1).
        digest: of all that a run sees: images, labels, classes, scale and shift; hexadecimal.
    """

    name: str
    images: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    classes: tuple[str, ...]
    scale: Tensor
    shift: Tensor
    digest: str

    def inputs(
        self, split: str, index: Tensor | slice, augment: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalised float32 inputs (B, C, H, W) and labels (B,) at the given positions of a split.

        Args:
            split: "train", "validation" or "test".
            index: positions.
            augment: applied to the uint8 images first.
        """
        images, labels = self.images[split], self.labels[split]
        if isinstance(index, slice):
            images, labels = images[index], labels[index]
        else:  # copies whole rows: ten times as fast as indexing
            images, labels = images.index_select(0, index), labels.index_select(0, index)
        if augment is not None:
            images = augment(images)
        return images.mul(self.scale).add_(self.shift), labels

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example: (channels, height, width)."""
        return tuple(self.images["train"].shape[1:])

    def size(self, split: str) -> int:
        """Examples in a split."""
        return len(self.labels[split])

    def barely_evaluated(self) -> "DataSet":
        """The same data with one validation and one test example, for timing steps."""
        images, labels = (
            {split: tensors if split == "train" else tensors[:1] for split, tensors in found.items()}
            for found in (self.images, self.labels)
        )
        return replace(self, images=images, labels=labels)

    def to(self, device: torch.device | str) -> "DataSet":
        """The same data on another device."""
        move = {key: {k: v.to(device) for k, v in getattr(self, key).items()} for key in ("images", "labels")}
        if self.scale.device == torch.device(device):
            return self
        return DataSet(
            self.name, **move, classes=self.classes, scale=self.scale.to(device), shift=self.shift.to(device),
            digest=self.digest,
        )  # fmt: skip

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {len(labels):,}" for split, labels in self.labels.items())
        return f"DataSet({self.name}: {sizes}; {'x'.join(map(str, self.shape))})"


def make(
    name: str,
    found: Arrays,
    *,
    normalisation: str = "dataset",
    shape: tuple[int, int, int] | None = None,
    validation: int | None = None,
    train: int | None = None,
) -> DataSet:
    """Split, resize and describe arrays.

    The validation set is drawn from the training images, once and for all (the same for every seed).

    Args:
        name: for messages.
        found: the arrays.
        normalisation: a name of `NORMALISATIONS`.
        shape: (channels, height, width) the model takes; images are resized (bilinear) and grey or RGB is converted.
        validation: examples held out of the training images, 0 for none; default 5,000, or a sixth of a small set.
        train: use only so many training examples.

    Raises:
        ValueError: for an unknown normalisation or sizes that the data cannot give.
    """
    normalise = NORMALISATIONS[choose("normalisation", normalisation, NORMALISATIONS)]
    images, labels = found.tensors["train_images"], found.tensors["train_labels"].long()
    held = max(1, min(5000, len(labels) // 6)) if validation is None else validation
    available = len(labels) - held
    if held < 0 or available < 1 or (train or 1) > available or (train is not None and train < 1):
        raise ValueError(
            f"{name}: {len(labels)} training images cannot give {held} for validation and {train} to train"
        )
    order = torch.randperm(len(labels), generator=generator(0, "validation"))
    parts = {"validation": order[:held], "train": order[held:][: train or available].sort().values}
    if gone := set(labels.tolist()) - set(labels[parts["train"]].tolist()):
        how = f"{held} images held out for validation" + (f" and {train} taken to train" if train else "")
        raise ValueError(f"{name}: with {how}, none is left to train of class {found.classes[min(gone)]!r}")
    if "test_images" not in found.tensors:
        raise ValueError(f"{name}: there is no test set (arrays test_images and test_labels, or a folder test/)")
    sizes = [tuple(found.tensors[f"{split}_images"].shape[1:]) for split in ("train", "test")]
    if sizes[0] != sizes[1]:
        raise ValueError(f"{name}: training and test images differ in size or colour: {sizes[0]} and {sizes[1]}")
    images = fit(images, shape)
    split_images = {key: images[index] for key, index in parts.items()}
    split_labels = {key: labels[index] for key, index in parts.items()}
    split_images["test"] = fit(found.tensors["test_images"], shape)
    split_labels["test"] = found.tensors["test_labels"].long()
    scale, shift = (value.reshape(-1, 1, 1) for value in normalise(images))
    digest = hashlib.sha256(json.dumps(found.classes).encode())
    for tensor in (*split_images.values(), *split_labels.values(), scale, shift):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return DataSet(name, split_images, split_labels, found.classes, scale, shift, digest.hexdigest())


def fit(images: Tensor, shape: tuple[int, int, int] | None) -> Tensor:
    """Images (N, C, H, W), uint8, as (N, *shape), uint8: bilinear resize; grey is repeated, RGB becomes luma."""
    if shape is None or tuple(images.shape[1:]) == tuple(shape):
        return images
    channels, height, width = shape
    parts = []
    for part in images.split(2000):
        part = part.float()
        if channels != part.shape[1]:
            luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
            part = part.expand(-1, 3, -1, -1) if channels == 3 else (part * luma).sum(1, keepdim=True)
        if part.shape[2:] != (height, width):
            part = interpolate(part, size=(height, width), mode="bilinear", antialias=True)
        parts.append(part.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


class BatchOrder:
    """Which examples a replicate sees: seeded permutations of the training set, end to end, cut into batches.

    Batch t holds positions t*batch to (t+1)*batch - 1 of the endless sequence of permutations; permutation e is drawn
    from (seed, "order", e). Every example is seen exactly once an epoch, no batch is short, none is dropped, and any
    step can be had without the ones before it.
    """

    def __init__(self, size: int, batch: int, seed: int, device: torch.device | str = "cpu"):
        self.size, self.batch, self.seed, self.device = size, batch, seed, device
        self._epochs: dict[int, Tensor] = {}

    def __getitem__(self, step: int) -> Tensor:
        """Indices (batch,) of the examples of a step, int64, on the device."""
        first, last = step * self.batch, (step + 1) * self.batch
        pieces = []
        while first < last:
            epoch, offset = divmod(first, self.size)
            stop = min(self.size, offset + last - first)
            pieces.append(self._permutation(epoch)[offset:stop])
            first += stop - offset
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            self._epochs = {kept: order for kept, order in self._epochs.items() if kept == epoch - 1}
            order = torch.randperm(self.size, generator=generator(self.seed, "order", epoch))
            self._epochs[epoch] = order.to(self.device)
        return self._epochs[epoch]
