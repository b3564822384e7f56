"""A data set as tensors on the device, with its normalisation, and seeded batches of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from labkit.ground.randomness import generator


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
