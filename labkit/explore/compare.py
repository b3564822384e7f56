"""Compare: stored runs picked from a table, their learning curves, and how far apart they end."""

import warnings
from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from labkit.explore.panel import Panel
from labkit.figures.learning import overlay
from labkit.figures.titles import counted, span
from labkit.ground.lists import optional
from labkit.ground.names import path
from labkit.runs.catalogue import COLUMNS, catalogue, group_names
from labkit.runs.files import FINISHED
from labkit.runs.reading import finished
from labkit.runs.store import runs_folder
from labkit.studies.intervals import group_differences, group_ends

MOST_LISTED, MOST_DRAWN = 200, 60  # runs
ALL = "all"
STEPS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # densities


class Compare(Panel):
    """Stored runs picked from a table: learning curves, and differences at the end, paired by seed.

    Runs that differ in their seeds (and copies) alone make a group, whose mean is drawn with its range. A difference of
    two groups is the mean over the seeds that both have, with a 95 % t interval.

    Args:
        root: the folder of all runs; default `labkit.runs.store.runs_folder()`.
    """

    name = "compare"

    def __init__(self, root: Path | None = None):
        self.root = optional("root", root, of=path) or runs_folder()
        self._read: dict[str, pd.DataFrame] = {}  # evaluations by run
        self._listing = False
        self.search = widgets.Text(description="search", placeholder="such as: ticket of round 3, seed 1",
                                   continuous_update=False)  # fmt: skip
        self.model = widgets.Dropdown(description="network", options=[ALL])
        self.data = widgets.Dropdown(description="data", options=[ALL])
        self.density = widgets.SelectionRangeSlider(
            description="weights", options=[(f"{100 * step:g} %", step) for step in STEPS], index=(0, len(STEPS) - 1)
        )
        self.runs = widgets.SelectMultiple(description="runs", rows=9, layout=widgets.Layout(width="100%"))
        self.filters = (self.search, self.model, self.data, self.density)
        for control in self.filters:
            control.observe(lambda change: self._list(), "value")
        again = widgets.Button(description="Read again", tooltip="look for runs that have come or gone")
        again.on_click(lambda button: self.reload())
        super().__init__(*self.filters, self.runs, also=(again,))
        self.reload()

    def reload(self) -> None:
        """Read which runs there are, and draw again."""
        self._read.clear()
        self._catalogue, self._warned = pd.DataFrame(columns=COLUMNS), ""
        self.say("")
        self.guard(self._scan)
        wrong = self.said
        self.refresh()
        if wrong or (self._warned and not self.said):
            self.say(wrong or self._warned, alert=bool(wrong))

    def _scan(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = catalogue(self.root)
        self._warned = "; ".join(str(warning.message) for warning in caught[:3])
        if len(caught) > 3:
            self._warned += f"; and {len(caught) - 3} more files that cannot be read"
        self._catalogue = found.sort_values("label", ignore_index=True)
        self._listing = True
        for choice, column in ((self.model, "model"), (self.data, "data")):
            options, before = [ALL, *sorted(found[column].unique())], choice.value
            choice.options = options
            choice.value = before if before in options else ALL
        self._listing = False
        self._list()

    def matches(self) -> pd.DataFrame:
        """Rows of the catalogue that the filters and all parts of the search, between commas, leave."""
        rows = self._catalogue
        low, high = self.density.value
        keep = rows["density"].between(low, high)
        for choice, column in ((self.model, "model"), (self.data, "data")):
            keep &= (rows[column] == choice.value) | (choice.value == ALL)
        text = rows["label"].str.lower() + " " + rows["run"]
        for part in self.search.value.lower().split(","):
            keep &= text.str.contains(part.strip(), regex=False)
        return rows[keep]

    def _list(self) -> None:
        """List what matches, below what is picked already."""
        if self._listing:
            return
        chosen, rows = self._picked(), self.matches()
        shown = pd.concat([chosen, rows[~rows["run"].isin(chosen["run"])]])[:MOST_LISTED]
        self._listing = True
        self.runs.options = list(zip(shown["label"], shown["run"], strict=True)) if len(shown) else []
        self.runs.value = tuple(chosen["run"]) if len(chosen) else ()
        self._listing = False

    def _picked(self) -> pd.DataFrame:
        return self._catalogue[self._catalogue["run"].isin(self.runs.value)]

    def _changed(self, change: object) -> None:
        if not self._listing:
            self.refresh()

    def draw(self) -> str:
        """Curves of the runs that are picked."""
        if self._catalogue.empty:
            return f"There are no finished runs in {self.root}: find_tickets and train_sparse make some"
        if len(self.runs.value) > MOST_DRAWN:
            raise ValueError(f"{len(self.runs.value)} runs are picked: at most {MOST_DRAWN} are drawn")
        found = len(self.matches())
        listed = ("1 run matches" if found == 1 else f"{found:,} runs match") + (
            f", {MOST_LISTED} are listed" if found > MOST_LISTED else ""
        )
        table = self.table()
        if not table.empty:
            self.put(overlay(table, lines="group"))
        if len(self.runs.value) < 2:
            return f"Pick two runs or more (with Ctrl or Shift): {listed}"
        return self._finding(table) if not table.empty else "Of what is picked nothing can be shown"

    def table(self) -> pd.DataFrame:
        """Evaluations of the runs that are picked: run, group, seed, iteration, losses and accuracies."""
        parts, gone = [], []
        for name in self.runs.value:
            try:
                parts.append(self._evaluations(name))
            except (ValueError, OSError) as error:
                gone.append(f"{name} cannot be shown: {error}")
        if gone:
            self.say("; ".join(gone), alert=True)
        if not parts:
            return pd.DataFrame(columns=["run", "group", "seed", "iteration", "test_accuracy"])
        table = pd.concat(parts, ignore_index=True)
        return table.assign(group=table["run"].map(group_names(self._picked())))

    def _evaluations(self, name: str) -> pd.DataFrame:
        """Of a run, as long as its file is there."""
        read = finished(self.root, name) if name not in self._read else None
        if read is not None:
            rows = pd.DataFrame(read.rows()).astype({"test_accuracy": float})
            self._read[name] = rows.assign(run=name, seed=read.identity["seed"],
                                           diverged=read.result.get("diverged_at") is not None)  # fmt: skip
        elif not (self.root / name / FINISHED).exists():
            raise FileNotFoundError("its file is gone")
        return self._read[name]

    def differences(self) -> pd.DataFrame:
        """Each group minus the first one at the end, as of `labkit.studies.intervals.group_differences`."""
        return group_differences(self.table())

    def _finding(self, table: pd.DataFrame) -> str:
        found, ends = group_differences(table), group_ends(table)
        diverged = table[table["diverged"]]["run"].nunique()
        also = f"; {diverged} diverged" if diverged else ""
        if found.empty:
            shown = span(100 * ends["test_accuracy"], "%", signed=False) or "no accuracy"
            return f"{table['group'].iloc[0]}, {counted(len(ends), len(ends), 'network')} at the end: {shown}{also}"
        said = [f"{row['group']}: {row['said']}" for row in found.to_dict("records")]
        return f"At the end, minus {found['minus'].iloc[0]}: {'; '.join(said)}{also}"

    def code(self) -> str:
        """Of the evaluations that are shown."""
        return "\n".join([
            "from pathlib import Path", "", "import pandas as pd", "", "from labkit.runs.reading import finished", "",
            f"names = {list(self.runs.value)}",
            f"read = [finished(Path({str(self.root)!r}), name) for name in names]",
            "table = pd.concat([pd.DataFrame(run.rows()).assign(run=run.name, seed=run.identity['seed']) "
            "for run in read])",
        ])  # fmt: skip
