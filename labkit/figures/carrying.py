"""Figures of carried tickets: accuracy by arm and task over the weights left; after how many reuses a search pays."""

import math
from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import COLOURS, PUBLISHED, finish, published_note, ranges, weights_axis
from labkit.studies.metrics import spread

ARMS = {  # arm -> (name in a legend, colour, dash)
    "ticket": ("native ticket", COLOURS[0], "solid"),
    "carried": ("carried ticket", COLOURS[1], "solid"),
    "random_reinit": ("mask alone carried", COLOURS[2], "dash"),
    "init_only": ("weights alone carried", COLOURS[4], "dash"),
    "random_ticket": ("random ticket", COLOURS[3], "dot"),
    "random_sparse": ("random within layers", COLOURS[5], "dot"),
}
DASHES = ("solid", "dash", "dot")
MOST_SAID = 4  # tasks that a title names
SERIES = {"native": "#555", "carried": "#8c8c8c", "random": "#b5b5b5"}


def by_task(
    tables: Mapping[str, pd.DataFrame],
    *,
    title: str,
    value: str = "accuracy_at_end",
    published: Mapping[str, pd.DataFrame] | None = None,
    published_as: str = "",
) -> go.Figure:
    """Accuracy over the weights left, a panel a task, a line an arm.

    Args:
        tables: task -> what `metrics.ends` or `metrics.outcomes` gave there.
        title: the finding.
        value: the column of accuracies.
        published: task -> rows with series (a key of `SERIES`), percent_remaining, value (fraction).
        published_as: in what the published networks differ from these, for the caption.
    """
    columns = min(2, len(tables)) if len(tables) != 3 else 3
    rows = -(-len(tables) // columns)
    figure = make_subplots(rows, columns, subplot_titles=list(tables), horizontal_spacing=0.09,
                           vertical_spacing=0.4 / rows if rows > 1 else 0)  # fmt: skip
    known: set[str] = set()
    for n, (task, table) in enumerate(tables.items()):
        at = (n // columns + 1, n % columns + 1)
        low = float(table["percent_remaining"].min())
        for series, line in (published or {}).get(task, pd.DataFrame({"series": []})).groupby("series"):
            _published(figure, str(series), line[line["percent_remaining"] >= 0.95 * low], at, known)
        for arm in [arm for arm in ARMS if arm in set(table["branch"])]:
            _measured(figure, arm, table[table["branch"] == arm], value, at, known)
        weights_axis(figure, *at, low)
        figure.update_yaxes(title="test accuracy, %" if at[1] == 1 else None, row=at[0], col=at[1])
    caption = f"points: mean of {_seeds(tables, value)} seeds; bars: lowest to highest of them"
    dense = [{"carried"} <= set(table[table["level"] == 0]["branch"]) for table in tables.values()]
    caption += f"; carried point at 100 %{'' if all(dense) else ', where there is one'}: the dense network from the " \
               "carried weights" if any(dense) else ""  # fmt: skip
    drawn = any(not line.empty for line in (published or {}).values())
    caption += published_note("grey: published", published_as) if drawn else ""
    finish(figure, title, caption, height=440 * rows if rows > 1 else 520)
    return figure.update_layout(legend={"y": -0.26 / rows}) if rows > 1 else figure


def _measured(
    figure: go.Figure, arm: str, table: pd.DataFrame, value: str, at: tuple[int, int], known: set[str]
) -> None:
    name, colour, dash = ARMS[arm]
    line = spread(table, ["level"], value).set_index("level")
    line["left"] = table.groupby("level")["percent_remaining"].mean()
    figure.add_trace(
        go.Scatter(
            x=line["left"], y=100 * line["mean"], name=name, legendgroup=name, showlegend=name not in known,
            mode="lines+markers", marker={"size": 6}, line={"color": colour, "width": 2, "dash": dash},
            error_y=ranges(line, 100.0),
        ), *at,
    )  # fmt: skip
    known.add(name)


def _published(figure: go.Figure, series: str, line: pd.DataFrame, at: tuple[int, int], known: set[str]) -> None:
    name = f"published {series}"
    line = line.sort_values("percent_remaining", ascending=False)
    figure.add_trace(
        go.Scatter(x=line["percent_remaining"], y=100 * line["value"], name=name, legendgroup=name, mode="lines",
                   line={**PUBLISHED, "color": SERIES[series]}, showlegend=name not in known), *at,
    )  # fmt: skip
    known.add(name)


def _seeds(tables: Mapping[str, pd.DataFrame], value: str) -> str:
    """How many networks a point stands for, where there is one; "4 or 5" where some diverged."""
    counts = pd.concat([table.groupby(["branch", "level"])[value].count() for table in tables.values()])
    return " or ".join(map(str, sorted(set(counts[counts > 0]))))


def pays(tables: Mapping[str, pd.DataFrame], within: float = 1.0) -> go.Figure:
    """After how many reuses a search has paid for itself, over the weights left, a line a task.

    Where a carried ticket saves nothing there is no point; where it is not as accurate as the dense network, the point
    is hollow.

    Args:
        tables: task -> what `TransferStudy.costs` gave.
        within: what it was called with.
    """
    figure = make_subplots(1, 1)
    low = min(float(table["percent_remaining"].min()) for table in tables.values())
    for n, (task, table) in enumerate(tables.items()):
        symbols = ["circle" if matches else "circle-open" for matches in table["matches"]]
        colour, dash = COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)]
        figure.add_trace(
            go.Scatter(x=table["percent_remaining"], y=table["reuses"].where(table["reuses"] < math.inf), name=task,
                       mode="lines+markers", marker={"symbol": symbols, "size": 9},
                       line={"color": colour, "width": 2, "dash": dash}), 1, 1,
        )  # fmt: skip
    weights_axis(figure, 1, 1, low)
    figure.update_yaxes(title="reuses until the search has paid", rangemode="tozero")
    caption = (f"filled: the carried ticket ends at most {within:g} pp below the dense network; training FLOPs of "
               "sparse arithmetic: a search costs all trainings up to the ticket's, a reuse saves the dense network's "
               "training less the ticket's")  # fmt: skip
    return finish(figure, break_even_said(tables, within), caption, height=420)


def break_even_said(tables: Mapping[str, pd.DataFrame], within: float = 1.0) -> str:
    """The fewest reuses after which a search for tickets that match the dense network has paid, by task, as a title."""
    said = []
    for task, table in tables.items():
        rows = table[table["matches"] & (table["reuses"] < math.inf)].sort_values("reuses").to_dict("records")
        found = f"{math.ceil(rows[0]['reuses'])} at {rows[0]['percent_remaining']:.3g} % of the weights" if rows else ""
        said.append(f"{task}: {found or 'none'}")
    if len(said) > MOST_SAID:
        return "Reuses until the search for a ticket has paid for itself"
    return f"Fewest reuses until the search for a ticket within {within:g} pp of dense has paid. {'; '.join(said)}"
