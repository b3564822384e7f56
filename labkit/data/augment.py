"""Augmentation as tensor operations on the device, on uint8 images, each image with its own draw."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images as they are."""
    return images


def crop_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Random crop after zero padding, then a horizontal flip of every second image on average.

    Args:
        images: uint8 (B, C, H, W).
        generator: on the CPU, so that CPU and GPU draw the same; two draws an image.
        padding: pixels on each side.

    Returns:
        uint8 (B, C, H, W).
    """
    batch, _, height, width = images.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator).to(images.device)
    flips = torch.randint(0, 2, (batch, 1), generator=generator).bool().to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)  # (B, H)
    columns = torch.arange(width, device=images.device).expand(batch, -1)
    columns = offsets[1] + torch.where(flips, width - 1 - columns, columns)  # (B, W)
    padded = pad(images, (padding,) * 4)
    index = torch.arange(batch, device=images.device)
    cropped = padded[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return cropped.permute(0, 3, 1, 2)


AUGMENTATIONS: dict[str, Augmentation] = {"none": none, "crop_flip": crop_flip}
