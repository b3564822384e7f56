"""What a mask leaves of a network, layer by layer: which inputs and kernels, at which densities, of which weights."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from labkit.figures.style import COLOURS, finish
from labkit.sparsity.units import weights_per_input

MOST_KERNELS = 64
BINS = 60
SHADES = [[0.0, "#ffffff"], [1e-9, "#dbe9f6"], [1.0, "#08306b"]]  # nothing at all is white
ALLOCATIONS = {"uniform": "uniform", "er": "Erdős–Rényi", "erk": "Erdős–Rényi kernel"}


def surviving_inputs(mask: Tensor, shape: Sequence[int], title: str) -> go.Figure:
    """Surviving weights of each pixel of an image, as a map.

    Args:
        mask: bool (outputs, pixels) of a linear layer that takes images, row by row.
        shape: of an image, (channels, height, width); channels are added up.
        title: the finding.
    """
    counts = weights_per_input(mask).reshape(*shape).sum(0)
    caption = f"weights from each pixel to the {len(mask)} units of the first layer; white: none is left"
    return _map(counts, title, caption, "weights", ("pixel", "pixel"))


def surviving_connections(mask: Tensor, title: str) -> go.Figure:
    """The mask of a linear layer: a row a unit, a column an input."""
    caption = "a dark point is a weight that is left"
    return _map(mask.int(), title, caption, "kept", ("input of the layer", "unit of the layer"), square=False)


def surviving_kernels(mask: Tensor, title: str) -> go.Figure:
    """Surviving weights at each position of the kernels of a convolution, summed over its inputs, a tile a channel.

    Args:
        mask: bool (outputs, inputs, height, width).
        title: the finding.
    """
    kernels = mask.sum(1)[:MOST_KERNELS].float()  # (K, h, w)
    count, height, width = kernels.shape
    across = math.ceil(math.sqrt(count))
    sheet = torch.full((math.ceil(count / across) * (height + 1) - 1, across * (width + 1) - 1), math.nan)
    for place, kernel in enumerate(kernels):
        top, left = place // across * (height + 1), place % across * (width + 1)
        sheet[top : top + height, left : left + width] = kernel
    shown = f"{count} channels" if count == len(mask) else f"{count} of {len(mask)} channels"
    caption = f"{shown}, a {height}x{width} tile each: weights left at a position, of {mask.shape[1]} inputs"
    return _map(sheet, title, caption, "weights", ("", ""))


def layer_densities(found: Mapping[str, float], rules: Mapping[str, Mapping[str, float]], title: str) -> go.Figure:
    """Density of each layer, beside what rules of allocation would give it at the same number of weights in all.

    Args:
        found: layer -> density.
        rules: name of a rule -> layer -> density.
        title: the finding.
    """
    figure = go.Figure()
    for place, (name, densities) in enumerate({"ticket": found, **rules}.items()):
        percent = [100 * densities[layer] for layer in found]
        figure.add_trace(go.Bar(
            x=list(found), y=percent, name=ALLOCATIONS.get(name, name), marker_color=COLOURS[place],
            text=[f"{value:.3g}" for value in percent], textposition="outside", cliponaxis=False,
            hovertemplate="%{x}: %{y:.4g} %",
        ))  # fmt: skip
    figure.update_yaxes(title="weights left, %", rangemode="tozero").update_xaxes(title="layer")
    caption = "what rules of allocation give each layer at as many weights in all"
    return finish(figure.update_layout(barmode="group"), title, caption)


def weight_histograms(panels: Mapping[str, Mapping[str, Tensor]], title: str, caption: str) -> go.Figure:
    """How large weights are, side by side.

    Args:
        panels: title of a panel -> name of a group -> its weights; an empty group is left out.
        title: the finding.
        caption: what the groups are.
    """
    figure = make_subplots(1, len(panels), subplot_titles=list(panels), horizontal_spacing=0.08)
    for column, groups in enumerate(panels.values(), start=1):
        there = {name: values.numpy() for name, values in groups.items() if values.numel()}
        widest = max((float(np.abs(values).max()) for values in there.values()), default=1.0)
        edges = np.linspace(-widest, widest, BINS + 1)
        for place, (name, values) in enumerate(there.items()):
            heights, _ = np.histogram(values, edges)
            figure.add_trace(
                go.Bar(x=(edges[:-1] + edges[1:]) / 2, y=heights, name=f"{name} ({len(values):,})",
                       width=edges[1] - edges[0],
                       marker={"color": COLOURS[place], "line": {"width": 0}}, opacity=0.6, legendgroup=name,
                       showlegend=column == 1, hovertemplate="%{y} weights near %{x:.3g}"), 1, column,
            )  # fmt: skip
        figure.update_xaxes(title="weight", row=1, col=column)
    figure.update_yaxes(title="weights", row=1, col=1)
    return finish(figure.update_layout(barmode="overlay", bargap=0), title, caption)


def _map(
    counts: Tensor, title: str, caption: str, what: str, axes: tuple[str, str], *, square: bool = True
) -> go.Figure:
    values = counts.cpu().numpy().astype(float)
    figure = go.Figure(go.Heatmap(z=values, colorscale=SHADES, zmin=0, zmax=max(1.0, float(np.nanmax(values))),
                                  colorbar={"title": what, "len": 0.9}, showscale=what != "kept", xgap=0, ygap=0,
                                  hovertemplate=f"%{{z}} {what}<extra>row %{{y}}, column %{{x}}</extra>"))  # fmt: skip
    figure.update_xaxes(title=axes[0], showgrid=False, constrain="domain", visible=bool(axes[0]))
    figure.update_yaxes(title=axes[1], showgrid=False, autorange="reversed", constrain="domain", visible=bool(axes[1]))
    if square:
        figure.update_yaxes(scaleanchor="x", scaleratio=1)
    return finish(figure, title, caption).update_layout(margin={"b": 60})
