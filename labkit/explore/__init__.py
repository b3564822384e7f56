"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""

from labkit.explore.compare import Compare
from labkit.explore.flops import Flops
from labkit.explore.levels import Levels
from labkit.explore.transfer import Transfer

__all__ = ["Compare", "Flops", "Levels", "Transfer"]
