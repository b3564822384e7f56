"""A widget that replays sparse training: what every mask update dropped and grew, and how long connections live."""

from typing import Any

import ipywidgets as widgets
import pandas as pd

from labkit.explore.panel import Panel
from labkit.explore.written import written
from labkit.figures.replays import replayed, show_update
from labkit.ground.names import shown as named
from labkit.specs.networks import TrainSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.studies.replays import Replay, replay
from labkit.studies.sparse_runs import SparseRun
from labkit.studies.sparse_training import train_sparse

SMALL = SparseSpec(
    train=TrainSpec(duration="600it", evaluate_every="50it"), topology=TopologySpec("rigl", 0.1, "erk", every="25it")
)
ACTIVE, CHANGED = "active connections", "grown less dropped"


class Topology(Panel):
    """A run of RigL, SET, SNFS or another method that changes masks, update by update.

    Args:
        run: what `labkit.train_sparse` gave; by default a small LeNet-300-100 under RigL on the embedded digits, which
            is trained in a few seconds where it is not stored yet.

    Attributes:
        seed: which network.
        moment: how many updates have been made.
        shown: what is shown of the pixels of the input.
    """

    name = "topology"

    def __init__(self, run: SparseRun | None = None):
        self.run: Any = run
        self._replays: dict[int, tuple[Replay, pd.DataFrame, pd.DataFrame]] = {}
        self._drawn: tuple[int, bool] | None = None
        seeds = run.seeds if isinstance(run, SparseRun) else [0]
        self.seed = widgets.Dropdown(description="seed", options=seeds)
        self.moment = widgets.IntSlider(description="update", min=0, max=0, layout=widgets.Layout(width="50%"))
        self.shown = widgets.Dropdown(description="pixels", options=[ACTIVE, CHANGED])
        super().__init__(self.seed, self.moment, self.shown, height=740)
        self.refresh()

    def draw(self) -> str:
        """See `Panel`."""
        found, densities, cost = self._replay()
        self.moment.max = len(found.moves)
        update, signed = self.moment.value, self.shown.value == CHANGED
        pixels = found.inputs(update, self.run.experiment.data.shape)
        self.shown.layout.display = None if pixels else "none"
        if self._drawn != (drawn := (self.seed.value, signed)):
            self.put(replayed(found.changes, found.lifetimes, densities, cost, pixels=bool(pixels), signed=signed))
            self._drawn = drawn
        step = found.steps[update - 1] if update else int(densities["step"].min())
        assert self.figure is not None
        with self.figure.batch_update():
            show_update(self.figure, found.changes, update, step, pixels[signed] if pixels else None)
        return self._found(found, update)

    def table(self) -> pd.DataFrame:
        """See `Panel`: a row an update and layer."""
        return self._replay()[0].changes

    def code(self) -> str:
        """See `Panel`."""
        self._replay()
        return (
            f"import labkit as lk\nfrom labkit.studies.replays import replay\n\nspec = {written(self.run.spec)}\n"
            f"run = lk.train_sparse(spec, seeds={self.run.seeds})\nreplayed = replay(run, seed={self.seed.value})\n"
            f"replayed.changes, replayed.lifetimes\nmasks = replayed.masks({self.moment.value})"
        )

    def _replay(self) -> tuple[Replay, pd.DataFrame, pd.DataFrame]:
        """Of the seed that is chosen; read once."""
        if self.run is None:
            self.run = train_sparse(SMALL, [0])
        if not isinstance(self.run, SparseRun):
            raise ValueError(f"{named(self.run)} cannot be replayed: give what lk.train_sparse gave")
        seed = self.seed.value
        if seed not in self._replays:
            parts = [table[table["seed"] == seed] for table in (self.run.densities(), self.run.inference_flops())]
            self._replays[seed] = (replay(self.run, seed), *parts)
        return self._replays[seed]

    def _found(self, found: Replay, update: int) -> str:
        """What is found at an update, for the title."""
        total, method = len(found.moves), self.run.spec.topology.row.title
        beyond = f"; {found.missing} more were beyond what is recorded" if found.missing else ""
        stay = f"{100 * found.surviving(total):.0f} % of the first connections outlive all {total} updates{beyond}"
        if not total:
            return f"{method}: none of the mask updates is recorded{beyond}"
        if not update:
            return f"{method} before the first update: {stay}"
        rows = found.changes[found.changes["update"] == update]
        dropped, grown, again = (int(rows[name].sum()) for name in ("dropped", "grown", "again"))
        return (f"{method}, update {update} of {total} (step {rows['step'].iloc[0]:,}): {dropped:,} connections "
                f"dropped, {grown:,} grown ({again:,} of these had just been dropped); {stay}")  # fmt: skip
