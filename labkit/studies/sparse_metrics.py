"""Tidy tables from sparse runs: accuracy by seed, differences seed by seed, FLOPs, and what mask updates conserved.

Accuracies are fractions, at the end of training; differences are in percentage points; FLOPs are ratios to the dense
network's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from labkit import models
from labkit.models import inspection
from labkit.sparsity import allocation, flops
from labkit.sparsity.methods import METHODS
from labkit.studies.tables import DENSE, NAMES, SPREADS, Row, Study

KEY = ["method", "init", "density"]


def ends(study: Study) -> pd.DataFrame:
    """One row a network: method (with its "2x"), init, density, group, seed, test_accuracy (NaN if it diverged)."""
    columns, parts = [*KEY, "group", "seed", "test_accuracy"], []
    for row, run in study.rows.items():
        about: dict[str, Any] = {"method": row.label, "init": row.init, "density": row.density, "group": row.group}
        parts.append(run.ends()[["seed", "test_accuracy"]].assign(**about))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation (of the sample: divided by n - 1) and number of networks, one line a row."""
    found = table.groupby([*KEY, "group"], sort=False)["test_accuracy"].agg(["mean", "std", "count"])
    return found.reset_index()


def method_minus(table: pd.DataFrame, better: tuple[str, str], worse: tuple[str, str]) -> pd.DataFrame:
    """Accuracy of one row minus another's at equal density, seed by seed.

    Args:
        table: what `ends` gave.
        better, worse: method and init.

    Returns:
        density, seed, difference_pp (NaN if one diverged); empty if they share no density and seed.
    """
    one, other = (
        table[(table["method"] == method) & (table["init"] == init)].set_index(["density", "seed"])["test_accuracy"]
        for method, init in (better, worse)
    )
    one, other = one.align(other, join="inner")
    return (100 * (one - other)).rename("difference_pp").reset_index()


def gained(table: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of the rows of one study minus that of the same rows of another, seed by seed.

    Args:
        table, before: what `ends` gave.

    Returns:
        method, init, density, seed, difference_pp; of the rows and seeds that both have.
    """
    both = table.merge(before, on=[*KEY, "seed"], suffixes=("", "_before"))
    both["difference_pp"] = 100 * (both["test_accuracy"] - both["test_accuracy_before"])
    return both[[*KEY, "seed", "difference_pp"]]


def least_by_seed(pairs: pd.DataFrame) -> pd.Series:
    """The smallest difference of each seed over densities, of what `method_minus` gave; of seeds that have them all."""
    return pairs.pivot(index="seed", columns="density", values="difference_pp").dropna().min(axis=1)


def costs(study: Study) -> pd.DataFrame:
    """FLOPs of each row: train_flops and test_flops in those of the full dense network, trained once.

    `closed_form` is what test_flops should be by geometry and allocation alone; NaN where masks decide it.
    """
    layers, iterations = study.experiment.layers, study.experiment.iterations
    dense = flops.inference(layers)
    rows = []
    for row, run in study.rows.items():
        share = flops.inference(run.experiment.layers) / dense  # below 1 for a narrower network
        rows.append({"method": row.label, "init": row.init, "density": row.density,
                     "train_flops": share * run.train_flops(iterations), "test_flops": share * run.test_flops(),
                     "closed_form": _closed_form(layers, row)})  # fmt: skip
    return pd.DataFrame(rows)


def _closed_form(layers: Mapping[str, flops.Layer], row: Row) -> float:
    if row.method == DENSE:
        return 1.0
    if not row.init or METHODS[NAMES[row.method]].redistribute != "none":
        return float("nan")
    return ratio(layers, SPREADS[row.init], row.density)


def ratio(layers: Mapping[str, flops.Layer], rule: str, density: float) -> float:
    """Inference FLOPs under an allocation, in those of the dense network: no masks, no rounding.

    Args:
        layers: what `inspection.layers` gave.
        rule: a name of `allocation.ALLOCATIONS`.
        density: of the network.
    """
    shapes = {name: layer.shape for name, layer in layers.items()}
    return flops.inference(layers, allocation.allocate(rule, shapes, density)) / flops.inference(layers)


def matched_density(
    layers: Mapping[str, flops.Layer], density: float, rule: str = "erk", like: str = "uniform"
) -> float:
    """The density at which one allocation costs as many inference FLOPs as another does at `density`.

    Found by bisection, to 1e-9: FLOPs rise with density.
    """
    goal, low, high = ratio(layers, like, density), 1e-4, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(layers, rule, middle) < goal else (low, middle)
    return round(high, 6)


def published_cells(published: pd.DataFrame, column: str = "test_flops_ratio") -> pd.DataFrame:
    """Rows of a published table whose inference FLOPs follow from layer densities alone, plain schedules only."""
    plain = published[published["method"].isin(["Static", "SET", "RigL"]) & published["init"].isin(SPREADS)]
    return plain[[*KEY, column]].reset_index(drop=True)


def off_published(model: str, options: Mapping[str, object], published: pd.DataFrame) -> float:
    """Largest difference of a published table's inference-FLOP ratios from geometry and allocation, full network.

    Args:
        model, options: the published network.
        published: rows with method, init, density and test_flops_ratio.
    """
    layers = inspection.layers(models.build(model, options))
    cells = published_cells(published)
    found = [ratio(layers, SPREADS[init], d) for init, d in zip(cells["init"], cells["density"], strict=True)]
    return float((cells["test_flops_ratio"] - found).abs().max())


def off_closed_form(table: pd.DataFrame) -> float:
    """Largest difference of the inference FLOPs of masks as trained from their closed form; of what `costs` gave."""
    return float((table["test_flops"] - table["closed_form"]).abs().max())


def not_conserved(study: Study) -> pd.DataFrame:
    """Mask updates of each dynamic row, and how many of them changed a count that they must conserve.

    Each layer's count where growth stays in the layer (SET, RigL); the network's where it is redistributed (SNFS).

    Returns:
        method, init, density, updates, changed; over all seeds.
    """
    rows = []
    for row, run in study.rows.items():
        method = run.spec.topology.row
        if method.masks != "moving":
            continue
        by = ["seed", "layer"] if method.redistribute == "none" else ["seed"]
        kept = run.densities().groupby([*by, "step"])["kept"].sum().reset_index()
        changed = kept["kept"] != kept.groupby(by)["kept"].transform("first")
        updates = kept[["seed", "step"]].drop_duplicates()
        rows.append({"method": row.label, "init": row.init, "density": row.density,
                     "updates": len(updates) - updates["seed"].nunique(), "changed": int(changed.sum())})  # fmt: skip
    return pd.DataFrame(rows, columns=[*KEY, "updates", "changed"])


def beside(table: pd.DataFrame, published: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Join published columns (renamed with "published_") to rows by method, init and density.

    "-" and "uniform-width", and nothing, are one init here: none.
    """
    other = published.assign(init=published["init"].where(published["init"].isin(SPREADS), ""))
    other = other[[*KEY, *columns]].rename(columns={name: f"published_{name}" for name in columns})
    return table.assign(key=table["density"].round(6)).merge(
        other.rename(columns={"density": "key"}), how="left", on=["method", "init", "key"]
    ).drop(columns="key")  # fmt: skip


def largest_gap_pp(table: pd.DataFrame, published: pd.DataFrame, column: str = "accuracy_mean") -> float | None:
    """Largest difference of a row's mean accuracy from the published one, percentage points; None if none is shared.

    Published rows that a note calls suspect, or with a standard deviation above 1 pp (a seed collapsed), are left out.
    NaN if a network of a row diverged.
    """
    sound = published
    if "note" in published:
        sound = sound[~sound["note"].fillna("").str.contains("suspect")]
    if "accuracy_std" in published:
        sound = sound[~(sound["accuracy_std"] > 1)]
    both = beside(summary(table), sound, [column])
    both = both[both[f"published_{column}"].notna()]
    if both.empty:
        return None
    whole = (both["count"] == table["seed"].nunique()).all()
    return float((100 * both["mean"] - both[f"published_{column}"]).abs().max()) if whole else float("nan")


def swapped(table: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """The same rows with the names of two methods exchanged: what a comparison by method must notice."""
    return table.assign(method=table["method"].replace({one: other, other: one}))
