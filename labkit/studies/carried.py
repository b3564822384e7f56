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
COSTS = ["level", "percent_remaining", "search", "own_search", "dense", "ticket", "reuses", "reuses_for_a_search"]


def minus(table: pd.DataFrame, one: str, other: str, value: str = END) -> pd.Series:
    """Each seed's network of one arm minus that of another at the same level (means of copies), percentage points.

    Args:
        table: what `metrics.ends` or `metrics.outcomes` gave.
        one, other: arms, such as "carried" and "random_ticket"; "carried/0" is that arm's dense network at all levels.
        value: a column of accuracies.

    Returns:
        By level (from 1) and seed; levels at which only one of the two was trained are left out, and networks that
        the table has not. What has no accuracy there (it diverged) is NaN.

    Raises:
        ValueError: for an arm that is not there, or no such column.
    """
    want(table, value)
    mean = table.groupby(["branch", "level", "seed"])[value].agg(lambda copies: copies.mean(skipna=False))
    first, second = _arm(mean, one), _arm(mean, other)
    if not isinstance(second.index, pd.MultiIndex):
        second = second.reindex(first.index.get_level_values("seed")).set_axis(first.index)
    both = first.index.intersection(second.index)
    found = 100 * (first[both] - second[both])
    return found[found.index.get_level_values("level") > 0].rename(f"{one} minus {other}, pp")


def _arm(mean: pd.Series, name: str) -> pd.Series:
    """By level and seed, or, of "NAME/0", by seed."""
    branch, _, dense = name.partition("/")
    found = mean.loc[choose("arm", branch, set(mean.index.get_level_values("branch")))]
    if dense and (dense != "0" or 0 not in found.index.get_level_values("level")):
        raise ValueError(f"no dense network {name!r}: {branch} has levels {sorted(set(found.index.droplevel('seed')))}")
    return found.xs(0, level="level") if dense else found


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

    What has no accuracy, as it diverged, is NaN; there is no number where only one of the two was trained.

    Args:
        table: what `metrics.ends` gave, with level 0 of "ticket" and "carried".
    """
    dense = table[table["level"] == 0].groupby(["branch", "seed"])[END].mean()
    if not {"carried", TICKET} <= set(dense.index.get_level_values("branch")):
        return pd.Series(dtype=float, index=pd.Index([], name="seed"))
    return 100 * (dense["carried"] - dense[TICKET])


def gaps(tables: Mapping[str, pd.DataFrame], one: str, other: str) -> dict[str, pd.Series]:
    """`minus` on every task that has both arms; on none where none has."""
    return {task: minus(table, one, other) for task, table in tables.items()
            if all(_has(table, *arm.partition("/")[::2]) for arm in (one, other))}  # fmt: skip


def _has(table: pd.DataFrame, branch: str, level: str) -> bool:
    rows = table[table["branch"] == branch]
    return bool(len(rows)) and (not level or bool((rows["level"] == int(level)).any()))


def dense_gains(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`dense_gain` of every task that has both dense networks: a row a seed, a column a task."""
    found = {task: dense_gain(table) for task, table in tables.items()}
    return pd.DataFrame({task: gain for task, gain in found.items() if len(gain)})


def differences(tables: Mapping[str, pd.DataFrame], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Means over seeds of `gaps`, percentage points: a row a level, a column a task and pair of arms.

    Means are of the seeds that have both networks.
    """
    found = {(task, f"{one} - {other}"): gap.groupby("level").mean()
             for one, other in pairs for task, gap in gaps(tables, one, other).items()}  # fmt: skip
    return pd.DataFrame({key: found[key] for key in sorted(found, key=lambda key: list(tables).index(key[0]))})


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of several tasks as one, with a column `task`."""
    return pd.concat([table.assign(task=task) for task, table in tables.items()], ignore_index=True)


def counts_apart(table: pd.DataFrame) -> float:
    """The largest difference in weights left (percentage points) between networks of one level, all arms together."""
    left = table.groupby("level")["percent_remaining"]
    return float((left.max() - left.min()).max())


def break_even(source: Runs, carried: Runs, target: Runs) -> pd.DataFrame:
    """After how many reuses a search has paid for itself, by level, in training FLOPs that sparse hardware would need.

    Finding the ticket of level n costs the training of levels 0 to n - 1 on the source (of level 0 alone where all is
    pruned at once); each reuse saves what the carried ticket needs less than the dense network on the other task.
    A masked step costs 3 f_S, so that reuses = (sum of the search) / (f_D steps_D - f_S steps_S), both times 3 and the
    batch (`flops.training`). How accurate the ticket is has no part in it.

    Args:
        source: the tickets that were carried.
        carried: what `transfer` gave, with level 0 or without.
        target: the other task's own tickets.

    Returns:
        Columns level, percent_remaining, search, own_search, dense, ticket (FLOPs: of the search on the source, of one
        on the target to the same level, and of one training on the target), reuses: infinite where a ticket saves
        nothing; and reuses_for_a_search, where each reuse saves a search on the target instead. Means over seeds, from
        level 1.
    """
    there, own = _searches(source), _searches(target)
    task = carried.experiment
    dense = flops.training("dense", 0.0, flops.inference(task.layers)) * task.iterations * task.spec.train.batch_size
    rows = []
    for level, networks in carried.runs.items():
        if not level:
            continue
        search, ticket = there.get(level, float("nan")), _training(networks)
        left = 100 * sum(result["density"] for result in networks.results) / len(networks.results)
        own_search = own.get(level, float("nan"))
        reuses = search / (dense - ticket) if ticket < dense else float("inf")
        rows.append((level, left, search, own_search, dense, ticket, reuses, search / own_search))
    return pd.DataFrame(rows, columns=COSTS)


def fewest_reuses(costs: pd.DataFrame) -> float:
    """Fewest reuses after which the search for a ticket that matches the dense network has paid; NaN if it never does.

    Args:
        costs: what `TransferStudy.costs` gave of a route.
    """
    found = costs["reuses"][costs["matches"] & (costs["reuses"] < float("inf"))]
    return float(found.min()) if len(found) else float("nan")


def _searches(tickets: Runs) -> dict[int, float]:
    """FLOPs until the ticket of a level is found, by level from 1."""
    each = {level: _training(networks) for level, networks in tickets.runs.items()}
    if not tickets.experiment.spec.prune.iterative:
        return {level: each[0] for level in each if level}
    return {level: sum(each[n] for n in range(level)) for level in each if level and set(range(level)) <= set(each)}


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
