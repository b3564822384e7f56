"""Figures of sparse training: masks that move, where the density goes and what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from labkit.figures.style import COLOURS, PUBLISHED, finish, published_note, ranges
from labkit.sparsity.schedules import cosine

# what an update did to a connection -> its colour, told apart by lightness alone
STATES = {
    "inactive": "#ececec",
    "kept": "#56B4E9",
    "dropped": "#D55E00",
    "grown": "#000000",
    "dropped and grown again": "#CC79A7",
}


def change(before: Tensor, survived: Tensor, grown: Tensor) -> Tensor:
    """What an update did to each connection, as positions in `STATES`.

    Args:
        before: bool, the mask before.
        survived, grown: bool, what `labkit.sparsity.topology.drop_and_grow` gave.

    Returns:
        int, the same shape.

    >>> import torch
    >>> on = torch.tensor([False, True, True, False, True])
    >>> change(on, torch.tensor([False, True, False, False, False]), torch.tensor([False, False, False, True, True]))
    tensor([0, 1, 2, 3, 4])
    """
    dropped = before & ~survived
    return survived.long() + 2 * (dropped & ~grown).long() + 3 * (grown & ~before).long() + 4 * (grown & before).long()


def mask_updates(
    updates: Mapping[str, Tensor],
    *,
    title: str,
    values: Mapping[str, Tensor] | None = None,
    columns: int = 1,
    x: str = "input",
    y: str = "output",
) -> go.Figure:
    """A layer's mask at each update, one square a connection.

    Args:
        updates: heading -> what `change` gave, (outputs, inputs).
        title: the finding.
        values: heading -> a number to write into each square, the same shape.
        columns: panels side by side.
        x, y: names of the axes.
    """
    rows = -(-len(updates) // columns)
    figure = make_subplots(rows, columns, subplot_titles=list(updates), horizontal_spacing=0.06,
                           vertical_spacing=0.32 / rows)  # fmt: skip
    names, last = list(STATES), len(STATES) - 1
    scale = [(edge / len(STATES), colour) for n, colour in enumerate(STATES.values()) for edge in (n, n + 1)]
    for n, (heading, codes) in enumerate(updates.items()):
        place = {"row": n // columns + 1, "col": n % columns + 1}
        text = [[f"{number:.1f}" for number in row] for row in values[heading].tolist()] if values else None
        figure.add_trace(
            go.Heatmap(z=codes.tolist(), zmin=-0.5, zmax=last + 0.5, colorscale=scale, showscale=False, xgap=1, ygap=1,
                       text=text, texttemplate="%{text}" if text else None, hoverinfo="skip" if text else "x+y"),
            **place,
        )  # fmt: skip
        figure.update_xaxes(showgrid=False, title=x if place["row"] == rows else None, **place)
        figure.update_yaxes(showgrid=False, autorange="reversed", title=y if n % columns == 0 else None, **place)
    seen = sorted({code for codes in updates.values() for code in codes.unique().tolist()})
    for code in seen:
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="markers", name=names[code],
                       marker={"symbol": "square", "size": 13, "color": STATES[names[code]],
                               "line": {"color": "#888", "width": 1}}), 1, 1,
        )  # fmt: skip
    height, low = (260, -0.34) if columns > 1 else (150, -0.42 / rows)
    finish(figure, title, "each square is a connection", height=210 + height * rows)
    return figure.update_layout(legend={"y": low})


def pixels(counts: Mapping[str, Tensor], *, title: str) -> go.Figure:
    """Connections that each pixel has, one panel a moment, on one colour scale.

    Args:
        counts: heading -> (height, width).
        title: the finding.
    """
    figure = make_subplots(1, len(counts), subplot_titles=list(counts), horizontal_spacing=0.06)
    highest = max(int(count.max()) for count in counts.values())
    for column, count in enumerate(counts.values(), start=1):
        figure.add_trace(
            go.Heatmap(z=count.tolist(), zmin=0, zmax=highest, colorscale="Cividis", xgap=1, ygap=1,
                       colorbar={"title": "active<br>connections"}, showscale=column == len(counts)), 1, column,
        )  # fmt: skip
        figure.update_xaxes(title="pixel column", showgrid=False, constrain="domain", row=1, col=column)
        figure.update_yaxes(autorange="reversed", showgrid=False, scaleanchor=f"x{column if column > 1 else ''}",
                            row=1, col=column)  # fmt: skip
    figure.update_yaxes(title="pixel row", row=1, col=1)
    return finish(figure, title, "brighter: more active connections", height=420)


def drop_schedule(rates: Sequence[float], until: int, updates: Sequence[int], *, title: str) -> go.Figure:
    """The drop fraction as it falls along half a cosine, and the updates that read it.

    Args:
        rates: drop fractions at the start (alpha), a line each.
        until: the iteration at which they are zero (T_end).
        updates: iterations of updates.
        title: the finding.
    """
    figure = go.Figure()
    for rate, colour in zip(rates, COLOURS, strict=False):
        curve = cosine(rate, until)
        steps = [round(until * n / 100) for n in range(101)]
        figure.add_scatter(x=steps, y=[100 * curve(step) for step in steps], mode="lines", line={"color": colour},
                           name=f"alpha = {rate:g}")  # fmt: skip
        figure.add_scatter(x=list(updates), y=[100 * curve(step) for step in updates], mode="markers",
                           marker={"color": colour, "size": 8}, showlegend=False)  # fmt: skip
    figure.update_xaxes(title="training iteration")
    figure.update_yaxes(title="active connections dropped, %", rangemode="tozero")
    return finish(figure, title, "dots: the updates")


def densities(
    table: pd.DataFrame, layers: Sequence[str], *, title: str, by: str = "method", dash: str = ""
) -> go.Figure:
    """Density of each layer, from the first to the last.

    Args:
        table: `SparseRun.densities()` of several runs at their last step, with a column `by`.
        layers: all of them, in order; those that a run does not mask are dense.
        title: the finding.
        by: the column that tells colours apart.
        dash: the column whose second value is dotted.
    """
    figure = go.Figure()
    for name, style, rows in _lines(table, by, dash):
        share = (100 * (rows["kept"] / rows["size"])).groupby(rows["layer"]).mean()
        share = share.reindex(list(layers), fill_value=100.0)
        figure.add_scatter(x=list(range(len(layers))), y=share, name=name, mode="lines+markers", line=style)
    figure.update_xaxes(title="layer, from input to output", tickvals=list(range(len(layers))), tickangle=-40,
                        ticktext=[layer.removesuffix(".weight") for layer in layers])  # fmt: skip
    figure.update_yaxes(title="active weights, %", rangemode="tozero")
    finish(figure, title, f"mean of {table['seed'].nunique()} networks", height=600)
    return figure.update_layout(legend={"y": -0.36})


def inference_cost(
    table: pd.DataFrame, *, title: str, by: str = "method", dash: str = "", published: float | None = None,
    published_as: str = "",
) -> go.Figure:  # fmt: skip
    """Inference FLOPs while masks move (Figure 4 of Sundar & Dwaraknath 2021).

    Args:
        table: `SparseRun.inference_flops()` of several runs, with a column `by`.
        title: the finding.
        by: the column that tells colours apart.
        dash: the column whose second value is dotted.
        published: ratio that redistribution ends at, drawn across.
        published_as: in what the published networks differ from these (`Settings.published_as`), for the caption.
    """
    figure = go.Figure()
    for name, style, rows in _lines(table, by, dash):
        line = rows.groupby("step")["ratio"].agg(["mean", "min", "max"]).reset_index()
        line = line.iloc[sorted({round(n * (len(line) - 1) / 99) for n in range(100)})]
        figure.add_scatter(
            x=line["step"], y=line["mean"], name=name, mode="lines+markers", marker={"size": 4},
            line={**style, "shape": "hv"}, error_y=ranges(line, width=2),
        )  # fmt: skip
    if published is not None:
        ends = [int(table["step"].min()), int(table["step"].max())]
        figure.add_scatter(x=ends, y=[published, published], mode="lines", line=PUBLISHED, name="published, at the end")
    figure.update_xaxes(title="training iteration")
    figure.update_yaxes(title="inference FLOPs / those of dense", rangemode="tozero")
    caption = f"lines: mean of {table['seed'].nunique()} networks; bars: lowest to highest of them"
    if published is not None:
        caption += published_note("dashed grey: published, at the end", published_as)
    return finish(figure, title, caption)


def _lines(table: pd.DataFrame, by: str, dash: str) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Name, style and rows of each line: a colour for each value of `by`, a dash for each of `dash`."""
    colours = dict(zip(table[by].unique(), COLOURS, strict=False))
    for kind, style in zip(table[dash].unique() if dash else [""], ("solid", "dot", "dash"), strict=False):
        for name, colour in colours.items():
            rows = table[(table[by] == name) & (table[dash] == kind)] if dash else table[table[by] == name]
            if not rows.empty:
                yield ", ".join(filter(None, (str(name), str(kind)))), {"color": colour, "dash": style}, rows
