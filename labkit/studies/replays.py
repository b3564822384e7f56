"""A run of sparse training replayed: its masks after every update, what each dropped and grew, how long all lived."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor

from labkit.sparsity.masks import Masks
from labkit.sparsity.moves import Moves, flat, lives, masks_after
from labkit.studies.sparse_runs import SparseRun


@dataclass(frozen=True)
class Replay:
    """The mask updates of one network, as they were recorded.

    Attributes:
        start: masks before the first.
        moves: what they did.
        steps: training steps done when each had been made.
        missing: updates of the run that are not here, as they are beyond what is recorded of a run.
    """

    start: Masks
    moves: Moves
    steps: list[int]
    missing: int = 0

    def masks(self, updates: int) -> Masks:
        """After so many updates (see `labkit.sparsity.moves.masks_after`)."""
        return masks_after(self.start, self.moves, updates)

    @cached_property
    def changes(self) -> pd.DataFrame:
        """A row an update (from 1) and layer: update, step, layer, before, dropped, grown, again.

        `before` counts the active connections before it; `again` those that it dropped and grew at once, which are
        among the dropped and among the grown.
        """
        edges = torch.tensor([0, *(mask.numel() for mask in self.start.values())]).cumsum(0)
        kept = torch.tensor([int(mask.count_nonzero()) for mask in self.start.values()])
        rows = []
        for number, (dropped, grown) in enumerate(self.moves, start=1):
            again = dropped[torch.isin(dropped, grown)]
            counts = [torch.searchsorted(found, edges).diff() for found in (dropped, grown, again)]
            for layer, *values in zip(self.start, kept.tolist(), *(count.tolist() for count in counts), strict=True):
                rows.append((number, self.steps[number - 1], layer, *values))
            kept = kept - counts[0] + counts[1]
        return pd.DataFrame(rows, columns=["update", "step", "layer", "before", "dropped", "grown", "again"])

    @cached_property
    def lifetimes(self) -> pd.DataFrame:
        """How long connections lived: updates, ended, connections.

        A connection that lived for n updates was dropped by the n-th after it became active. Of those that live at the
        end (ended: False) it is only known that they live at least so long.
        """
        found = lives(self.start, self.moves)
        ended = found[:, 2] > 0
        updates = torch.where(ended, found[:, 2], len(self.moves)) - found[:, 1]
        table = pd.DataFrame({"updates": updates.numpy(), "ended": ended.numpy()})
        return table.groupby(["updates", "ended"]).size().rename("connections").reset_index()

    def surviving(self, updates: int) -> float:
        """The share of the first connections that no update up to there dropped; NaN if there were none."""
        untouched = flat(self.start)
        active = int(untouched.count_nonzero())
        for _, (dropped, _) in zip(range(updates), self.moves, strict=False):
            untouched[dropped] = False
        return int(untouched.count_nonzero()) / active if active else float("nan")

    def inputs(self, updates: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
        """Of the first layer, where it is linear on the input: connections of each pixel after so many updates.

        Args:
            updates: how many, from 0.
            shape: of the input, (channels, height, width).

        Returns:
            Active ones, and those that the last of the updates grew less those that it dropped: int64 (height, width)
            each; None if the first layer is not of that kind.
        """
        layer, first = next(iter(self.start.items()))
        if first.ndim != 2 or first.shape[1] != torch.Size(shape).numel():
            return None
        after = self.masks(updates)[layer].long()
        before = self.masks(updates - 1)[layer].long() if updates else after
        active, change = ((mask.sum(0)).reshape(shape).sum(0) for mask in (after, after - before))
        return active, change


def replay(run: SparseRun, seed: int) -> Replay:
    """The mask updates of a finished network.

    Args:
        run: what `labkit.train_sparse` gave, of a method that changes masks.
        seed: of the network.

    Raises:
        ValueError: for a method or a seed without updates, or a network that was recorded without them.
        FileNotFoundError: if it is gone.
    """
    dynamics = run.experiment.dynamics
    if dynamics is None or not dynamics.moments:
        raise ValueError(f"{run!r} has no mask updates: take a method that changes masks, such as 'rigl' or 'set'")
    if seed not in run.seeds:
        raise ValueError(f"seed is {seed!r}: the networks of this run have {run.seeds}")
    folder = run.networks.folders[run.seeds.index(seed)]
    moves = folder.record().moves
    if moves is None:
        raise ValueError(
            f"{folder.path} was recorded without what its mask updates dropped and grew. To have that, delete the "
            "folder and run again"
        )
    steps = [moment + 1 for moment in dynamics.moments]
    first = sum(step <= run.first for step in steps)
    made = steps[first : first + len(moves)]
    return Replay(folder.start_mask(), moves, made, len(steps) - first - len(made) if moves.full else 0)
