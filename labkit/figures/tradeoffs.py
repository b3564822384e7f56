"""Figures of sparse training: accuracy over density and over FLOPs, published beside measured in dashed grey."""

import math

import pandas as pd
import plotly.graph_objects as go

from labkit.figures.style import COLOURS, PUBLISHED, finish, published_note
from labkit.studies.tables import GROUPS, SPREADS

_SYMBOLS = {"Random": "circle", "ERK": "square", "ER": "diamond", "": "triangle-up"}
_DASHES = {"Random": "solid", "ERK": "dot", "ER": "dashdot", "": "solid"}


def by_density(
    outcomes: pd.DataFrame, *, title: str, published: pd.DataFrame | None = None, published_as: str = ""
) -> go.Figure:
    """Test accuracy over density, a line a method and init (Sundar & Dwaraknath 2021, Figure 1).

    Args:
        outcomes: what `sparse_metrics.ends` gave; its dense row becomes a level line.
        title: the finding.
        published: rows with method, init, density and accuracy in percent, drawn where method and init agree.
        published_as: in what the published networks differ from these (`Settings.published_as`), for the caption.
    """
    figure = go.Figure()
    sparse = outcomes[outcomes["group"] != GROUPS[3]]
    if published is not None:
        _published(figure, published, sparse, "density")
    _measured(figure, sparse, "density")
    _density_axis(figure, sorted(set(sparse["density"])))
    _dense_line(figure, outcomes)
    return _finish(figure, outcomes, title, published, published_as)


def by_flops(
    outcomes: pd.DataFrame,
    costs: pd.DataFrame,
    *,
    title: str,
    published: pd.DataFrame | None = None,
    published_as: str = "",
    over: str = "test_flops",
) -> go.Figure:
    """Test accuracy over FLOPs, a line a method and init (Sundar & Dwaraknath 2021, Figure 3: to test).

    Args:
        outcomes: what `sparse_metrics.ends` gave.
        costs: what `sparse_metrics.costs` gave, for the same rows.
        title: the finding.
        published: rows with method, init, accuracy in percent, and `over` (a ratio).
        published_as: as of `by_density`.
        over: "test_flops" (inference) or "train_flops".
    """
    figure = go.Figure()
    keys = ["method", "init", "density"]
    table = outcomes.merge(costs[[*keys, over]], on=keys)
    sparse = table[table["group"] != GROUPS[3]]
    if published is not None:
        _published(figure, published, sparse, over)
    _measured(figure, sparse, over)
    kind = {"test_flops": "inference", "train_flops": "training"}[over]
    figure.update_xaxes(title=f"{kind} FLOPs, of the dense network's", rangemode="tozero", tickformat=".2~f")
    _dense_line(figure, outcomes)
    return _finish(figure, outcomes, title, published, published_as)


def _measured(figure: go.Figure, table: pd.DataFrame, x: str) -> None:
    methods = list(dict.fromkeys(table["method"]))
    lines = _lines(table)
    for number, (method, init, part) in enumerate(lines):
        line = part.groupby("density").agg(x=(x, "mean"), y=("test_accuracy", "mean"), std=("test_accuracy", "std"))
        line = line.sort_values("x", ascending=x != "density")
        if x == "density":  # side by side, where they would hide each other
            line["x"] *= 1.012 ** ((len(lines) - 1) / 2 - number)
        figure.add_trace(
            go.Scatter(
                x=line["x"].round(5), y=(100 * line["y"]).round(3), name=f"{method} {init}".strip(),
                mode="lines+markers", marker={"size": 8, "symbol": _SYMBOLS[init]},
                line={"color": COLOURS[methods.index(method) % len(COLOURS)], "dash": _DASHES[init], "width": 2},
                error_y={"array": (100 * line["std"]).fillna(0).round(3), "thickness": 1, "width": 3},
            )
        )  # fmt: skip


def _published(figure: go.Figure, table: pd.DataFrame, measured: pd.DataFrame, x: str) -> None:
    table = table.assign(init=table["init"].where(~table["method"].isin(["Pruning", "Lottery"]), ""))
    table = table[table["init"].isin([*SPREADS, ""])]
    wanted = set(zip(measured["method"], measured["init"], strict=True))
    for method, init, part in _lines(table):
        if (method, init) in wanted:
            part = part.sort_values(x)
            first = not figure.data
            figure.add_trace(
                go.Scatter(x=part[x], y=part["accuracy"], name="published", legendgroup="published", line=PUBLISHED,
                           showlegend=first, mode="lines+markers", marker={"symbol": _SYMBOLS[init], "size": 5},
                           hovertemplate=f"published, {method} {init}: %{{y:.2f}} %<extra></extra>")
            )  # fmt: skip


def _lines(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    return [(str(m), str(i), part) for (m, i), part in table.groupby(["method", "init"], sort=False)]


def _density_axis(figure: go.Figure, densities: list[float]) -> None:
    low, high = min(densities), max(densities)
    ticks = sorted({*densities, *(t for t in (0.05, 0.1, 0.2, 0.5) if low <= t <= high)})
    figure.update_xaxes(title="density", type="log", range=[math.log10(high * 1.15), math.log10(low / 1.15)],
                        tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])  # fmt: skip


def _dense_line(figure: go.Figure, outcomes: pd.DataFrame) -> None:
    dense = outcomes[outcomes["group"] == GROUPS[3]]["test_accuracy"]
    if len(dense):
        figure.add_hline(100 * dense.mean(), line={"color": "#222", "dash": "dashdot", "width": 1},
                         annotation_text="dense", annotation_position="bottom right")  # fmt: skip


def _finish(
    figure: go.Figure, outcomes: pd.DataFrame, title: str, published: pd.DataFrame | None, published_as: str
) -> go.Figure:
    figure.update_yaxes(title="test accuracy, %")
    caption = f"points: mean of {outcomes['seed'].nunique()} seeds; bars: their standard deviation"
    if published is not None:
        caption += published_note("dashed grey: published", published_as)
    return finish(figure, title, caption)
