"""Strokes of a pen as images: thin lines become a digit as MNIST's are."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SIDE, BOX = 28, 20  # pixels, of an image and of the square that a digit fills in it
PEN = 1.15  # pixels, radius
SOFT = 0.9  # pixels over which ink fades at its edge
MOST_POINTS = 20_000

Stroke = Sequence[Sequence[float]]  # points (x, y), y downwards


def as_digit(strokes: Sequence[Stroke]) -> Tensor:
    """An image of strokes as MNIST has digits (LeCun et al. 1998, section III.A).

    Strokes are scaled, their aspect ratio kept, so that what is drawn fits into a box of `BOX` pixels, and placed so
    that the centre of mass of the ink is the centre of the `SIDE` x `SIDE` image, to a pixel.

    Args:
        strokes: lines through points (x, y), in any unit, y downwards; a line of one point is a dot.

    Returns:
        uint8 (1, `SIDE`, `SIDE`), ink is 255; blank without strokes.

    Raises:
        ValueError: for what are no points, more than `MOST_POINTS`, or numbers that are not finite.
    """
    lines = [_line(stroke) for stroke in strokes if len(stroke)]
    if not lines:
        return torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    points = np.concatenate(lines)
    if len(points) > MOST_POINTS:
        raise ValueError(f"{len(points):,} points were drawn: at most {MOST_POINTS:,}")
    low, high = points.min(0), points.max(0)
    scale = (BOX - 2 * PEN) / max(float((high - low).max()), 1e-9)
    scale = 1.0 if math.isclose(float((high - low).max()), 0.0) else scale
    middle = (low + high) / 2
    placed = [(line - middle) * scale + (SIDE - 1) / 2 for line in lines]
    ink = _drawn(placed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    offset = (SIDE - 1) / 2 - np.array([(ink * columns).sum(), (ink * rows).sum()]) / ink.sum()
    ink = _drawn([line + np.round(offset) for line in placed])
    return torch.from_numpy(np.rint(255 * ink).astype(np.uint8))[None]


def _line(stroke: Stroke) -> np.ndarray:
    try:
        points = np.asarray(stroke, dtype=float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("a stroke is a list of points, two finite numbers each: [[0.2, 0.5], [0.3, 0.6]]")
    return points


def _drawn(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Ink from 0 to 1 at each pixel, of lines in pixels: by the distance of its centre from the nearest line."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    pixels = np.stack([columns, rows], -1)  # (SIDE, SIDE, 2)
    distance = np.full((SIDE, SIDE), np.inf)
    for line in lines:
        for begin, end in zip(line, line[1:] if len(line) > 1 else line, strict=False):
            along = end - begin
            share = ((pixels - begin) @ along / max(float(along @ along), 1e-12)).clip(0, 1)
            distance = np.minimum(distance, np.linalg.norm(pixels - begin - share[..., None] * along, axis=-1))
    return ((PEN + SOFT / 2 - distance) / SOFT).clip(0, 1)
