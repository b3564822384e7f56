"""Finished runs as they are read: side by side, a network each, under the labels that a study gives them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from labkit.runs.folder import RunFolder
from labkit.runs.run import Run
from labkit.runs.starts import Start
from labkit.runs.store import Store
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks

Stack = dict[str, Tensor]


@dataclass(frozen=True)
class Labelled:
    """A run with the names that a study gives it; the run itself knows nothing of them."""

    run: Run
    branch: str = ""
    level: int = 0
    copy: int = 0

    @property
    def label(self) -> str:
        """For messages: "seed 3, copy 0 of ticket at level 2"."""
        return f"seed {self.run.seed}, copy {self.copy} of {self.branch} at level {self.level}"


class Networks:
    """Finished networks of one branch at one level, one a seed and copy.

    Args:
        members: the runs with their labels; what never could start, as its source diverged, is left out.
        root: the folder of all runs.
    """

    def __init__(self, members: Sequence[Labelled], root: Path | None):
        self.store = Store(root)
        self.members = list(members)

    @cached_property
    def abouts(self) -> list[dict[str, Any]]:
        """The description of each, as its file has it."""
        return [_present(folder) for folder in self.folders]

    @property
    def folders(self) -> list[RunFolder]:
        """Of each."""
        return [self.store.folder(member.run) for member in self.members]

    @property
    def hashes(self) -> list[str]:
        """The name of each."""
        return [member.run.hash for member in self.members]

    @property
    def seeds(self) -> list[int]:
        """The seed of each."""
        return [member.run.seed for member in self.members]

    @property
    def results(self) -> list[dict[str, Any]]:
        """Of each: seed, copy, kept, density, diverged_at, first, iterations, seconds, engine, threads, hardware ..."""
        return [about["result"] | {"seed": member.run.seed, "copy": member.copy}
                for member, about in zip(self.members, self.abouts, strict=True)]  # fmt: skip

    @property
    def seconds(self) -> float:
        """Time that training them took, whenever that was, one after another."""
        return sum(result["seconds"] for result in self.results)

    def start(self) -> tuple[Stack, Masks]:
        """States and masks that they started from, stacked."""
        return _stacked(start_of(member.run, self.store) for member in self.members)

    def final(self) -> tuple[Stack, Masks]:
        """States and masks after training, stacked."""
        return _stacked(folder.end() for folder in self.folders)

    def final_masks(self) -> Masks:
        """Masks after training, stacked."""
        return _stack([folder.end_mask() for folder in self.folders])

    def metrics(self) -> pd.DataFrame:
        """One row an evaluation: branch, level, percent_remaining, seed, copy, iteration, losses, accuracies."""
        rows: list[dict[str, Any]] = []
        for member, folder, result in zip(self.members, self.folders, self.results, strict=True):
            experiment = member.run.experiment
            about = {"seed": member.run.seed, "copy": member.copy, "percent_remaining": 100 * result["density"],
                     "diverged": result["diverged_at"] is not None}  # fmt: skip
            points = experiment.points(member.run.first)
            found = folder.record().rows(experiment.spec.train.batch_size, points)
            rows += [about | row | {"branch": member.branch, "level": member.level} for row in found]
        return pd.DataFrame(rows)


def start_of(run: Run, store: Store) -> tuple[dict[str, Tensor], Masks]:
    """State dict and masks that a finished run started from."""
    if not isinstance(run.start, Start):
        return run.make_start(store)
    folder = store.folder(run)
    state, masks = folder.snapshot(run.first), folder.start_mask()
    if state is None:
        state = run.start.weights.make(run, store)
    mask_sets.apply(masks, state)
    return state, masks


def _present(folder: RunFolder) -> dict[str, Any]:
    about = folder.about()
    if about is None:
        raise FileNotFoundError(f"{folder.path} is gone, or was damaged and set aside: run again to compute it again")
    return about


def _stacked(pairs: Iterator[tuple[Stack, Masks]]) -> tuple[Stack, Masks]:
    states, masks = zip(*pairs, strict=True)
    return _stack(states), _stack(masks)


def _stack(trees: Sequence[Stack]) -> Stack:
    return {name: torch.stack([tree[name] for tree in trees]) for name in trees[0]}
