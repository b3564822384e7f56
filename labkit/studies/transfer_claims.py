"""What the claims about ticket transfer are judged by: one number a seed, over several tasks.

What is not known, as where a network diverged or was not asked for, is NaN, or no number at all.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from labkit.ground.bounds import bounded
from labkit.specs.tickets import TICKET
from labkit.studies.carried import by_seed, minus, sparse

Tables = Mapping[str, pd.DataFrame]
Ways = Mapping[str, tuple[str, str, str]]  # name -> model, source, target


def means(gaps: Mapping[str, pd.Series], seeds: Sequence[int]) -> list[float]:
    """A number a seed: the mean over levels, and over tasks."""
    return _over(gaps, seeds).mean(axis=1, skipna=False).tolist() if gaps else []


def worst(gaps: Mapping[str, pd.Series], seeds: Sequence[int]) -> list[float]:
    """A number a seed: the mean over levels, of the task where it is lowest."""
    return _over(gaps, seeds).min(axis=1, skipna=False).tolist() if gaps else []


def furthest(gaps: Mapping[str, pd.Series], seeds: Sequence[int]) -> list[float]:
    """A number a seed: the mean over levels, of the task where the mean over seeds is furthest from zero.

    Tasks on which a network is missing come first: their numbers are not known.
    """
    if not gaps:
        return []
    found = _over(gaps, seeds)
    size = found.mean(skipna=False).abs().fillna(float("inf"))
    return found[size.idxmax()].tolist()


def nearest(gaps: Mapping[str, pd.Series], seeds: Sequence[int]) -> list[float]:
    """As `furthest`, of the task that is nearest to zero: what must differ on every task is judged where it does least.

    Tasks on which a network is missing come first here as well.
    """
    if not gaps:
        return []
    found = _over(gaps, seeds)
    size = found.mean(skipna=False).abs().fillna(-1.0)
    return found[size.idxmin()].tolist()


def of_model(gaps: Mapping[str, pd.Series], ways: Ways, model: str) -> dict[str, pd.Series]:
    """Those of a model alone."""
    return {way: gap for way, gap in gaps.items() if ways[way][0] == model}


def _over(gaps: Mapping[str, pd.Series], seeds: Sequence[int]) -> pd.DataFrame:
    return pd.DataFrame({task: by_seed(gap, seeds) for task, gap in gaps.items()}, index=list(seeds))


def richer_source(tables: Tables, ways: Ways, model: str, rich: str, poor: str, seeds: Sequence[int]) -> list[float]:
    """Tickets from one source minus those from another, on all tasks that have both, a number a seed (S0 Figure 3).

    On its own data set a source's tickets are the native ones.
    """
    found = {}
    for task in dict.fromkeys(target for _, _, target in ways.values()):
        sides = [_from(tables, ways, model, source, task) for source in (rich, poor)]
        means_of = [t.groupby(["level", "seed"])["accuracy_at_end"].mean() for t in sides if t is not None]
        if len(means_of) == 2:
            both = means_of[0].index.intersection(means_of[1].index)
            gap = 100 * (means_of[0][both] - means_of[1][both])
            found[task] = gap[gap.index.get_level_values("level") > 0]
    return means(found, seeds)


def _from(tables: Tables, ways: Ways, model: str, source: str, target: str) -> pd.DataFrame | None:
    """The networks on a task whose tickets come from a source."""
    for way, (kind, begun, there) in ways.items():
        if kind == model and there == target and source in (begun, target):
            return tables[way][tables[way]["branch"] == ("carried" if source == begun else TICKET)]
    return None


def random_above_native(tables: Tables, ways: Ways, model: str, seeds: Sequence[int]) -> list[float]:
    """Random minus native tickets where half of the weights or more are left, a number a seed (S0 4.1)."""
    mine = {way: tables[way] for way, (kind, _, _) in ways.items() if kind == model}
    gaps = {way: sparse(minus(t, "random_ticket", TICKET), t, 99.9, least=50) for way, t in mine.items()}
    return means(gaps, seeds)


def falls_earlier(tables: Tables, ways: Ways, one: str, other: str, by: float = 5.0) -> list[float]:
    """Weights left (%) at which native tickets of a model lie so many points below dense, minus another's, by task.

    Means over seeds. Where one never falls the difference is a bound; where a network is missing it is not known.
    """
    native: dict[tuple[str, str], pd.DataFrame] = {}
    for way, (model, _, target) in ways.items():
        native.setdefault((model, target), tables[way][tables[way]["branch"] == TICKET])
    tasks = [target for model, target in native if model == one and (other, target) in native]
    return [_later(native[one, task], native[other, task], by) for task in tasks]


def _later(one: pd.DataFrame, other: pd.DataFrame, by: float) -> float:
    sides = []
    for rows in (one, other):
        levels = rows.groupby("level").agg({"percent_remaining": "max", "accuracy_at_end": _whole})
        below = levels[levels["accuracy_at_end"] < levels["accuracy_at_end"].iloc[0] - by / 100]
        least = float(levels["percent_remaining"].min())  # where one stopped looking
        sides.append((float(below["percent_remaining"].max()) if len(below) else least, bool(len(below))))
        if levels["accuracy_at_end"].isna().any():
            return float("nan")
    (first, first_fell), (second, second_fell) = sides
    return bounded(first - second, above=not second_fell, below=not first_fell)


def _whole(values: pd.Series) -> float:
    """The mean; NaN where one is missing."""
    return float(values.mean(skipna=False))
