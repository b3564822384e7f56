"""Images brought to the size and the channels that a network takes, the same way at training and at test."""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from labkit.ground.lists import listed
from labkit.ground.names import choose, shown, whole

Shape = tuple[int, int, int]  # channels, height, width
RESIZES = ("bilinear", "pad")


def image_shape(what: str, value: object) -> Shape:
    """Return `value` as (channels, height, width) of an image.

    Raises:
        ValueError: for anything but 1 or 3 channels, and a height and a width from 1 to 4,096.
    """
    size = listed(what, value, of=partial(whole, least=1, most=4096), like="(1, 28, 28)")
    if len(size) != 3 or size[0] not in (1, 3):
        raise ValueError(f"{what} is {shown(value)}: write 1 or 3 channels, height and width, such as (1, 28, 28)")
    return size[0], size[1], size[2]


def fit(images: Tensor, shape: Shape | None, resize: str = "bilinear") -> Tensor:
    """Images (N, C, H, W), uint8, as (N, *shape), uint8; grey is repeated, RGB becomes luma.

    Args:
        images: to bring to a shape.
        shape: (channels, height, width); None leaves them as they are.
        resize: "bilinear" (antialiased), or "pad": black around the image, which keeps its pixels. Where the difference
            is odd, the pixel more is below and to the right.

    Raises:
        ValueError: for an unknown `resize`, or images that are larger than what they are to be padded to.
    """
    choose("resize", resize, RESIZES)
    if shape is None or tuple(images.shape[1:]) == tuple(shape):
        return images
    channels, height, width = shape
    if resize == "pad":
        return _padded(images, channels, height, width)
    parts = []
    for part in images.split(2000):
        part = _in_channels(part.float(), channels)
        if part.shape[2:] != (height, width):
            part = interpolate(part, size=(height, width), mode="bilinear", antialias=True)
        parts.append(_in_bytes(part))
    return torch.cat(parts)


def _padded(images: Tensor, channels: int, height: int, width: int) -> Tensor:
    rows, columns = height - images.shape[2], width - images.shape[3]
    if rows < 0 or columns < 0:
        size = f"{images.shape[2]}x{images.shape[3]}"
        raise ValueError(f"resize is 'pad', and images of {size} are larger than {height}x{width}: write 'bilinear'")
    edges = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return torch.cat([pad(_in_bytes(_in_channels(part.float(), channels)), edges) for part in images.split(2000)])


def _in_channels(images: Tensor, channels: int) -> Tensor:
    """Float images (B, C, H, W) in grey or RGB; luma is that of ITU-R BT.601."""
    if channels == images.shape[1]:
        return images
    luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    return images.expand(-1, 3, -1, -1) if channels == 3 else (images * luma).sum(1, keepdim=True)


def _in_bytes(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)
