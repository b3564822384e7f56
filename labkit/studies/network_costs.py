"""What a method of sparse training costs a network, layer by layer, before anything is trained: FLOPs and bytes.

Counts of weights are those that training draws (`sparse_training.masked_counts`), FLOPs those of `sparsity.flops`.
"""

from collections.abc import Mapping
from itertools import pairwise

import pandas as pd

from labkit.ground.steps import Clock
from labkit.sparsity import allocation, flops
from labkit.sparsity.flops import Layer
from labkit.specs.sparse import TopologySpec
from labkit.studies.sparse_training import masked_counts
from labkit.training.mask_updates import Dynamics

WEIGHT = 4  # bytes of a float32
ITERATIONS = 10_000  # of a run, unless another length is asked for


def network_costs(layers: Mapping[str, Layer], topology: TopologySpec, iterations: int = ITERATIONS) -> pd.DataFrame:
    """One row a layer: its weights, FLOPs an example and bytes, dense and under the masks of a method.

    Of masks that pruning makes, layer densities are not known before: each layer is taken to lose the same share, along
    the method's schedule. Of masks whose connections move from layer to layer, they are those at the start.

    Args:
        layers: what `models.inspection.layers` gave.
        topology: method, density, allocation, and when masks change.
        iterations: of a run, which training FLOPs are a mean over.

    Returns:
        layer; weights; kept; masked (whether it has a mask); test_dense, test (FLOPs of a forward pass of an example);
        train_dense, train (FLOPs of a training step of an example, a mean over the run); bytes_dense, bytes_bits (kept
        values and one bit a weight), bytes_csr (compressed rows: kept values, their columns, ends of rows). A layer
        without a mask is stored dense. Biases and norms are in none of them.

    Raises:
        ValueError: for a density that the allocation cannot give, or updates that do not fit the run.
    """
    kept, clock = _kept(layers, topology), Clock(iterations, iterations)
    every, rule = clock.iterations(topology.every), topology.row.flops
    rows = []
    for name, layer in layers.items():
        count = kept.get(name, layer.weights)
        whole = flops.inference({name: layer})
        test = flops.inference({name: layer}, {name: count / layer.weights})
        begun = flops.training(rule, test, whole, every)
        if topology.row.masks == "pruned":
            begun = flops.training(rule, whole * mean_density(topology, iterations), whole, every)
        rows.append({
            "layer": name, "weights": layer.weights, "kept": count, "masked": name in kept,
            "test_dense": whole, "test": test, "train_dense": flops.training("dense", whole, whole), "train": begun,
            **_bytes(layer, count if name in kept else None),
        })  # fmt: skip
    return pd.DataFrame(rows)


def of_dense(table: pd.DataFrame) -> pd.Series:
    """Totals of a network in those of the dense one, as ratios.

    Args:
        table: what `network_costs` gave.

    Returns:
        weights, test, train, bits and csr.
    """
    total = table[["weights", "kept", "test_dense", "test", "train_dense", "train",
                   "bytes_dense", "bytes_bits", "bytes_csr"]].sum()  # fmt: skip
    pairs = {"weights": ("kept", "weights"), "test": ("test", "test_dense"), "train": ("train", "train_dense"),
             "bits": ("bytes_bits", "bytes_dense"), "csr": ("bytes_csr", "bytes_dense")}  # fmt: skip
    return pd.Series({name: float(total[one] / total[other]) for name, (one, other) in pairs.items()})


def mean_density(topology: TopologySpec, iterations: int = ITERATIONS) -> float:
    """Density of gradual pruning, a mean over the steps of a run (the cubic of Zhu & Gupta 2017, equation 1).

    Raises:
        ValueError: if its updates do not fit the run.
    """
    dynamics = Dynamics(topology, Clock(iterations, iterations))
    starts = [0, *(step + 1 for step in dynamics.moments), iterations]
    held = [end - begin for begin, end in pairwise(starts)]
    return flops.mean([1.0, *map(dynamics.target, dynamics.moments)], held)


def _kept(layers: Mapping[str, Layer], topology: TopologySpec) -> dict[str, int]:
    """Weights that are left in each layer that has a mask."""
    shapes = {name: layer.shape for name, layer in layers.items()}
    if topology.row.masks == "none":
        return {}
    if topology.row.masks == "pruned":
        return allocation.counts(shapes, dict.fromkeys(shapes, topology.density))
    return masked_counts(topology, shapes)


def _bytes(layer: Layer, kept: int | None) -> dict[str, int]:
    """Of a layer's weight, dense and in two sparse forms; without a mask (None) all are dense."""
    dense = WEIGHT * layer.weights
    if kept is None:
        return {"bytes_dense": dense, "bytes_bits": dense, "bytes_csr": dense}
    index = 4 if layer.weights < 2**31 else 8
    rows = layer.shape[0] if len(layer.shape) > 1 else 1
    return {
        "bytes_dense": dense,
        "bytes_bits": WEIGHT * kept + (layer.weights + 7) // 8,
        "bytes_csr": WEIGHT * kept + index * (kept + rows + 1),
    }
