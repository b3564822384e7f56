"""Tickets of a search put into a bank, with cards that say what the runs say."""

import re
from collections.abc import Iterable

from labkit.ground.lists import listed
from labkit.ground.names import choose, text, whole
from labkit.runs.bank import Bank
from labkit.runs.cards import Card
from labkit.runs.experiment import Experiment
from labkit.studies import metrics
from labkit.studies.branches import Runs
from labkit.studies.tickets import TICKET


def publish(
    bank: Bank, tickets: Runs, control: Runs, levels: Iterable[int], *, licence: str, replace: bool = False
) -> list[Card]:
    """Publish a search's tickets with their accuracies and those of their controls, at early stop.

    Args:
        bank: a folder.
        tickets: what `find_tickets` gave.
        control: what `branch` gave of it; several of a seed are averaged.
        levels: which, of those that both have, above 0.
        licence: of the files.
        replace: whether tickets of these names may be there (MODEL-DATA-level-LEVEL-seed-SEED).

    Returns:
        Their cards, level by level, a seed each; networks that diverged have none.

    Raises:
        ValueError: for runs that are not a search and a control of it, or a level that one of them lacks; before
            anything is written.
    """
    if tickets.branch != TICKET or control.tickets != tickets.tickets:
        raise ValueError(f"{tickets} and {control} are not what find_tickets gave, and a control of it")
    wanted, both = listed("levels", levels, of=whole, like="[7]"), set(tickets.levels) & set(control.levels)
    for level in wanted:
        choose("level that both have", str(level), map(str, both))
    text("licence", licence)
    table = metrics.outcomes(metrics.curves(tickets, control))
    accuracy = table.groupby(["branch", "level", "seed"])["accuracy_at_early_stop"].mean()
    found = []
    for level in wanted:
        for seed in accuracy[control.branch, level].index.intersection(accuracy[TICKET, level].index):
            ticket = tickets.ticket(int(seed), level)
            found.append(bank.publish(
                ticket, _name(tickets.experiment, level, int(seed)), replace=replace, licence=licence,
                what=_what(tickets.experiment, ticket.density), found=_found(tickets.experiment, level),
                accuracy=round(float(accuracy[TICKET, level, seed]), 6), control=control.branch,
                control_accuracy=round(float(accuracy[control.branch, level, seed]), 6),
                measured=_measured(tickets.experiment, control.runs[level].seeds.count(int(seed))),
            ))  # fmt: skip
    return found


def _name(experiment: Experiment, level: int, seed: int) -> str:
    spec = experiment.spec
    said = f"{spec.model}-{spec.data.name}-level-{level}-seed-{seed}".lower()
    return re.sub("[^a-z0-9]+", "-", said).strip("-")[-100:].strip("-")


def _what(experiment: Experiment, density: float) -> str:
    spec = experiment.spec
    where = "at their initial values" if experiment.rewind == 0 else f"as they were at step {experiment.rewind:,}"
    return f"{spec.model} for {spec.data.name} with {100 * density:.3g} % of its weights, {where}"


def _found(experiment: Experiment, level: int) -> str:
    prune = experiment.spec.prune
    rounds = f"{level} rounds" if prune.iterative else f"one round for {level}"
    rates = ", ".join(f"{name} {rate:g}" for name, rate in experiment.rates.items())
    return (
        f"lk.find_tickets: {rounds} of pruning by {prune.score} ({prune.scope}), of the survivors a round removes "
        f"{rates}; {experiment.iterations:,} iterations a round"
    )


def _measured(experiment: Experiment, copies: int) -> str:
    data, several = experiment.data, f"{copies} networks, a mean" if copies > 1 else "one network"
    return (
        f"accuracy on {data.size('test'):,} test examples at early stop, which is the smallest validation loss within "
        f"{experiment.iterations:,} iterations; the ticket once, the control: {several}"
    )
