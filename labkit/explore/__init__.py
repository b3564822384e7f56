"""Sparsity under one's fingers: widgets over stored runs, each usable in one line."""
