"""One level of a search: its learning curves beside the accuracy of all levels, with the place of this one."""

from collections.abc import Iterable

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import (
    COLOURS,
    NAMES,
    PUBLISHED,
    finish,
    in_percent,
    networks,
    published_note,
    ranges,
    thin,
    weights_axis,
)
from labkit.studies.metrics import spread

METRICS = {"accuracy_at_end": "test_acc_at_last_iteration", "accuracy_at_early_stop": "test_acc_at_early_stop"}
SERIES = {"ticket": "winning_ticket"}


def level(
    evaluations: pd.DataFrame, outcomes: pd.DataFrame, at: int, arms: Iterable[str], *,
    value: str = "accuracy_at_end", published: pd.DataFrame | None = None,
) -> go.Figure:  # fmt: skip
    """Test accuracy while training at a level, and accuracy over the weights left, where the level is marked.

    The same traces stand in the same order for all levels, so that a widget changes them in place.

    Args:
        evaluations: what `metrics.curves` gave; of one seed, or several.
        outcomes: what `metrics.outcomes` or `ends` gave of them.
        at: which level.
        arms: branches that are shown, in the order of their colours.
        value: a column of `outcomes`, a key of `METRICS`.
        published: rows of the table "lth" of this network.
    """
    figure = make_subplots(1, 2, subplot_titles=["While training", _heading(value)], horizontal_spacing=0.1)
    left = float(evaluations[evaluations["level"] == at]["percent_remaining"].mean())
    shown = evaluations[evaluations["level"] == at]
    for index, arm in enumerate(arms):
        colour, dash = COLOURS[index % len(COLOURS)], "dot" if arm.startswith("random") else "solid"
        name = NAMES.get(arm, arm)
        _curve(figure, shown[shown["branch"] == arm], name, colour, dash)
        _over_weights(figure, outcomes[outcomes["branch"] == arm], value, name, colour, dash)
        if published is not None:
            _published(figure, published, SERIES.get(arm, arm), left, METRICS[value], outcomes, shown)
    weights_axis(figure, 1, 2, float(outcomes["percent_remaining"].min()))
    figure.add_vline(x=left, line={"color": "#444", "dash": "dot", "width": 1.5}, row=1, col=2)
    figure.update_yaxes(title="test accuracy, %", range=_window(evaluations), row=1, col=1)
    figure.update_yaxes(title="test accuracy, %", row=1, col=2)
    figure.update_xaxes(title="training iteration", row=1, col=1)
    many = outcomes.groupby(["branch", "level"]).size().max() > 1
    caption = f"mean of {networks(shown)} here; bands and bars: lowest to highest" if many else "one network each"
    caption += "; dotted line: the level on the left" + (published_note("dashed grey: published", "")
                                                         if published is not None else "")  # fmt: skip
    return finish(figure, "", caption)


def _heading(value: str) -> str:
    return "At the end of training" if value == "accuracy_at_end" else "At early stop"


def _window(evaluations: pd.DataFrame) -> list[float]:
    """From just under all levels' last three quarters to just above the highest, in percent; the same for all."""
    late = evaluations[evaluations["iteration"] >= evaluations["iteration"].max() / 4]["test_accuracy"]
    return [100 * float(late.min()) - 0.4, min(100.2, 100 * float(evaluations["test_accuracy"].max()) + 0.3)]


def _curve(figure: go.Figure, rows: pd.DataFrame, name: str, colour: str, dash: str) -> None:
    """A mean with its band; both without points where the level has no such network."""
    line = thin(spread(rows, ["iteration"], "test_accuracy"))
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    figure.add_scatter(
        x=[*line["iteration"], *reversed(line["iteration"].tolist())],
        y=[*in_percent(line["max"]), *reversed(in_percent(line["min"]))], fill="toself", mode="lines",
        fillcolor=f"rgba({red},{green},{blue},0.15)", line={"width": 0}, hoverinfo="skip", showlegend=False,
        row=1, col=1,
    )  # fmt: skip
    figure.add_scatter(x=line["iteration"], y=in_percent(line["mean"]), name=name, legendgroup=name, mode="lines",
                       line={"color": colour, "dash": dash, "width": 2}, row=1, col=1)  # fmt: skip


def _over_weights(figure: go.Figure, rows: pd.DataFrame, value: str, name: str, colour: str, dash: str) -> None:
    line = spread(rows, ["level"], value).set_index("level")
    left = rows.groupby("level")["percent_remaining"].mean()
    figure.add_scatter(x=left, y=100 * line["mean"], name=name, legendgroup=name, showlegend=False,
                       mode="lines+markers", marker={"size": 6}, line={"color": colour, "dash": dash, "width": 2},
                       error_y=ranges(line, 100.0), row=1, col=2)  # fmt: skip


def _published(
    figure: go.Figure, table: pd.DataFrame, series: str, left: float, metric: str, outcomes: pd.DataFrame,
    shown: pd.DataFrame,
) -> None:  # fmt: skip
    """The published curve at about so many weights left, and over the weights; empty where nothing was published."""
    rows = table[table["series"] == series]
    curve = rows[(rows["metric"] == "test_acc_at_iteration") & ((rows["P_m_percent"] / left - 1).abs() < 0.03)]
    curve = curve[curve["iteration"] <= shown["iteration"].max()].sort_values("iteration")
    over = rows[(rows["metric"] == metric) & (rows["P_m_percent"] >= 0.95 * outcomes["percent_remaining"].min())]
    over = over.sort_values("P_m_percent", ascending=False)
    name = f"published {series.replace('_', ' ')}"
    style = {**PUBLISHED, "dash": "dash" if series in SERIES.values() else "dot"}
    for column, x, line in ((1, "iteration", curve), (2, "P_m_percent", over)):
        figure.add_scatter(x=line[x], y=in_percent(line["value"]), name=name, legendgroup=name, mode="lines",
                           line=style, showlegend=bool(column == 1 and (len(curve) or len(over))),
                           row=1, col=column)  # fmt: skip
