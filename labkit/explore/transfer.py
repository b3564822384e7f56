"""Transfer: what tickets gain on other tasks than their own, by source, target and level."""

import re

import ipywidgets as widgets
import pandas as pd

from labkit.explore.panel import EXPECTED, Panel
from labkit.figures.transfer_map import transfer_map, transfer_said
from labkit.ground.names import shown
from labkit.studies.transfer_cells import AGAINST, cells
from labkit.studies.transfer_study import TransferStudy

HOW = """from labkit.explore import Transfer
from labkit.studies.transfer_study import Route, study_transfer
import labkit as lk

prune = lk.PruneSpec(output_rate=0.0, levels=3)
specs = {name: lk.TicketSpec(data=lk.DataSpec(name), prune=prune) for name in ("mnist", "fashion_mnist")}
study = study_transfer(specs, [Route("mnist", "fashion_mnist"), Route("fashion_mnist", "mnist")], seeds=[0, 1, 2])
Transfer(study)"""


class Transfer(Panel):
    """Carried tickets minus random ones (or the task's own) as a map of source and target, a level at a time.

    Args:
        study: what `study_transfer` gave; without one, the widget says how to get one.
    """

    name = "transfer"

    def __init__(self, study: TransferStudy | None = None):
        self.study = study
        self._cells: dict[str, pd.DataFrame] = {}
        try:
            self._read(study)
        except EXPECTED as error:
            super().__init__(height=0)
            self.say(str(error), alert=study is not None)
            return
        first = self._cells["random ticket"].drop_duplicates("level").sort_values("level")
        self.level = widgets.SelectionSlider(
            description="weights left",
            options=[(f"{row['percent_remaining']:.3g} %", row["level"]) for row in first.to_dict("records")],
        )
        known = [name for name, found in self._cells.items() if (found["asked"] > 0).any()]
        self.against = widgets.Dropdown(description="minus", options=known or list(AGAINST))
        super().__init__(self.level, self.against)
        self.refresh()

    def _read(self, study: TransferStudy | None) -> None:
        """What is shown, read once."""
        if study is None:
            raise ValueError("No study of transfer is given: press “Show the code” to see how one is made")
        if not isinstance(study, TransferStudy):
            raise ValueError(f"study is {shown(study)}: it must be what study_transfer gave")
        tables, pairs, taken = study.ends(), {}, set()
        for name, route in study.routes.items():
            pair = (route.source, route.target)  # of two routes between the same tasks the second has its own row
            pairs[name] = (name, route.target) if pair in taken else pair
            taken.add(pair)
        self._cells = {against: cells(tables, pairs, against) for against in AGAINST}
        if self._cells["random ticket"].empty:
            raise ValueError("this study has no level above 0: nothing was pruned, so that no ticket was carried")

    def draw(self) -> str:
        """The map."""
        found = self.table()
        self.put(transfer_map(found, self.level.value))
        return transfer_said(found, self.level.value, self.against.value)

    def table(self) -> pd.DataFrame:
        """Differences of all levels, as of `labkit.studies.transfer_cells`."""
        if not self._cells:
            raise ValueError("there is nothing to show without a study of transfer")
        return self._cells[self.against.value]

    def code(self) -> str:
        """Of the study and its table; without a study, of a small one."""
        if not self._cells or self.study is None:
            return HOW
        specs = {name: runs.experiment.spec for name, runs in self.study.tickets.items()}
        seeds = sorted({one.run.seed for members in self.study.asked.values() for one in members})
        pairs = {name: (route.source, route.target) for name, route in self.study.routes.items()}
        return "\n".join([
            "import labkit as lk", "from labkit.studies.transfer_cells import cells",
            "from labkit.studies.transfer_study import Route, study_transfer", "",
            re.sub(r"\b(?=[A-Z][a-z]+Spec\()", "lk.", f"specs = {specs!r}"),
            f"study = study_transfer(specs, {list(self.study.routes.values())!r}, seeds={seeds})",
            f'table = cells(study.ends(), {pairs!r}, "{self.against.value}")',
        ])  # fmt: skip
