"""Tickets of a search put into a bank, with cards that say what the runs say."""

import inspect
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import PurePath

import pandas as pd

from labkit import models
from labkit.data import is_own
from labkit.ground.lists import listed
from labkit.ground.names import choose, text, whole
from labkit.runs.bank import Bank
from labkit.runs.cards import MOST_NAME, Card
from labkit.runs.experiment import Experiment
from labkit.runs.origin import data_told, told
from labkit.runs.ticket_files import Ticket
from labkit.studies import metrics
from labkit.studies.branches import Runs
from labkit.studies.transfer import INIT_ONLY

_DIGITS = 8  # of a ticket's run, in the name of its files


def publish(
    bank: Bank, tickets: Runs, control: Runs, levels: Iterable[int], *, licence: str, replace: bool = False
) -> list[Card]:
    """Publish a search's tickets, or carried ones, with their accuracies and those of their controls.

    Accuracies are at early stop; where nothing was held out to choose it by, at the end of training. Names are
    MODEL-OPTIONS-DATA-level-LEVEL-seed-SEED-RUN: options that are not the model's defaults, half and images a class of
    the data if they are said, and eight digits of the ticket's run, which tell apart what else may differ.

    Args:
        bank: a folder.
        tickets: what `find_tickets` or `transfer` gave.
        control: what `branch` gave of it; several of a seed are averaged.
        levels: which, of those that both have, above 0.
        licence: of the files.
        replace: whether tickets of these names may be there.

    Returns:
        Their cards, level by level, a seed each; networks that diverged have none.

    Raises:
        ValueError: for runs that are not a search and a control of it, or a level that one of them lacks; before
            anything is written.
    """
    if not _is_trunk(tickets) or _is_trunk(control) or control.tickets != tickets.tickets:
        raise ValueError(f"{tickets} and {control} are not what find_tickets gave, and a control of it")
    wanted, both = listed("levels", levels, of=whole, like="[7]"), set(tickets.levels) & set(control.levels)
    for level in wanted:
        choose("level that both have", str(level), map(str, both))
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"levels is {wanted}: each once")
    text("licence", licence)
    accuracy = _accuracies(tickets, control)
    found = []
    for level in wanted:
        there = [{seed for branch, at, seed in accuracy.index if (branch, at) == (one.branch, level)}
                 for one in (tickets, control)]  # fmt: skip
        for seed in sorted(set.intersection(*there)):
            ticket = tickets.ticket(int(seed), level)
            found.append(bank.publish(
                ticket, _name(tickets.experiment, ticket), replace=replace, licence=licence,
                what=_what(tickets.experiment, ticket), found=_found(tickets.experiment, ticket),
                accuracy=round(float(accuracy[tickets.branch, level, seed]), 6), control=control.branch,
                control_accuracy=round(float(accuracy[control.branch, level, seed]), 6),
                measured=_measured(tickets.experiment, control.runs[level].seeds.count(int(seed))),
            ))  # fmt: skip
    return found


def _is_trunk(runs: Runs) -> bool:
    """Whether these are the tickets themselves, found or carried, and no control of them."""
    return all(member.run == runs.tickets.get((member.run.seed, level))
               for level, networks in runs.runs.items() for member in networks.members)  # fmt: skip


def _stops_early(experiment: Experiment) -> bool:
    return experiment.data.size("validation") > 0


def _accuracies(tickets: Runs, control: Runs) -> pd.Series:
    """Test accuracy by branch, level and seed."""
    early, table = _stops_early(tickets.experiment), metrics.curves(tickets, control)
    table = metrics.outcomes(table) if early else metrics.ends(table)
    return table.groupby(["branch", "level", "seed"])["accuracy_at_early_stop" if early else "accuracy_at_end"].mean()


def _name(experiment: Experiment, ticket: Ticket) -> str:
    """Of a ticket's files; what is too long loses words about the model and data, never the digits of its run."""
    spec, about = experiment.spec, ticket.about
    defaults = {name: entry.default for name, entry in inspect.signature(models.builder(spec.model)).parameters.items()}
    options = [f"{k}-{v}" for k, v in sorted(spec.model_options.items()) if k not in defaults or defaults[k] != v]
    data = asdict(spec.data) | ({"name": PurePath(spec.data.name).stem} if is_own(spec.data.name) else {})
    tail = f"-level-{about['level']}-seed-{about['seed']}-{about['run'][:_DIGITS]}"
    head = re.sub("[^a-z0-9]+", "-", "-".join([spec.model, *options, data_told(data)]).lower()).strip("-")
    return (head[: MOST_NAME - len(tail)].strip("-") or "ticket") + tail


def _what(experiment: Experiment, ticket: Ticket) -> str:
    spec, carried = experiment.spec, told(ticket.about)
    where = "at their initial values" if experiment.rewind == 0 else f"as they were at step {experiment.rewind:,}"
    if carried is not None:
        where = "as they were carried here"
    return f"{spec.model} for {data_told(asdict(spec.data))} with {100 * ticket.density:.3g} % of its weights, {where}"


def _found(experiment: Experiment, ticket: Ticket) -> str:
    prune, level, source = experiment.spec.prune, ticket.about["level"], told(ticket.about)
    rounds = f"{level} rounds" if prune.iterative else f"one round for {level}"
    rates = ", ".join(f"{name} {rate:g}" for name, rate in experiment.rates.items())
    by = f"of pruning by {prune.score} ({prune.scope}), of the survivors a round removes {rates}"
    if source is None:
        return f"lk.find_tickets: {rounds} {by}; {experiment.iterations:,} iterations a round"
    if ticket.about["branch"] == INIT_ONLY:
        here = f"masks found here, {rounds} {by}; {experiment.iterations:,} iterations a round"
        return f"lk.transfer(init_only=True): weights of {source}, {here}"
    return f"lk.transfer: mask (level {level}) and weights found on {source}; of the survivors a round removes {rates}"


def _measured(experiment: Experiment, copies: int) -> str:
    data, several = experiment.data, f"{copies} networks, a mean" if copies > 1 else "one network"
    steps = f"{experiment.iterations:,} iterations"
    when = f"at early stop, which is the smallest validation loss within {steps}"
    if not _stops_early(experiment):
        when = f"at the end of training, {steps}; nothing was chosen"
    return f"accuracy on {data.size('test'):,} test examples {when}; the ticket once, the control: {several}"
