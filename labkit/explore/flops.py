"""FLOPs: what a method of sparse training would cost a network, from shapes alone."""

from functools import cache

import ipywidgets as widgets
import pandas as pd

from labkit.explore.panel import Panel
from labkit.figures.costs import costs_said, layer_costs
from labkit.ground.names import choose
from labkit.models import MODELS, inspection
from labkit.sparsity.allocation import ALLOCATIONS
from labkit.sparsity.flops import Layer
from labkit.sparsity.methods import METHODS, Method
from labkit.specs.sparse import TopologySpec
from labkit.studies.network_costs import network_costs

DENSITIES = [10 ** (-n / 20) for n in range(41)]  # 100 % to 1 %, 10 % among them
NAMES = {"uniform": "uniform, first layer dense", "er": "ER", "erk": "ERK"}


class Flops(Panel):
    """FLOPs and bytes of a network under a method: layer by layer, and in all beside the dense network.

    Nothing is trained: weights are counted as training would draw them, FLOPs by `labkit.sparsity.flops`.

    Args:
        model: a name of `labkit.models.MODELS` to begin with.
    """

    name = "flops"

    def __init__(self, model: str = "lenet_300_100"):
        try:
            choose("model", model, MODELS)
        except ValueError as error:
            self.lose(error)
            return
        self.model = widgets.Dropdown(description="network", options=list(MODELS), value=model)
        self.method = widgets.Dropdown(
            description="method", value="rigl", options=[(row.title, name) for name, row in METHODS.items()]
        )
        self.density = widgets.SelectionSlider(
            description="weights", options=[(f"{100 * d:.3g} %", d) for d in DENSITIES], value=DENSITIES[20]
        )
        self.allocation = widgets.Dropdown(
            description="layers by", value="erk", options=[(NAMES.get(name, name), name) for name in ALLOCATIONS]
        )
        super().__init__(self.model, self.method, self.density, self.allocation)
        self.refresh()

    @property
    def topology(self) -> TopologySpec:
        """Method, density and allocation that are shown."""
        return TopologySpec(method=self.method.value, density=self.density.value, allocation=self.allocation.value)

    def draw(self) -> str:
        """Bars of FLOPs by layer, and of bytes."""
        row = self.topology.row
        self.density.disabled = row.masks == "none"
        self.allocation.disabled = row.masks in ("none", "pruned")
        table = self.table()
        name = f"{row.title}{'' if self.allocation.disabled else f' by {self.allocation.label}'} on {self.model.value}"
        self.put(layer_costs(table, name=name, note=_note(row, self.topology.every)))
        return costs_said(table, name)

    def table(self) -> pd.DataFrame:
        """A row a layer, as of `labkit.studies.network_costs`."""
        return network_costs(layers_of(self.model.value), self.topology)

    def code(self) -> str:
        """Of the table that is shown."""
        return "\n".join([
            "import labkit as lk", "from labkit.models import inspection",
            "from labkit.studies.network_costs import network_costs, of_dense", "",
            f'layers = inspection.planned("{self.model.value}")',
            f"table = network_costs(layers, lk.{self.topology!r})", "of_dense(table)",
        ])  # fmt: skip


@cache
def layers_of(model: str) -> dict[str, Layer]:
    """The layers of a network of the kit; a forward pass once a process."""
    return inspection.planned(model)


def _note(row: Method, every: str) -> str:
    """How the layers got their densities, and when more than the masked weights is computed."""
    said = []
    if row.masks == "pruned":
        said.append("as if each layer lost the same share, which magnitudes decide; training: a mean over the schedule")
    if row.redistribute != "none":
        said.append("layer densities as at the start: they move")
    if row.flops == "rigl":
        said.append(f"a dense gradient every {every.removesuffix('it')} steps")
    if row.flops == "dense momentum":
        said.append("a dense weight gradient at every step")
    return "; ".join(said)
