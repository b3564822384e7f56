"""What a run starts from, and a finished run as it is read from its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from torch import Tensor

from labkit.runs.folders import RunFolder
from labkit.sparsity.masks import Masks, unpack_states

States = dict[str, Tensor]


@dataclass(frozen=True)
class Start:
    """Where a run starts: stacked states and masks, and the seed and copy of each replicate."""

    states: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    replicates: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: RunFolder
    branch: str
    level: int

    @cached_property
    def result(self) -> dict[str, Any]:
        """Replicates with their density and divergence, iterations, seconds, hardware."""
        return self.folder.result()

    @property
    def seeds(self) -> list[int]:
        """The seed of each replicate, by position."""
        return [replicate["seed"] for replicate in self.result["replicates"]]

    @property
    def alive(self) -> list[int]:
        """Positions of the replicates that did not diverge."""
        return [n for n, replicate in enumerate(self.result["replicates"]) if replicate["diverged_at"] is None]

    def start(self) -> tuple[States, Masks]:
        """Stacked states and masks that the run started from."""
        return unpack_states(self.folder.read_tensors("ticket"))

    def final(self) -> tuple[States, Masks]:
        """Stacked states and masks after training."""
        return unpack_states(self.folder.read_tensors("final"))

    def metrics(self) -> pd.DataFrame:
        """One row an evaluation: branch, level, percent_remaining, seed, copy, iteration, losses, accuracies."""
        return self.folder.metrics().assign(branch=self.branch, level=self.level)
