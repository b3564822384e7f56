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
    for task in {target for _, _, target in ways.values()}:
        sides = [_from(tables, ways, model, source, task) for source in (rich, poor)]
        means_of = [t.groupby(["level", "seed"])["accuracy_at_end"].mean() for t in sides if t is not None]
        if len(means_of) == 2:
            gap = (100 * (means_of[0] - means_of[1])).dropna()
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

    Means over seeds. Where one never falls the difference is a bound.
    """
    native: dict[tuple[str, str], pd.DataFrame] = {}
    for way, (model, _, target) in ways.items():
        native.setdefault((model, target), tables[way][tables[way]["branch"] == TICKET])
    found = []
    for task in {target for model, target in native if model == one} & {t for model, t in native if model == other}:
        mine, theirs = (native[model, task].groupby("level")[["percent_remaining", "accuracy_at_end"]].mean()
                        for model in (one, other))  # fmt: skip
        first, second = (_falls(levels, by) for levels in (mine, theirs))
        last = min(float(levels["percent_remaining"].min()) for levels in (mine, theirs))
        found.append(bounded((first or last) - (second or last), above=not second, below=not first))
    return found


def _falls(levels: pd.DataFrame, by: float) -> float:
    below = levels[100 * levels["accuracy_at_end"] < 100 * levels["accuracy_at_end"].iloc[0] - by]
    return float(below["percent_remaining"].max()) if len(below) else 0.0
