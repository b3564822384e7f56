"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""

from labkit.explore.digit import DrawADigit
from labkit.explore.mask import Mask

__all__ = ["DrawADigit", "Mask"]
