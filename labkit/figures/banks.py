"""What the cards of a bank say, in one picture."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import COLOURS, NAMES, finish, in_percent, weights_axis


def by_weights_left(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Accuracy of each ticket over the weights it has left, joined to its control's.

    Args:
        table: what `Bank.table` gave, of one model and data set.
        title: the finding.

    Raises:
        ValueError: if there is no ticket, or tickets are of several models or data sets.
    """
    of = table[["model", "data"]].drop_duplicates()
    if len(of) != 1:
        raise ValueError(f"the table is of {len(of)} models and data sets: filter it, such as table(data='mnist')")
    figure = make_subplots(1, 1)
    left = 100 * table["density"]
    pairs = table.dropna(subset="control_accuracy")[["density", "accuracy", "control_accuracy"]]
    for density, *accuracies in pairs.to_numpy(dtype=float).tolist():
        figure.add_trace(
            go.Scatter(x=[100 * density] * 2, y=in_percent(pd.Series(accuracies)), mode="lines",
                       line={"color": "#bbb", "width": 1}, hoverinfo="skip", showlegend=False)
        )  # fmt: skip
    series = {"ticket": table["accuracy"]}
    for control in table["control"].dropna().unique():
        series[control] = table["control_accuracy"].where(table["control"] == control)
    for index, (name, values) in enumerate(series.items()):
        symbol = "circle" if name == "ticket" else "circle-open"
        figure.add_trace(
            go.Scatter(x=left, y=in_percent(values), name=NAMES.get(name, name), mode="markers", text=table["name"],
                       marker={"size": 9, "color": COLOURS[index % len(COLOURS)], "symbol": symbol})
        )  # fmt: skip
    weights_axis(figure, 1, 1, float(left.min()))
    figure.update_yaxes(title="test accuracy, %")
    model, data = of.iloc[0]
    return finish(
        figure, title, f"{model} on {data}; a filled point is a ticket, the open one below or above its control"
    )
