"""Learning curves: test accuracy while training, measured in colour, published in dashed grey."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import COLOURS, NAMES, PUBLISHED, band, finish, in_percent, networks, published_note, thin
from labkit.studies.metrics import spread

DASHES = ("solid", "dash", "dot")


def learning_curves(
    evaluations: pd.DataFrame,
    panels: Sequence[tuple[str, Sequence[tuple[str, int]]]],
    *,
    title: str,
    published: pd.DataFrame | None = None,
    published_as: str = "",
    until: int | None = None,
    floor: float | None = None,
) -> go.Figure:
    """Test accuracy while training, mean over networks with the range from the lowest to the highest (LTH Figure 3).

    Args:
        evaluations: what `metrics.curves` gave.
        panels: a title and its (branch, level) lines, from left to right.
        title: the finding.
        published: rows of the table "lth" with metric `test_acc_at_iteration`, drawn where P_m and series agree.
        published_as: in what the published networks differ from these (`Settings.published_as`), for the caption.
        until: last iteration shown.
        floor: lowest accuracy shown, as a fraction; default just under the curves' last three quarters.
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
            _curve(figure, rows, name, colour, dash, column)
            if published is not None:
                _published_curve(figure, published, branch, percent, column, until)
        figure.update_xaxes(title="training iteration", row=1, col=column)
    figure.update_yaxes(title="test accuracy, %", row=1, col=1)
    figure.update_yaxes(range=[100 * floor, min(100.0, 100 * ceiling)])
    caption = f"lines: mean of {networks(shown)}; bands: lowest to highest of them"
    if published is not None:
        caption += published_note("dashed grey: published (digitised)", published_as)
    return finish(figure, title, caption)


def _curve(figure: go.Figure, rows: pd.DataFrame, name: str, colour: str, dash: str, column: int) -> None:
    """Mean test accuracy over networks while training, with its band; in the legend once a figure."""
    table = thin(spread(rows, ["iteration"], "test_accuracy"))
    band(figure, table, "iteration", colour, column)
    figure.add_trace(
        go.Scatter(
            x=table["iteration"], y=in_percent(table["mean"]), name=name, legendgroup=name, mode="lines",
            line={"color": colour, "dash": dash, "width": 2},
            showlegend=not any(trace.name == name for trace in figure.data),
        ), 1, column,
    )  # fmt: skip


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
            go.Scatter(x=rows["iteration"], y=in_percent(rows["value"]), name="published", legendgroup="published",
                       mode="lines", line=PUBLISHED, showlegend=first,
                       hovertemplate=f"published, {percent:.1f} % {series}<br>%{{y:.2f}} %<extra></extra>"),
            1, column,
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
            if not rows.empty:
                _curve(figure, rows, str(line), COLOURS[index], "solid", column)
        figure.update_xaxes(title="training iteration", row=1, col=column)
    figure.update_yaxes(title="test accuracy, %", row=1, col=1)
    figure.update_yaxes(range=[100 * floor, 100 * float(evaluations["test_accuracy"].max()) + 0.5])
    count = int(evaluations.groupby([lines, panels, "iteration"]).size().max())
    return finish(figure, title, f"lines: mean of {count} networks; bands: lowest to highest of them")


def overlay(evaluations: pd.DataFrame, *, lines: str, title: str = "") -> go.Figure:
    """Test accuracy while training, a line for each value of a column, mean over networks with their range.

    Args:
        evaluations: rows with run, iteration, test_accuracy (a fraction), and the column `lines`.
        lines: that column's name.
        title: the finding.
    """
    figure = make_subplots(1, 1)
    counts = evaluations.groupby(lines, sort=False)["run"].nunique()
    for index, (line, many) in enumerate(counts.items()):
        name = f"{line} ({many} {'network' if many == 1 else 'networks'})"
        dash = DASHES[index // len(COLOURS) % len(DASHES)]
        _curve(figure, evaluations[evaluations[lines] == line], name, COLOURS[index % len(COLOURS)], dash, 1)
    figure.update_xaxes(title="training iteration")
    late = evaluations[evaluations["iteration"] >= evaluations["iteration"].max() / 4]["test_accuracy"]
    figure.update_yaxes(title="test accuracy, %", range=[
        100 * float(late.min()) - 0.4, min(100.2, 100 * float(evaluations["test_accuracy"].max()) + 0.3)])  # fmt: skip
    return finish(figure, title, "lines: mean of the networks of a group; bands: lowest to highest of them")
