"""Figures by weights left, falling from left to right: measured in colour, published in dashed grey; differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import COLOURS, NAMES, PUBLISHED, finish, networks, published_note, ranges, weights_axis
from labkit.studies.evaluations import want
from labkit.studies.metrics import spread


@dataclass(frozen=True)
class Panel:
    """One panel of `by_sparsity`: a column of `metrics.outcomes`, the published metric beside it, how to show it."""

    column: str
    metric: str
    heading: str
    axis: str
    factor: float = 100.0


STOP = Panel("early_stop_iteration", "early_stop_iteration", "When training would stop early",
             "iteration of smallest validation loss", 1.0)  # fmt: skip
ACCURACY = Panel("accuracy_at_early_stop", "test_acc_at_early_stop", "Accuracy there", "test accuracy, %")
END = Panel("accuracy_at_end", "test_acc_at_last_iteration", "Accuracy at the end", "test accuracy, %")
TRAIN = Panel("train_accuracy_at_early_stop", "train_acc_at_early_stop", "Training accuracy at early stop",
              "training accuracy, %")  # fmt: skip


def at_fraction(fraction: float, iterations: int) -> Panel:
    """The panel of `metrics.at_fractions`' accuracy at a fraction of a run of so many iterations (LTH Figure 7)."""
    heading = f"At iteration {round(fraction * iterations):,}"
    return Panel(f"accuracy_at_{fraction:g}_of_run", "", heading, "test accuracy, %")


def by_sparsity(
    table: pd.DataFrame,
    *,
    title: str,
    panels: Sequence[Panel] = (STOP, ACCURACY),
    columns: int = 2,
    published: pd.DataFrame | None = None,
    published_as: str = "",
    longest: int | None = None,
    dotted: str = "random",
) -> go.Figure:
    """Early-stop iteration and accuracies over the weights left (LTH Figures 1 and 5 to 8).

    Args:
        table: what `metrics.outcomes` or `ends` gave; with a column `network`, each network has a colour of its own.
        title: the finding.
        panels: what to show.
        columns: panels a row; with one row of more than two, they share the vertical axis.
        published: rows of the table "lth" for these architectures.
        published_as: in what the published networks differ from these (`Settings.published_as`), for the caption.
        longest: iterations of a run; published early stops beyond it are cut off.
        dotted: branches whose name begins so are drawn as dotted lines.

    Raises:
        ValueError: for a panel whose column the table has not: of `metrics.ends` there is `END` alone.
    """
    for panel in panels:
        want(table, panel.column)
    rows, shared = -(-len(panels) // columns), 2 < columns == len(panels)
    figure = make_subplots(rows, columns, subplot_titles=[panel.heading for panel in panels], shared_yaxes=shared,
                           horizontal_spacing=0.03 if shared else 0.12,
                           vertical_spacing=0.2 if rows > 1 else 0)  # fmt: skip
    low = float(table["percent_remaining"].min())
    for n, panel in enumerate(panels):
        row, column = n // columns + 1, n % columns + 1
        if published is not None:
            _published_points(figure, published, panel, row, column, low, longest)
        _measured_points(figure, table, panel, row, column, dotted)
        if column == 1 or not shared:
            figure.update_yaxes(title=panel.axis, row=row, col=column)
        if panel.factor == 1:
            figure.update_yaxes(rangemode="tozero", row=row, col=column)
        weights_axis(figure, row, column, low)
    caption = f"points: mean of {networks(table)}; bars: lowest to highest of them"
    if STOP in panels and table["cut_off"].any():
        caption += "; open triangles: a network was still improving at the end, and would have stopped later"
    if published is not None:
        caption += published_note("grey: published (digitised)", published_as)
    finish(figure, title, caption, height=440 * rows if rows > 1 else 520)
    return figure.update_layout(legend={"y": -0.13}) if rows > 1 else figure


def _measured_points(figure: go.Figure, table: pd.DataFrame, panel: Panel, row: int, column: int, dotted: str) -> None:
    architectures = list(table["network"].unique()) if "network" in table else [None]
    branches = sorted(table["branch"].unique(), key=[*NAMES, *table["branch"]].index)
    for number, network in enumerate(architectures):
        for index, branch in enumerate(branches):
            some = table[(table["branch"] == branch) & ((table["network"] == network) if network else True)]
            line = spread(some, ["level", "percent_remaining"], panel.column)
            line = line.sort_values("percent_remaining", ascending=False)
            name = " ".join(filter(None, (network, NAMES.get(branch, branch))))
            cut = set(some[some["cut_off"]]["level"]) if panel == STOP else set()
            symbols = ["triangle-up-open" if level in cut else "circle" for level in line["level"]]
            figure.add_trace(
                go.Scatter(
                    x=line["percent_remaining"], y=panel.factor * line["mean"], name=name, legendgroup=name,
                    showlegend=(row, column) == (1, 1), mode="lines+markers",
                    marker={"size": 8 if cut else 6, "symbol": symbols},
                    line={"color": COLOURS[number if network else index], "width": 2,
                          "dash": "dot" if branch.startswith(dotted) else "solid"},
                    error_y=ranges(line, panel.factor),
                ), row, column,
            )  # fmt: skip


def _published_points(
    figure: go.Figure, published: pd.DataFrame, panel: Panel, row: int, column: int, low: float, longest: int | None
) -> None:
    rows = published[(published["metric"] == panel.metric) & (published["P_m_percent"] >= 0.95 * low)]
    several = published["architecture"].nunique() > 1
    for (network, series), line in rows.groupby(["architecture", "series"]):
        line = line.sort_values("P_m_percent", ascending=False)
        values = panel.factor * line["value"]
        if longest and panel.metric == "early_stop_iteration":
            values = values.where(values <= longest)
        name = f"published {f'{network} ' if several else ''}{str(series).replace('_', ' ')}"
        ticket = series == "winning_ticket"
        style = {**PUBLISHED, "dash": "dash" if ticket else "dot", "color": "#555" if ticket else "#999"}
        figure.add_trace(
            go.Scatter(x=line["P_m_percent"], y=values, name=name, legendgroup=name, mode="lines", line=style,
                       showlegend=not any(trace.name == name for trace in figure.data)), row, column,
        )  # fmt: skip


def differences(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    lines: str,
    panels: str,
    title: str,
    axes: tuple[str, str],
    apart: Sequence[str] = (),
) -> go.Figure:
    """Differences over ordered categories, mean over seeds with bars from the lowest to the highest; zero is marked.

    Args:
        table: a row a seed and category, in the order in which categories are to be shown.
        x: the column of categories.
        y: the column of differences.
        lines, panels: the columns that make lines and panels.
        title: the finding.
        axes: titles of the horizontal and the vertical axis, with units.
        apart: categories that no line joins to the next.
    """
    values = list(table[panels].unique())
    figure = make_subplots(1, len(values), subplot_titles=values, shared_yaxes=True, horizontal_spacing=0.04)
    for column, value in enumerate(values, start=1):
        part = table[table[panels] == value]
        order = [place for value in part[x].unique() for place in ((value, None) if value in apart else (value,))]
        for index, line in enumerate(table[lines].unique()):
            means = spread(part[part[lines] == line], [x], y).set_index(x).reindex(order)
            figure.add_trace(
                go.Scatter(
                    x=order, y=means["mean"], name=str(line), legendgroup=str(line), showlegend=column == 1,
                    mode="lines+markers", marker={"size": 8}, line={"color": COLOURS[index], "width": 2},
                    error_y=ranges(means),
                ), 1, column,
            )  # fmt: skip
        figure.update_xaxes(title=axes[0], type="category", row=1, col=column)
    figure.add_hline(y=0, line={"color": "#888", "width": 1})
    figure.update_yaxes(title=axes[1], row=1, col=1)
    seeds = table.groupby([panels, lines, x])["seed"].nunique().max()
    return finish(figure, title, f"points: mean of {seeds} seeds; bars: lowest to highest of them")
