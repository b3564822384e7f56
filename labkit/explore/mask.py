"""What a ticket looks like: inputs and kernels that still matter, densities of layers, weights that were kept."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
import torch

from labkit.explore.collection import Collection, Key, Network, collection, count
from labkit.explore.panel import EXPECTED, Panel
from labkit.figures import layers as drawing
from labkit.sparsity.allocation import ALLOCATIONS, allocate
from labkit.sparsity.units import dead_units, weights_per_input
from labkit.specs.tickets import TICKET
from labkit.studies.branches import Runs

VIEWS = {"what is left of a layer": "layer", "densities of layers": "densities", "weights": "weights"}
CHAINS = ("LeNet300100", "ConvNet", "VGG19")  # networks whose layers follow one another


class Mask(Panel):
    """What a ticket looks like.

    Three views: what is left of a layer (pixels that weights start from, kernels of a convolution, connections), the
    densities of layers beside rules of allocation at equal total, and histograms of the weights that were kept and of
    those that were pruned.

    Args:
        runs: what `find_tickets` gave; without, the set that ships with the kit.
    """

    name = "mask"

    def __init__(self, *runs: Runs):
        try:
            self._begin(collection(*runs))
        except EXPECTED as error:  # runs that are gone, damaged, or of another kind
            self.lose(error)
            return
        super().__init__(self.level, self.seed, self.view, self.layer)
        self.refresh()

    def _begin(self, shown: Collection) -> None:
        """Make the controls."""
        self.collection = shown
        self.networks = [key for key in self.collection.networks if key.branch == TICKET]
        if not self.networks:
            raise ValueError("there are no tickets whose weights were kept: give what find_tickets gave")
        self._read: dict[Key, tuple[Network, Network]] = {}
        self.chain = type(self.collection.model()).__name__ in CHAINS
        self.input_shape = getattr(self.collection.model(), "input_shape", None)
        left, layers = self.collection.levels, list(self._network(self.networks[0])[1][1])
        levels = sorted({key.level for key in self.networks})
        self.level = widgets.SelectionSlider(
            description="level", options=[(f"{level}: {left.get(level, 100):.3g} %", level) for level in levels],
            value=levels[-1], continuous_update=True,
        )  # fmt: skip
        self.seed = widgets.Dropdown(description="seed", options=sorted({key.seed for key in self.networks}))
        self.view = widgets.Dropdown(description="show", options=VIEWS)
        self.layer = widgets.Dropdown(description="layer", options=layers)

    def draw(self) -> str:
        """Show the view that is chosen."""
        figure, title = getattr(self, f"_{self.view.value}")()
        self.put(figure)
        return f"Level {self.level.value}, seed {self.seed.value}: {title}"

    def table(self) -> pd.DataFrame:
        """Of each layer its weights, and its units without weights; all of it, whichever view is shown."""
        masks, found = self._masks, dead_units(self._masks, chain=self.chain)
        rules = self._rules()
        return pd.DataFrame([
            {"level": self.level.value, "seed": self.seed.value, "layer": name, "kept": int(mask.sum()),
             "size": mask.numel(), "units": found[name].units, "units_without_weight_in": found[name].unfed,
             "units_without_weight_out": found[name].unheard,
             **{f"density_{rule}": densities[name] for rule, densities in rules.items()}}
            for name, mask in masks.items()
        ])  # fmt: skip

    def code(self) -> str:
        """Python that counts the same."""
        return (
            f"{self.collection.code}\n\nfrom labkit.sparsity import masks, units\n\n"
            f"ticket = tickets.ticket(seed={self.seed.value}, level={self.level.value})\n"
            f"masks.counts(ticket.mask)\nunits.dead_units(ticket.mask, chain={self.chain})"
        )

    @property
    def _key(self) -> Key:
        return Key(TICKET, self.level.value, self.seed.value)

    @property
    def _masks(self) -> Mapping[str, Any]:
        return self._network(self._key)[1][1]

    def _network(self, key: Key) -> tuple[Network, Network]:
        """At its start and at its end; read once."""
        if key not in self._read:
            self._read[key] = self.collection.start(key), self.collection.end(key)
        return self._read[key]

    def _layer(self) -> tuple[go.Figure, str]:
        name = self.layer.value
        mask = self._masks[name]
        kept = f"{int(mask.sum()):,} of {mask.numel():,} weights of {name} are left"
        if mask.ndim > 2:
            return drawing.surviving_kernels(mask, ""), f"{kept}; {_dead(self._units(name))}"
        if name == next(iter(self._masks)) and self.input_shape and mask.shape[1] == _size(self.input_shape):
            lost = int((weights_per_input(mask) == 0).sum())
            return drawing.surviving_inputs(mask, self.input_shape, ""), (
                f"{kept}; {lost} of {mask.shape[1]} pixels are cut off, and {_dead(self._units(name))}"
            )
        return drawing.surviving_connections(mask, ""), f"{kept}; {_dead(self._units(name))}"

    def _densities(self) -> tuple[go.Figure, str]:
        masks = self._masks
        found = {name: float(mask.sum()) / mask.numel() for name, mask in masks.items()}
        least, most = min(found, key=lambda n: found[n]), max(found, key=lambda n: found[n])
        total = 100 * count(dict(masks)) / sum(mask.numel() for mask in masks.values())
        said = f"{total:.3g} % of the weights are left, from {100 * found[least]:.3g} % of {least} to " \
               f"{100 * found[most]:.3g} % of {most}"  # fmt: skip
        return drawing.layer_densities(found, self._rules(), ""), said

    def _weights(self) -> tuple[go.Figure, str]:
        name, mask = self.layer.value, self._masks[self.layer.value]
        start, end = self._network(self._key)
        dense_start, dense_end = self._network(Key(TICKET, 0, self.seed.value))
        panels = {
            "at the start": {"kept": start[0][name][mask], "pruned": dense_start[0][name][~mask]},
            "at the end": {"kept": end[0][name][mask], "pruned": dense_end[0][name][~mask]},
        }
        sizes = [float(torch.std(groups["kept"])) if groups["kept"].numel() > 1 else 0.0 for groups in panels.values()]
        said = f"the kept weights of {name} spread by {sizes[0]:.2g} at the start and by {sizes[1]:.2g} at the end"
        caption = "pruned weights as they are in the dense network; spread: standard deviation"
        return drawing.weight_histograms(panels, "", caption), said

    def _rules(self) -> dict[str, dict[str, float]]:
        masks = self._masks
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        total = count(dict(masks)) / sum(mask.numel() for mask in masks.values())
        return {name: allocate(name, shapes, total, ()) for name in ALLOCATIONS}

    def _units(self, name: str) -> tuple[int, int]:
        found = dead_units(dict(self._masks), chain=self.chain)[name]
        return found.dead, found.units


def _dead(found: tuple[int, int]) -> str:
    return f"{found[0]} of {found[1]} units have no weight in or none out"


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.tensor(shape).prod())
