"""Figures of a run replayed: what one mask update did, how long connections lived, what the masks cost over time."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from labkit.figures.mask_changes import STATES
from labkit.figures.style import COLOURS, finish

CHANGE = [[0.0, STATES["dropped"]], [0.5, "#f7f7f7"], [1.0, STATES["kept"]]]


def replayed(
    changes: pd.DataFrame, lifetimes: pd.DataFrame, densities: pd.DataFrame, cost: pd.DataFrame, *,
    pixels: bool = False, signed: bool = False, title: str = "",
) -> go.Figure:  # fmt: skip
    """A run before its first update: what updates do by pixel (else over all updates) and by layer, lifetimes, cost.

    Args:
        changes, lifetimes: of a `labkit.studies.replays.Replay`.
        densities: step, layer, kept, size: as of `SparseRun.densities`, of one network.
        cost: step, ratio: as of `SparseRun.inference_flops`, of one network.
        pixels: whether connections of input pixels are shown (`show_update` says which).
        signed: whether that is those grown less those dropped; else those active.
        title: the finding.
    """
    by_pixel = "grown less dropped, by pixel" if signed else "active connections, by pixel"
    headings = (by_pixel if pixels else "over all updates", "this update, by layer", "how long connections lived",
                "what the masks cost")  # fmt: skip
    figure = make_subplots(2, 2, horizontal_spacing=0.14, vertical_spacing=0.24, subplot_titles=headings)
    if pixels:
        _pixels(figure, signed)
    else:
        _totals(figure, changes)
    _layers(figure, [str(layer) for layer in changes["layer"].unique()])
    _lifetimes(figure, lifetimes)
    _cost(figure, densities, cost)
    step = densities["step"].min()
    figure.add_scatter(x=[step, step], y=[0, 100], mode="lines", line={"color": "#888", "width": 1, "dash": "dot"},
                       name="this update", row=2, col=2)  # fmt: skip
    figure.update_xaxes(title_standoff=6)
    caption = "alive at the end: these live at least so long; dropped and grown again at once counts as two lives"
    finish(figure, title, caption, height=740)
    return figure.update_layout(barmode="group", legend={"y": -0.11}, margin={"b": 180})


def show_update(figure: go.Figure, changes: pd.DataFrame, update: int, step: int, pixels: Tensor | None = None) -> None:
    """Let what `replayed` gave show an update; what does not depend on it is not touched.

    Args:
        figure: changed in place.
        changes: as of `replayed`.
        update: which, from 0 (before the first).
        step: training steps done after it.
        pixels: connections of each input pixel, or those grown less those dropped: (height, width).
    """
    rows = changes[changes["update"] == update].set_index("layer").reindex(changes["layer"].unique())
    for trace in figure.data:
        if trace.type == "heatmap" and pixels is not None:
            most = max(1, int(pixels.abs().max()))
            trace.update(z=pixels.tolist(), zmax=most, zmin=-most if trace.meta == "signed" else 0)
        elif trace.type == "bar" and trace.name in ("dropped", "grown"):
            counts = rows[trace.name]
            trace.update(y=(100 * counts / rows["before"]).fillna(0), customdata=counts.fillna(0))
        elif trace.name == "this update":
            trace.x = [step, step]
        elif trace.name in ("all dropped", "all grown"):
            trace.marker.size = [9 if number == update else 3 for number in trace.x]


def _pixels(figure: go.Figure, signed: bool) -> None:
    figure.add_trace(
        go.Heatmap(z=[[0]], meta="signed" if signed else "", colorscale=CHANGE if signed else "Cividis",
                   colorbar={"x": 0.41, "y": 0.82, "len": 0.4, "thickness": 10},
                   hovertemplate="row %{y}, column %{x}: %{z}<extra></extra>"), 1, 1,
    )  # fmt: skip
    figure.update_xaxes(title="pixel column", showgrid=False, constrain="domain", row=1, col=1)
    figure.update_yaxes(title="pixel row", showgrid=False, autorange="reversed", scaleanchor="x", constrain="domain",
                        row=1, col=1)  # fmt: skip


def _totals(figure: go.Figure, changes: pd.DataFrame) -> None:
    total = changes.groupby("update")[["dropped", "grown"]].sum()
    for name, dash in (("dropped", "solid"), ("grown", "dot")):
        figure.add_scatter(x=total.index, y=total[name], mode="lines+markers", name=f"all {name}", showlegend=False,
                           line={"color": STATES[name], "dash": dash}, row=1, col=1)  # fmt: skip
    figure.update_xaxes(title="update", row=1, col=1)
    figure.update_yaxes(title="connections", rangemode="tozero", row=1, col=1)


def _layers(figure: go.Figure, layers: list[str]) -> None:
    names = [layer.removesuffix(".weight") for layer in layers]
    for name in ("dropped", "grown"):
        figure.add_bar(x=names, y=[0] * len(names), name=name, marker={"color": STATES[name]}, row=1, col=2,
                       hovertemplate="%{x}: %{customdata:,.0f} connections, %{y:.1f} %<extra>" + name + "</extra>",
                       )  # fmt: skip
    figure.update_yaxes(title="of active ones, %", rangemode="tozero", row=1, col=2)


def _lifetimes(figure: go.Figure, lifetimes: pd.DataFrame) -> None:
    for ended, name, colour in (
        (True, "dropped after so long", "#8c8c8c"),
        (False, "alive at the end", STATES["kept"]),
    ):
        rows = lifetimes[lifetimes["ended"] == ended]
        figure.add_bar(x=rows["updates"], y=rows["connections"], name=name, marker={"color": colour}, row=2, col=1)
    figure.update_xaxes(title="lifetime, updates", row=2, col=1)
    figure.update_yaxes(title="connections", type="log", dtick=1, row=2, col=1)


def _cost(figure: go.Figure, densities: pd.DataFrame, cost: pd.DataFrame) -> None:
    for (layer, rows), colour in zip(densities.groupby("layer", sort=False), COLOURS * 20, strict=False):
        figure.add_scatter(x=rows["step"], y=100 * rows["kept"] / rows["size"], mode="lines",
                           line={"color": colour, "shape": "hv"}, name=str(layer).removesuffix(".weight"), row=2,
                           col=2, showlegend=densities["layer"].nunique() <= 6)  # fmt: skip
    figure.add_scatter(x=cost["step"], y=100 * cost["ratio"], mode="lines", name="inference FLOPs", row=2, col=2,
                       line={"color": "#000000", "dash": "dash", "shape": "hv"})  # fmt: skip
    figure.update_xaxes(title="training iteration", row=2, col=2)
    figure.update_yaxes(title="of dense, %", range=[0, 102], row=2, col=2)
