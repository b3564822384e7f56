"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""

from labkit.explore.flops import Flops

__all__ = ["Flops"]
