"""What figures find, as their titles: tickets against controls and dense, sparse methods against each other."""

from collections.abc import Mapping, Sequence

import pandas as pd

from labkit.figures.style import NAMES
from labkit.figures.titles import counted, spans
from labkit.studies import comparisons, metrics, sparse_metrics
from labkit.studies.evaluations import want
from labkit.studies.tables import DENSE, SPREADS
from labkit.studies.tickets import TICKET


def ticket_minus(
    table: pd.DataFrame, control: str, levels: Sequence[int], seeds: Sequence[int], *, otherwise: str
) -> str:
    """Each seed's ticket minus its own controls at early stop, level by level.

    Args:
        table: what `metrics.outcomes` gave.
        control: the branch to compare with.
        levels: those that the figure compares; of these, the ones that were run are named.
        seeds: that were asked for.
        otherwise: the title if there is no such pair.
    """
    percent = table.groupby("level")["percent_remaining"].mean()
    found = {
        f"{percent[level]:.3g} % of the weights": metrics.paired(table, control, level)["accuracy_at_early_stop_pp"]
        for level in levels
        if level in percent
    }
    return spans(f"Ticket minus {NAMES.get(control, control)} at early stop", found, len(seeds), otherwise=otherwise)


def best_level(tables: Mapping[str, pd.DataFrame], seeds: Sequence[int], *, said: str, otherwise: str) -> str:
    """Tickets minus dense, seed by seed, at the level that is best on average; the title says of how many.

    Args:
        tables: network -> what `metrics.outcomes` gave.
        seeds: that were asked for.
        said: of what, such as "Tickets minus dense".
        otherwise: the title if there are no levels.
    """
    found, levels = {}, 0
    for name, table in tables.items():
        want(table, "accuracy_at_early_stop")
        tickets = table[(table["branch"] == TICKET) & (table["level"] > 0)]
        mean = tickets.groupby("level")["accuracy_at_early_stop"].mean()
        levels = max(levels, len(mean))
        if len(mean):
            found[name] = metrics.against_dense(table, level=list(mean.index)[int(mean.argmax())])
    choice = f"best of {levels} levels" if levels > 1 else "only level"
    return spans(f"{said} at early stop, at the {choice}", found, len(seeds), otherwise=otherwise)


def below_dense(table: pd.DataFrame, branches: Sequence[str], seeds: Sequence[int], *, otherwise: str) -> str:
    """From which weights left on accuracy at early stop stays below dense, seed by seed.

    Args:
        table: what `metrics.outcomes` gave.
        branches: to tell of.
        seeds: that were asked for.
        otherwise: the title if no seed has a dense network and one of the branches.
    """
    dense = table[(table["branch"] == TICKET) & (table["level"] == 0)]["seed"]
    parts, counts = {}, {}
    for branch in branches:
        rows = table[(table["branch"] == branch) & (table["level"] > 0) & table["seed"].isin(dense)]
        falls = [comparisons.falls_below_dense(table[table["seed"] == seed], branch) for seed in rows["seed"].unique()]
        if falls:
            counts[branch] = f"{counted(len(falls), len(seeds))}"
            parts[branch] = _falls([fall for fall in falls if fall > 0], len(falls), rows["percent_remaining"].min())
    if not parts:
        return otherwise
    alike = len(set(counts.values())) == 1
    texts = [f"{NAMES.get(b, b)} {text}{'' if alike else ' (' + counts[b] + ')'}" for b, text in parts.items()]
    tail = f" ({next(iter(counts.values()))})" if alike else ""
    return f"Below dense for good, at early stop: {', '.join(texts)}{tail}"


def _falls(percents: Sequence[float], seeds: int, lowest: float) -> str:
    if not percents:
        return f"nowhere down to {lowest:.3g} %"
    first, last = f"{max(percents):.3g}", f"{min(percents):.3g}"
    ends = first if first == last else f"between {first} and {last}"
    return f"from {ends} % of the weights on" + (f" in {len(percents)} of {seeds}" if len(percents) < seeds else "")


def methods_minus(outcomes: pd.DataFrame, one: str, other: str, seeds: Sequence[int], *, otherwise: str) -> str:
    """A method minus another of the same allocation, density and seed; each allocation by itself, its densities named.

    Args:
        outcomes: what `sparse_metrics.ends` gave.
        one, other: methods, such as "RigL" and "Static".
        seeds: that were asked for.
        otherwise: the title if they share no allocation and density.
    """
    found = {}
    for init in SPREADS:
        pairs = sparse_metrics.method_minus(outcomes, (one, init), (other, init))
        for density, part in pairs.groupby("density"):
            found[f"{init}, density {density:g}"] = part["difference_pp"]
    return spans(f"{one} minus {other}", found, len(seeds), otherwise=otherwise)


def accuracies(
    outcomes: pd.DataFrame, density: float, seeds: Sequence[int], *, otherwise: str, init: str | None = None
) -> str:
    """Test accuracy of the rows at a density, and of the dense network.

    Args:
        outcomes: what `sparse_metrics.ends` gave.
        density: which.
        seeds: that were asked for.
        otherwise: the title if there is no such row.
        init: only rows of this allocation.
    """
    rows = outcomes[(outcomes["density"] == density) & (outcomes["method"] != DENSE)]
    rows = rows if init is None else rows[rows["init"] == init]
    if rows.empty:
        return otherwise
    rows = pd.concat([rows, outcomes[outcomes["method"] == DENSE]])
    found = {
        f"{method} {start}".strip(): 100 * part["test_accuracy"]
        for (method, start), part in rows.groupby(["method", "init"], sort=False)
    }
    said = f"Test accuracy at density {density:g}"
    return spans(said, found, len(seeds), otherwise=otherwise, unit="%", signed=False)


def trials(tried: pd.DataFrame, seeds: Sequence[int], *, otherwise: str) -> str:
    """Validation accuracy of the trials of each network, from the worst to the best.

    Args:
        tried: what `Tuning.table` gave, with a column `network`; a trial in which a seed diverged counts as 0 there
            and is left out here.
        seeds: of each trial.
        otherwise: the title if there is no trial.
    """
    accuracy = 100 * tried["validation_accuracy"].where(tried["validation_accuracy"] > 0)
    found = {str(name): part for name, part in accuracy.groupby(tried["network"], sort=False)}
    said = f"Validation accuracy of trials, worst to best, each a mean of {counted(len(seeds), len(seeds))}"
    asked = max(map(len, found.values()), default=0)
    return spans(said, found, asked, otherwise=otherwise, noun="trial", unit="%", signed=False)
