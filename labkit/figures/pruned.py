"""Accuracy of a trained network that was pruned once, by the weights left: guessed, measured, trained again."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import COLOURS, PUBLISHED, finish, in_percent, weights_axis

LINES: dict[str, dict[str, Any]] = {
    "measured": {"name": "pruned, not trained again", "mode": "lines+markers", "line_color": COLOURS[0]},
    "guess": {"name": "your guess", "mode": "markers", "marker": {"symbol": "x-thin-open", "size": 11},
              "marker_color": COLOURS[1]},
    "retrained": {"name": "its ticket, trained from the initial weights", "mode": "markers",
                  "marker": {"symbol": "diamond", "size": 11}, "marker_color": COLOURS[2]},
}  # fmt: skip


def pruned_accuracies(table: pd.DataFrame, density: float, dense: float, title: str, caption: str) -> go.Figure:
    """What is measured, guessed and regained at each density.

    Args:
        table: density, and measured, guess and retrained, fractions (NaN: not there), of one criterion and scope.
        density: that is looked at; a thin line marks it.
        dense: accuracy of the network before, a fraction.
        title: the finding.
        caption: which images, which network.
    """
    figure = make_subplots(1, 1)
    low = 100 * min(density, float(table["density"].min()) if len(table) else 1.0, 0.01)
    figure.add_trace(go.Scatter(x=[100, low], y=[100 * dense] * 2, mode="lines", line=PUBLISHED, name="not pruned",
                                hovertemplate="%{y:.2f} %"))  # fmt: skip
    ordered = table.sort_values("density", ascending=False)
    for column, look in LINES.items():
        there = ordered.dropna(subset=[column])
        figure.add_trace(go.Scatter(x=in_percent(there["density"]), y=in_percent(there[column]), **look,
                                    hovertemplate="%{x:.3g} %: %{y:.2f} %"))  # fmt: skip
    figure.add_trace(go.Scatter(x=[100 * density] * 2, y=[0, 102], mode="lines", line={"color": "#bbb", "width": 1},
                                hoverinfo="skip", showlegend=False))  # fmt: skip
    weights_axis(figure, 1, 1, low)
    figure.update_yaxes(title="test accuracy, %", range=[0, 102])
    return finish(figure, title, caption)
