"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""

from labkit.explore.compare import Compare
from labkit.explore.digit import DrawADigit
from labkit.explore.flops import Flops
from labkit.explore.levels import Levels
from labkit.explore.mask import Mask
from labkit.explore.prune import PruneNow
from labkit.explore.topology import Topology
from labkit.explore.transfer import Transfer
from labkit.explore.try_it import TryIt

__all__ = ["Compare", "DrawADigit", "Flops", "Levels", "Mask", "PruneNow", "Topology", "Transfer", "TryIt"]
