"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""

from labkit.explore.digit import DrawADigit
from labkit.explore.mask import Mask
from labkit.explore.prune import PruneNow

__all__ = ["DrawADigit", "Mask", "PruneNow"]
