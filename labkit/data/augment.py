"""Augmentation as tensor operations on the device, on uint8 images, each image with its own draw.

Draws come from a generator on the CPU, and pixels are moved or mixed in whole numbers: CPU and GPU agree bit for bit.
What is cropped lies channels-last in memory.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

_AREA, _RATIO, _ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10  # torchvision's defaults


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
    rows, columns = _shifts(images, generator, padding)
    return _pick(pad(images, (padding,) * 4), rows + padding, columns + padding)


def reflect_crop_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """`crop_flip` with the image mirrored at its edges (the edge itself not repeated) instead of zeros.

    For WRN-22-2 in Sundar & Dwaraknath 2021, as in Zagoruyko & Komodakis 2016. Draws as `crop_flip` does.

    Raises:
        ValueError: if the images are too small to be mirrored that far.
    """
    height, width = images.shape[2:]
    if padding >= min(height, width):
        raise ValueError(f"images of {height}x{width} cannot be mirrored by {padding} pixels")
    rows, columns = _shifts(images, generator, padding)
    return _pick(images, _mirror(rows, height), _mirror(columns, width))


def resized_crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random part of each image, enlarged to the image's own size (bilinear), then flipped every second time.

    The part has 8 to 100 % of the area, uniformly, and a ratio of width to height of 3/4 to 4/3, uniformly in its
    logarithm; of ten draws the first that fits is taken, else the largest central part of an allowed ratio. This is
    torchvision's `RandomResizedCrop(size)` with its defaults (Szegedy et al. 2015), and a flip.

    Args:
        images: uint8 (B, C, H, W), up to about 1400x1400 pixels.
        generator: on the CPU; 23 draws an image.

    Returns:
        uint8 (B, C, H, W); values are rounded to the nearest, halves up.
    """
    batch, _, height, width = images.shape
    boxes = random_boxes(batch, height, width, generator)
    flips = torch.randint(0, 2, (batch,), generator=generator).bool()
    return resize_boxes(images, boxes, flips)


def random_boxes(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Parts of an image as torchvision's `RandomResizedCrop.get_params` draws them; see `resized_crop_flip`.

    Returns:
        int64 (4, batch): top, left, height, width, in pixels, on the CPU.
    """
    draws = torch.rand(2, _ATTEMPTS, batch, dtype=torch.float64, generator=generator)
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * draws[0])
    low, high = map(math.log, _RATIO)
    ratio = (low + (high - low) * draws[1]).exp()
    sizes = torch.stack([(area / ratio).sqrt().round(), (area * ratio).sqrt().round()]).long()  # (2, attempts, B)
    full = torch.tensor([height, width])
    fits = ((sizes > 0) & (sizes <= full[:, None, None])).all(0)  # (attempts, B)
    first = fits.int().argmax(0)  # of the largest, the first
    chosen = sizes[:, first, torch.arange(batch)]  # (2, B)
    aspect = min(max(width / height, _RATIO[0]), _RATIO[1])
    central = torch.tensor([min(height, round(width / aspect)), min(width, round(height * aspect))])
    found = fits.any(0)
    chosen = torch.where(found, chosen, central[:, None])
    spare = full[:, None] - chosen
    corner = (torch.rand(2, batch, dtype=torch.float64, generator=generator) * (spare + 1)).long()
    return torch.cat([torch.where(found, corner, spare // 2), chosen])


def resize_boxes(images: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
    """A part of each image enlarged to the image's size, bilinear between the part's own pixels, then flipped or not.

    Pixel i of H looks at (i + 1/2) h / H - 1/2 of the h pixels of the part, held within them (`align_corners=False`).

    Args:
        images: uint8 (B, C, H, W).
        boxes: int64 (4, B): top, left, height, width, as of `random_boxes`.
        flips: bool (B,): mirror left and right.

    Returns:
        uint8 (B, C, H, W).
    """
    height, width = images.shape[2:]
    top, left, tall, wide = boxes
    y, y_next, below = (part.to(images.device) for part in _taps(top, tall, height))  # (B, H)
    taps = _taps(left, wide, width)
    x, x_next, right = (torch.where(flips[:, None], part.flip(1), part).to(images.device) for part in taps)  # (B, W)
    index = torch.arange(len(images), device=images.device)[:, None]
    upper, lower = (images[index, :, rows].to(torch.int32) for rows in (y, y_next))  # (B, H, C, W)
    mixed = upper * (2 * height - below)[:, :, None, None] + lower * below[:, :, None, None]
    mixed = mixed.permute(0, 3, 1, 2)  # (B, W, H, C)
    ahead, behind = (mixed[index, columns] for columns in (x, x_next))
    mixed = ahead * (2 * width - right)[:, :, None, None] + behind * right[:, :, None, None]
    whole = 4 * height * width
    found = ((mixed + whole // 2) // whole).to(torch.uint8)  # (B, W, H, C)
    return found.permute(0, 3, 2, 1).contiguous(memory_format=torch.channels_last)


def _taps(start: Tensor, length: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each output pixel (B, size) the two input pixels it lies between and the second's weight, in 1 / (2 size)."""
    steps = 2 * torch.arange(size) + 1
    place = (steps * length[:, None] - size).clamp_min(0).minimum(2 * size * (length[:, None] - 1))
    first = place // (2 * size)
    second = (first + 1).minimum(length[:, None] - 1)
    return start[:, None] + first, start[:, None] + second, (place % (2 * size)).to(torch.int32)


def _shifts(images: Tensor, generator: torch.Generator, padding: int) -> tuple[Tensor, Tensor]:
    """Rows (B, H) and columns (B, W) of randomly shifted and flipped images, from -padding to size - 1 + padding."""
    batch, _, height, width = images.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator).to(images.device) - padding
    flips = torch.randint(0, 2, (batch, 1), generator=generator).bool().to(images.device)
    columns = torch.arange(width, device=images.device).expand(batch, -1)
    columns = torch.where(flips, width - 1 - columns, columns)
    return offsets[0] + torch.arange(height, device=images.device), offsets[1] + columns


def _pick(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    index = torch.arange(len(images), device=images.device)
    picked = images[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return picked.permute(0, 3, 1, 2)


def _mirror(places: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - places.abs()).abs()


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": none,
    "crop_flip": crop_flip,
    "reflect_crop_flip": reflect_crop_flip,
    "resized_crop_flip": resized_crop_flip,
}
