"""What a widget shows: networks with their evaluations, weights and masks, of a study or of the set that ships."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from labkit.explore.written import written
from labkit.ground.names import shown
from labkit.runs.experiment import Experiment
from labkit.runs.folder import RunFolder
from labkit.runs.networks import start_of
from labkit.runs.store import Store
from labkit.sparsity.masks import Masks
from labkit.studies.branches import Runs
from labkit.studies.evaluations import curves


class Key(NamedTuple):
    """Which network of a collection."""

    branch: str
    level: int
    seed: int
    copy: int = 0


Network = tuple[dict[str, Tensor], Masks]  # state dict and masks


def _unknown(*given: object) -> Any:
    raise ValueError("these networks do not say what they are made of")


@dataclass(frozen=True)
class Collection:
    """Networks that widgets show.

    Attributes:
        title: what they are, in a few words: "LeNet-300-100 on MNIST".
        evaluations: as `labkit.studies.metrics.curves` gives them.
        start, end: of a network, its state dict and masks before and after training; of one that is not here, or whose
            weights were not kept, a ValueError says so.
        experiment: makes the experiment that they are of; needs its data.
        code: Python that brings them back, and binds `tickets` (and `evaluations`).
        series: name of the published curve that belongs to them, or "".
        networks: those whose weights can be had by `start` and `end`, if they are still there.
        model: makes a network of their architecture; needs no data.
        normalise: images (uint8) as these networks take them.
    """

    title: str
    evaluations: pd.DataFrame
    start: Callable[[Key], Network]
    end: Callable[[Key], Network]
    experiment: Callable[[], Experiment]
    code: str
    series: str = ""
    networks: tuple[Key, ...] = ()
    model: Callable[[], nn.Module] = _unknown
    normalise: Callable[[Tensor], Tensor] = _unknown

    @property
    def branches(self) -> list[str]:
        """Tickets first, then controls."""
        return list(dict.fromkeys(self.evaluations["branch"]))

    @property
    def seeds(self) -> list[int]:
        """Of all networks."""
        return sorted(set(self.evaluations["seed"]))

    @property
    def levels(self) -> dict[int, float]:
        """Level -> weights left, percent; of all branches."""
        means = self.evaluations.groupby("level")["percent_remaining"].mean()
        return {int(str(level)): float(value) for level, value in means.items()}


def collection(*runs: Runs, title: str = "", code: str = "") -> Collection:
    """Of the runs of one study (tickets first, then controls); of none, the set that ships with the kit.

    Raises:
        ValueError: if something else is given, or runs of two experiments.
    """
    if not runs:
        from labkit.explore.bundled import bundled

        return bundled()
    for one in runs:
        if not isinstance(one, Runs):
            raise ValueError(f"{shown(one)} cannot be explored: give what find_tickets, branch or transfer gave")
    found = {Key(member.branch, level, member.run.seed, member.copy): (member.run, networks.store)
             for one in runs for level, networks in one.runs.items() for member in networks.members}  # fmt: skip

    def of(key: Key) -> tuple[RunFolder, Store]:
        if key not in found:
            raise ValueError(f"there is no {key.branch} at level {key.level} of seed {key.seed}, copy {key.copy}")
        run, store = found[key]
        return store.folder(run), store

    experiment = runs[0].experiment
    spec = experiment.spec
    return Collection(
        title or f"{spec.model} on {spec.data.name}",
        curves(*runs),
        lambda key: start_of(*((folder := of(key))[0].run, folder[1])),
        lambda key: of(key)[0].end(),
        lambda: experiment,
        code or _code(runs),
        networks=tuple(found),
        model=experiment.model,
        normalise=lambda images: images * experiment.data.scale + experiment.data.shift,
    )


def _code(runs: tuple[Runs, ...]) -> str:
    first = runs[0]
    seeds = sorted({seed for networks in first.runs.values() for seed in networks.seeds})
    lines = ["import labkit as lk", "from labkit.studies import metrics", "",
             f"spec = {written(first.experiment.spec)}", f"tickets = lk.find_tickets(spec, seeds={seeds})"]  # fmt: skip
    names = ["tickets"]
    for one in runs[1:]:
        lines.append(f'{one.branch} = lk.branch(tickets, "{one.branch}", levels={one.levels})')
        names.append(one.branch)
    return "\n".join([*lines, f"evaluations = metrics.curves({', '.join(names)})"])


def count(masks: Masks) -> int:
    """Surviving weights."""
    return sum(int(torch.count_nonzero(mask)) for mask in masks.values())
