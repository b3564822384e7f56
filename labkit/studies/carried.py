"""What comes of carrying tickets: differences between arms by level and seed, and whether a search pays for itself."""

from collections.abc import Mapping, Sequence

import pandas as pd

from labkit.ground.names import choose
from labkit.runs.networks import Networks
from labkit.sparsity import flops, masks
from labkit.specs.tickets import TICKET
from labkit.studies.branches import Runs
from labkit.studies.evaluations import want

END = "accuracy_at_end"


def minus(table: pd.DataFrame, one: str, other: str, value: str = END) -> pd.Series:
    """Each seed's network of one arm minus that of another at the same level (means of copies), percentage points.

    Args:
        table: what `metrics.ends` or `metrics.outcomes` gave.
        one, other: arms, such as "carried" and "random_ticket"; "carried/0" is that arm's dense network at all levels.
        value: a column of accuracies.

    Returns:
        By level (from 1) and seed; levels at which only one of the two was trained are left out.

    Raises:
        ValueError: for an unknown arm, or no such column.
    """
    want(table, value)
    mean = table.groupby(["branch", "level", "seed"])[value].mean()
    first, second = _arm(mean, one), _arm(mean, other)
    if isinstance(second.index, pd.MultiIndex):
        second = second[second.index.get_level_values("level") > 0]
    else:
        second = second.reindex(first.index.get_level_values("seed")).set_axis(first.index)
    found = (100 * (first - second)).dropna()
    return found[found.index.get_level_values("level") > 0].rename(f"{one} minus {other}, pp")


def _arm(mean: pd.Series, name: str) -> pd.Series:
    """By level and seed, or, of "NAME/0", by seed."""
    branch, _, dense = name.partition("/")
    found = mean.loc[choose("arm", branch, set(mean.index.get_level_values("branch")))]
    return found.xs(0, level="level") if dense == "0" else found


def sparse(differences: pd.Series, table: pd.DataFrame, at_most: float, least: float = 0.0) -> pd.Series:
    """Of differences by level and seed those at no more weights left than `at_most` (%), and at least `least`."""
    left = table.groupby("level")["percent_remaining"].max().round(6)
    levels = left[(left <= at_most) & (left >= least)].index
    return differences[differences.index.get_level_values("level").isin(levels)]


def by_seed(differences: pd.Series, seeds: Sequence[int], how: str = "mean") -> pd.Series:
    """One number a seed over the levels: "mean", "min" or "max"; NaN where a network of a seed is missing.

    Args:
        differences: by level and seed.
        seeds: that were asked for.
        how: they are brought together.
    """
    levels = differences.index.get_level_values("level").nunique()
    groups = differences.groupby("seed")
    found = groups.agg(choose("how", how, ("mean", "min", "max")))
    return found.where(groups.count() == levels).reindex(list(seeds))


def dense_gain(table: pd.DataFrame) -> pd.Series:
    """The dense network from the carried weights minus the task's own dense network, percentage points, by seed.

    Args:
        table: what `metrics.ends` gave, with level 0 of "ticket" and "carried".
    """
    dense = table[table["level"] == 0].groupby(["branch", "seed"])[END].mean()
    if not {"carried", TICKET} <= set(dense.index.get_level_values("branch")):
        return pd.Series(dtype=float, index=pd.Index([], name="seed"))
    return (100 * (dense["carried"] - dense[TICKET])).dropna()


def differences(tables: Mapping[str, pd.DataFrame], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Means over seeds of `minus`, percentage points: a row a level, a column a task and pair of arms."""
    found = {(task, f"{one} - {other}"): minus(table, one, other).groupby("level").mean()
             for task, table in tables.items() for one, other in pairs}  # fmt: skip
    return pd.DataFrame(found)


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of several tasks as one, with a column `task`."""
    return pd.concat([table.assign(task=task) for task, table in tables.items()], ignore_index=True)


def counts_apart(table: pd.DataFrame) -> float:
    """The largest difference in weights left (percentage points) between networks of one level, all arms together."""
    left = table.groupby("level")["percent_remaining"]
    return float((left.max() - left.min()).max())


def break_even(source: Runs, carried: Runs) -> pd.DataFrame:
    """After how many reuses a search has paid for itself, by level, in training FLOPs that sparse hardware would need.

    Finding the ticket of level n costs the training of levels 0 to n - 1 on the source; each reuse saves what the
    carried ticket needs less than the dense network on the other task. A masked step costs 3 f_S, so that
    reuses = (sum of the search) / (f_D steps_D - f_S steps_S), both times 3 and the batch (`flops.training`).

    Args:
        source: the tickets that were carried.
        carried: what `transfer` gave, with level 0 or without.

    Returns:
        Columns level, percent_remaining, search, dense, ticket (FLOPs: of the search, and of one training on the other
        task), reuses: infinite where a ticket saves nothing. Means over seeds, from level 1.
    """
    each = {level: _training(networks) for level, networks in source.runs.items()}
    task = carried.experiment
    dense = flops.training("dense", 0.0, flops.inference(task.layers)) * task.iterations * task.spec.train.batch_size
    rows = []
    for level, networks in carried.runs.items():
        if not level:
            continue
        search = sum((each.get(n, float("nan")) for n in range(level)), start=0.0)
        ticket = _training(networks)
        left = 100 * sum(result["density"] for result in networks.results) / len(networks.results)
        reuses = search / (dense - ticket) if ticket < dense else float("inf")
        rows.append((level, left, search, dense, ticket, reuses))
    return pd.DataFrame(rows, columns=["level", "percent_remaining", "search", "dense", "ticket", "reuses"])


def _training(networks: Networks) -> float:
    """FLOPs of a training under a mask that stays, mean over networks."""
    found = []
    for member, folder in zip(networks.members, networks.folders, strict=True):
        mask, experiment = folder.end_mask(), member.run.experiment
        kept = masks.counts(mask)
        densities: Mapping[str, float] = {name: kept[name] / mask[name].numel() for name in mask}
        step = flops.training("masked", flops.inference(experiment.layers, densities), 0.0)
        found.append(step * member.run.steps * experiment.spec.train.batch_size)
    return sum(found) / len(found)
