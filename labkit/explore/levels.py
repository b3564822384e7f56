"""Levels: the networks of a search, from dense to sparse, under a slider."""

import ipywidgets as widgets
import pandas as pd

from labkit.explore.collection import Collection, collection
from labkit.explore.panel import EXPECTED, Panel
from labkit.figures import levels as drawing
from labkit.figures.style import NAMES
from labkit.figures.titles import counted, span
from labkit.ground.names import choose
from labkit.specs.tickets import TICKET
from labkit.studies.branches import Runs
from labkit.studies.metrics import ends, outcomes
from labkit.studies.sources import published as published_table

ALL = "all"


class Levels(Panel):
    """Learning curves of a level, beside the accuracy of all levels over the weights left.

    Args:
        runs: what `find_tickets`, `branch` or `transfer` gave, tickets first; none: the set that ships with the kit.
        published: rows of the table "lth" to draw behind, or the architecture whose rows these are, such as
            "lenet-300-100"; default: what the collection belongs to.
    Runs that are gone, damaged or cannot be shown together, and an architecture of which nothing was published, are
    answered in words.
    """

    name = "levels"

    def __init__(self, *runs: Runs, published: pd.DataFrame | str | None = None):
        self._shown: Collection | None = None
        self._outcomes: dict[str, pd.DataFrame] = {}
        try:
            self._read(collection(*runs), published)
        except EXPECTED as error:  # runs that are gone, damaged, or none
            self.lose(error)
            return
        shown, said = self.shown, {"accuracy_at_end": "at the end", "accuracy_at_early_stop": "at early stop"}
        self.level = widgets.SelectionSlider(
            description="weights left", options=[(f"{left:.3g} %", level) for level, left in shown.levels.items()]
        )
        arms = [(NAMES.get(arm, arm), arm) for arm in shown.branches]
        self.arm = widgets.Dropdown(description="arm", options=[("all", ALL), *arms], value=ALL)
        seeds = [(str(seed), seed) for seed in shown.seeds]
        self.seed = widgets.Dropdown(description="seed", options=[("all: mean and range", ALL), *seeds], value=ALL)
        self.when = widgets.Dropdown(description="accuracy", options=[(said[key], key) for key in self._outcomes])
        super().__init__(self.level, self.arm, self.seed, self.when)
        self.refresh()

    def _read(self, shown: Collection, published: pd.DataFrame | str | None) -> None:
        self.published = _rows(shown.series or None if published is None else published)
        table = shown.evaluations
        self._outcomes["accuracy_at_end"] = ends(table)
        if table["validation_loss"].notna().all():
            self._outcomes["accuracy_at_early_stop"] = outcomes(table)
        self._shown = shown

    @property
    def shown(self) -> Collection:
        """What is shown.

        Raises:
            ValueError: if it could not be read.
        """
        if self._shown is None:
            raise ValueError("there is nothing to show: these runs could not be read")
        return self._shown

    @property
    def arms(self) -> list[str]:
        """Branches that are shown."""
        return self.shown.branches if self.arm.value == ALL else [self.arm.value]

    def draw(self) -> str:
        """Both panels."""
        evaluations = self.table()
        if evaluations.empty:
            raise ValueError("of this arm and seed nothing is here: choose another")
        found = self._of(self._outcomes[self.when.value])
        if found.empty:
            raise ValueError("every network of this arm and seed diverged: there is no accuracy to show")
        self.put(drawing.level(evaluations, found, self.level.value, self.arms, value=self.when.value,
                               published=self.published))  # fmt: skip
        return self._finding(found)

    def table(self) -> pd.DataFrame:
        """The evaluations of the arms and seeds that are shown, at all levels."""
        return self._of(self.shown.evaluations)

    def code(self) -> str:
        """Of the accuracies over the weights left."""
        call = "outcomes" if self.when.value == "accuracy_at_early_stop" else "ends"
        lines = [self.shown.code, f"table = metrics.{call}(evaluations)"]
        if self.seed.value != ALL:
            lines.append(f'table = table.query("seed == {self.seed.value}")')
        if self.arm.value != ALL:
            lines.append(f"table = table.query(\"branch == '{self.arm.value}'\")")
        lines.append(f'table.groupby(["branch", "level"])["{self.when.value}"].agg(["mean", "min", "max"])')
        return "\n".join(lines)

    def _of(self, table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["branch"].isin(self.arms)]
        return rows if self.seed.value == ALL else rows[rows["seed"] == self.seed.value]

    def _finding(self, table: pd.DataFrame) -> str:
        """Accuracies at the level, from the lowest to the highest of each arm, beside those of the dense networks."""
        here = table[table["level"] == self.level.value]
        at = f"{self.level.label.strip()} of the weights, {self.when.label}"
        parts = []
        for arm in self.arms:
            values = 100 * here[here["branch"] == arm][self.when.value]
            if len(values):
                shown = span(values, "%", signed=False)
                parts.append(f"{NAMES.get(arm, arm)} {shown} ({counted(len(values), len(values), 'network')})")
        dense = table[(table["level"] == 0) & (table["branch"] == TICKET)][self.when.value]
        if self.level.value and len(dense):
            parts.append(f"dense {span(100 * dense, '%', signed=False)}")
        return f"{at}: {'; '.join(parts)}" if parts else f"{at}: no network was trained, or all diverged"


def _rows(published: pd.DataFrame | str | None) -> pd.DataFrame | None:
    if not isinstance(published, str):
        return published
    table = published_table("lth")
    return table[table["architecture"] == choose("architecture", published, set(table["architecture"]))]
