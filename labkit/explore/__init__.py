"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""

from labkit.explore.digit import DrawADigit
from labkit.explore.mask import Mask
from labkit.explore.prune import PruneNow
from labkit.explore.topology import Topology
from labkit.explore.try_it import TryIt

__all__ = ["DrawADigit", "Mask", "PruneNow", "Topology", "TryIt"]
