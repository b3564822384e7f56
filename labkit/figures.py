"""Figures from tidy tables: measured in colour, published in dashed grey, weights left falling from left to right."""

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from labkit.metrics import spread

# Okabe & Ito's colours, told apart by colour-blind readers, ordered by contrast on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PUBLISHED = {"color": "#8c8c8c", "dash": "dash", "width": 1.5}
NAMES = {"ticket": "winning ticket", "random_reinit": "random reinit", "random_sparse": "random sparse"}
MAX_POINTS = 60

pio.templates["labkit"] = go.layout.Template(
    layout={
        "font": {"family": "DejaVu Sans, Verdana, Arial, sans-serif", "size": 13, "color": "#222"},
        "title": {"font": {"size": 16}, "x": 0.01, "xanchor": "left", "y": 0.97, "yanchor": "top"},
        "plot_bgcolor": "white",
        "paper_bgcolor": "white",
        "colorway": list(COLOURS),
        "xaxis": {
            "gridcolor": "#e8e8e8",
            "linecolor": "#888",
            "ticks": "outside",
            "zeroline": False,
            "automargin": True,
        },
        "yaxis": {
            "gridcolor": "#e8e8e8",
            "linecolor": "#888",
            "ticks": "outside",
            "zeroline": False,
            "automargin": True,
        },
        "legend": {"bgcolor": "rgba(255,255,255,0.8)"},
        "margin": {"l": 70, "r": 20, "t": 95, "b": 110},
        "hovermode": "closest",
    }
)
pio.renderers.default = "plotly_mimetype"


def learning_curves(
    evaluations: pd.DataFrame,
    panels: Sequence[tuple[str, Sequence[tuple[str, int]]]],
    *,
    title: str,
    published: pd.DataFrame | None = None,
    until: int | None = None,
    floor: float | None = None,
) -> go.Figure:
    """Test accuracy while training, mean over networks with the range from the lowest to the highest (LTH Figure 3).

    Args:
        evaluations: what `metrics.curves` gave.
        panels: a title and its (branch, level) lines, from left to right.
        title: the finding.
        published: rows of the table "lth" with metric `test_acc_at_iteration`, drawn where P_m and series agree.
        until: last iteration shown.
        floor: lowest accuracy shown, as a fraction; default just under the curves' second half.
    """
    until = until or int(evaluations["iteration"].max())
    shown = evaluations[evaluations["iteration"] <= until]
    if floor is None:
        wanted = {line for _, lines in panels for line in lines}
        late = shown[shown["iteration"] >= shown["iteration"].max() / 4]
        late = late[[pair in wanted for pair in zip(late["branch"], late["level"], strict=True)]]
        floor = float(late["test_accuracy"].min()) - 0.004
    ceiling = float(shown["test_accuracy"].max()) + 0.003
    figure = make_subplots(1, len(panels), subplot_titles=[name for name, _ in panels], shared_yaxes=True,
                           horizontal_spacing=0.03)  # fmt: skip
    levels = sorted({level for _, lines in panels for _, level in lines})
    for column, (_, lines) in enumerate(panels, start=1):
        for branch, level in lines:
            rows = shown[(shown["branch"] == branch) & (shown["level"] == level)]
            if rows.empty:
                continue
            percent = float(rows["percent_remaining"].mean())
            name = f"{NAMES.get(branch, branch)}, {percent:.3g} %"
            colour = COLOURS[levels.index(level) % len(COLOURS)]
            dash = "solid" if branch == "ticket" else "dot"
            table = _thin(spread(rows, ["iteration"], "test_accuracy"))
            _band(figure, table, "iteration", colour, column)
            figure.add_trace(
                go.Scatter(
                    x=table["iteration"], y=_percent(table["mean"]), name=name, legendgroup=name, mode="lines",
                    line={"color": colour, "dash": dash, "width": 2},
                    showlegend=not any(trace.name == name for trace in figure.data),
                ), 1, column,
            )  # fmt: skip
            if published is not None:
                _published_curve(figure, published, branch, percent, column, until)
        figure.update_xaxes(title="training iteration", row=1, col=column)
    figure.update_yaxes(title="test accuracy, %", row=1, col=1)
    figure.update_yaxes(range=[100 * floor, min(100.0, 100 * ceiling)])
    return _finish(figure, title, f"lines: mean of {_networks(shown)}; bands: lowest to highest of them"
                   + ("; dashed grey: published (digitised)" if published is not None else ""))  # fmt: skip


def _published_curve(
    figure: go.Figure, table: pd.DataFrame, branch: str, percent: float, column: int, until: int
) -> None:
    series = {"ticket": "winning_ticket"}.get(branch, branch)
    rows = table[(table["series"] == series) & (table["metric"] == "test_acc_at_iteration")]
    rows = rows[(rows["P_m_percent"] / percent - 1).abs() < 0.03]
    rows = rows[rows["iteration"] <= until].sort_values("iteration")
    if len(rows):
        first = not any(trace.name == "published" for trace in figure.data)
        figure.add_trace(
            go.Scatter(x=rows["iteration"], y=_percent(rows["value"]), name="published", legendgroup="published",
                       mode="lines", line=PUBLISHED, showlegend=first,
                       hovertemplate=f"published, {percent:.1f} % {series}<br>%{{y:.2f}} %<extra></extra>"),
            1, column,
        )  # fmt: skip


def by_sparsity(
    table: pd.DataFrame, *, title: str, published: pd.DataFrame | None = None, longest: int | None = None
) -> go.Figure:
    """Early-stop iteration and test accuracy at early stop over the weights left (LTH Figure 1).

    Args:
        table: what `metrics.outcomes` gave.
        title: the finding.
        published: rows of the table "lth" for this architecture.
        longest: iterations of a run; published early stops beyond it are cut off.
    """
    figure = make_subplots(1, 2, subplot_titles=("When training would stop early", "Accuracy there"),
                           horizontal_spacing=0.12)  # fmt: skip
    panels = (
        ("early_stop_iteration", "early_stop_iteration", "iteration of the smallest validation loss", 1.0),
        ("accuracy_at_early_stop", "test_acc_at_early_stop", "test accuracy at early stop, %", 100.0),
    )
    low = float(table["percent_remaining"].min())
    branches = sorted(table["branch"].unique(), key=[*NAMES, *table["branch"]].index)
    for column, (value, metric, axis, factor) in enumerate(panels, start=1):
        if published is not None:
            _published_points(figure, published, metric, factor, column, low, longest)
        for index, branch in enumerate(branches):
            rows = spread(table[table["branch"] == branch], ["level", "percent_remaining"], value)
            rows = rows.sort_values("percent_remaining", ascending=False)
            figure.add_trace(
                go.Scatter(
                    x=rows["percent_remaining"], y=factor * rows["mean"], name=NAMES.get(branch, branch),
                    legendgroup=branch, showlegend=column == 1, mode="lines+markers", marker={"size": 6},
                    line={"color": COLOURS[index], "width": 2, "dash": "solid" if branch == "ticket" else "dot"},
                    error_y={"array": factor * (rows["max"] - rows["mean"]), "thickness": 1,
                             "arrayminus": factor * (rows["mean"] - rows["min"]), "width": 3},
                ), 1, column,
            )  # fmt: skip
        figure.update_yaxes(title=axis, row=1, col=column)
        weights_axis(figure, column, low)
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    return _finish(figure, title, f"points: mean of {_networks(table)}; bars: lowest to highest of them"
                   + ("; dashed grey: published (digitised)" if published is not None else ""))  # fmt: skip


def _published_points(
    figure: go.Figure, published: pd.DataFrame, metric: str, factor: float, column: int, low: float, longest: int | None
) -> None:
    rows = published[(published["metric"] == metric) & (published["P_m_percent"] >= 0.95 * low)]
    for number, (series, line) in enumerate(rows.groupby("series")):
        line = line.sort_values("P_m_percent", ascending=False)
        values = factor * line["value"]
        if longest and metric == "early_stop_iteration":
            values = values.where(values <= longest)
        name = f"published {str(series).replace('_', ' ')}"
        dash = "dash" if series == "winning_ticket" else "dot"
        style = {**PUBLISHED, "dash": dash, "color": ("#555", "#999")[number % 2]}
        figure.add_trace(
            go.Scatter(x=line["P_m_percent"], y=values, name=name, legendgroup=name, showlegend=column == 1,
                       mode="lines", line=style), 1, column,
        )  # fmt: skip


def weights_axis(figure: go.Figure, column: int, low: float) -> None:
    """A logarithmic axis of the weights left, from 100 % down, as in the papers."""
    ticks = [t for t in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if t >= 0.8 * low]
    figure.update_xaxes(
        title="weights left, %", type="log", range=[math.log10(120), math.log10(0.85 * low)], tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks], row=1, col=column,
    )  # fmt: skip


def compare_curves(evaluations: pd.DataFrame, *, lines: str, panels: str, title: str, floor: float = 0.0) -> go.Figure:
    """Test accuracy while training, a line for each value of one column and a panel for each of another.

    Args:
        evaluations: what `metrics.curves` gave, with the columns `lines` and `panels` added.
        lines, panels: those columns' names.
        title: the finding.
        floor: lowest accuracy shown, as a fraction.
    """
    values = list(evaluations[panels].unique())
    figure = make_subplots(1, len(values), subplot_titles=values, shared_yaxes=True, horizontal_spacing=0.04)
    for column, value in enumerate(values, start=1):
        for index, line in enumerate(evaluations[lines].unique()):
            rows = evaluations[(evaluations[panels] == value) & (evaluations[lines] == line)]
            if rows.empty:
                continue
            table = _thin(spread(rows, ["iteration"], "test_accuracy"))
            _band(figure, table, "iteration", COLOURS[index], column)
            figure.add_trace(
                go.Scatter(x=table["iteration"], y=_percent(table["mean"]), name=str(line), legendgroup=str(line),
                           showlegend=column == 1, mode="lines", line={"color": COLOURS[index], "width": 2}), 1, column,
            )  # fmt: skip
        figure.update_xaxes(title="training iteration", row=1, col=column)
    figure.update_yaxes(title="test accuracy, %", row=1, col=1)
    figure.update_yaxes(range=[100 * floor, 100 * float(evaluations["test_accuracy"].max()) + 0.5])
    networks = int(evaluations.groupby([lines, panels, "iteration"]).size().max())
    return _finish(figure, title, f"lines: mean of {networks} networks; bands: lowest to highest of them")


def _networks(table: pd.DataFrame) -> str:
    """ "3 networks", or how many of each branch where they differ."""
    counts = {
        NAMES.get(str(branch), str(branch)): int(
            rows.groupby("level")[["seed", "copy"]].apply(lambda g: len(g.drop_duplicates())).max()
        )
        for branch, rows in table.groupby("branch")
    }
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} networks"
    return "; ".join(f"{count} ({name})" for name, count in counts.items()) + " networks"


def _percent(fractions: pd.Series) -> list[float]:
    return [round(100 * value, 3) for value in fractions]


def _thin(table: pd.DataFrame) -> pd.DataFrame:
    """At most about `MAX_POINTS` rows, the first and the last among them: denser at the start, where curves bend."""
    if len(table) <= MAX_POINTS:
        return table
    last = len(table) - 1
    keep = sorted({round(last * (n / (MAX_POINTS - 1)) ** 1.5) for n in range(MAX_POINTS)})
    return table.iloc[keep]


def _band(figure: go.Figure, table: pd.DataFrame, x: str, colour: str, column: int) -> None:
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    outline = {
        "x": [*table[x], *reversed(table[x].tolist())],
        "y": [*_percent(table["max"]), *reversed(_percent(table["min"]))],
    }
    figure.add_trace(
        go.Scatter(**outline, fill="toself", fillcolor=f"rgba({red},{green},{blue},0.15)", line={"width": 0},
                   mode="lines", hoverinfo="skip", showlegend=False), 1, column,
    )  # fmt: skip


def _finish(figure: go.Figure, title: str, caption: str) -> go.Figure:
    figure.update_layout(
        template="labkit", title=title, height=520, width=1000,
        legend={"orientation": "h", "y": -0.26, "yanchor": "top", "x": 0},
    )  # fmt: skip
    figure.add_annotation(text=caption, showarrow=False, xref="paper", yref="paper", x=0, y=1, yshift=26,
                          xanchor="left", yanchor="bottom", font={"size": 11, "color": "#555"})  # fmt: skip
    return figure
