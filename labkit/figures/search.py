"""Figures of tuning: what was tried, and accuracy over the learning rate."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import COLOURS, finish, ranges


def trials(table: pd.DataFrame, *, title: str, reference: tuple[float, int], panels: str = "network") -> go.Figure:
    """What a tuning tried, coloured by validation accuracy; a ring around the best, a cross at the reference.

    Args:
        table: columns rate, every, validation_accuracy, and `panels`.
        title: the finding.
        reference: (rate, every) that it is compared with.
        panels: the column that has a panel for each value, three a row.
    """
    values = list(table[panels].unique())
    wide, rows = min(3, len(values)), -(-len(values) // 3)
    figure = make_subplots(rows, wide, subplot_titles=values, shared_yaxes=True, shared_xaxes=True,
                           horizontal_spacing=0.05, vertical_spacing=0.16)  # fmt: skip
    for n, value in enumerate(values):
        place = {"row": n // wide + 1, "col": n % wide + 1}
        part = table[table[panels] == value]
        best = part.loc[[part["validation_accuracy"].idxmax()]]
        first = n == 0
        marker = {"size": 12, "color": 100 * part["validation_accuracy"], "coloraxis": "coloraxis"}
        figure.add_trace(go.Scatter(x=part["every"], y=part["rate"], mode="markers", marker=marker, name="trial",
                                    showlegend=False), **place)  # fmt: skip
        figure.add_trace(
            go.Scatter(x=best["every"], y=best["rate"], mode="markers", name="best on validation", showlegend=first,
                       marker={"symbol": "circle-open", "size": 20, "color": "#000", "line": {"width": 2}}), **place,
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(x=[reference[1]], y=[reference[0]], mode="markers", name="reference", showlegend=first,
                       marker={"symbol": "x-thin", "size": 12, "line": {"color": COLOURS[1], "width": 3}}), **place,
        )  # fmt: skip
        figure.update_xaxes(title="iterations between updates" if place["row"] == rows else None, **place)
        figure.update_yaxes(title="drop fraction alpha" if place["col"] == 1 else None, **place)
    finish(figure, title, "each point: a trial, a mean over seeds", height=240 + 300 * rows)
    bar = {"title": "validation<br>accuracy, %", "len": 0.9}
    return figure.update_layout(coloraxis={"colorscale": "Cividis", "colorbar": bar}, legend={"y": -0.3 / rows})


def learning_rates(table: pd.DataFrame, *, title: str, lines: str = "setting", panels: str = "density") -> go.Figure:
    """Accuracy over the learning rate, a line a setting, a panel a density (Figure 2 of Sundar & Dwaraknath 2021).

    Args:
        table: columns lr, seed, test_accuracy (a fraction), and those named next.
        title: the finding.
        lines, panels: columns that tell lines and panels apart.
    """
    values = sorted(table[panels].unique())
    figure = make_subplots(1, len(values), shared_yaxes=True, horizontal_spacing=0.05,
                           subplot_titles=[f"{100 * value:g} % of the weights" for value in values])  # fmt: skip
    rates = sorted(table["lr"].unique())
    for column, value in enumerate(values, start=1):
        for name, colour in zip(table[lines].unique(), COLOURS, strict=False):
            part = table[(table[panels] == value) & (table[lines] == name)]
            line = 100 * part.groupby("lr")["test_accuracy"].agg(["mean", "min", "max"])
            figure.add_trace(
                go.Scatter(x=line.index, y=line["mean"], name=str(name), legendgroup=str(name), mode="lines+markers",
                           line={"color": colour}, showlegend=column == 1,
                           error_y=ranges(line)), 1, column,
            )  # fmt: skip
        figure.update_xaxes(title="learning rate", type="log", tickvals=rates, ticktext=[f"{rate:g}" for rate in rates],
                            row=1, col=column)  # fmt: skip
    figure.update_yaxes(title="test accuracy, %", row=1, col=1)
    count = table["seed"].nunique()
    return finish(figure, title, f"points: mean of {count} networks; bars: lowest to highest of them")
