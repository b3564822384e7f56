"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""

from labkit.explore.topology import Topology
from labkit.explore.try_it import TryIt

__all__ = ["Topology", "TryIt"]
