"""Which tickets travel: what carrying gained, by source and target, at one level."""

import pandas as pd
import plotly.graph_objects as go

from labkit.figures.style import finish
from labkit.figures.titles import counted, measured, span
from labkit.studies.transfer_cells import cell_said

# orange below zero, blue above: told apart by colour-blind readers, and light enough for black text
SCALE = [[0.0, "#E69F00"], [0.5, "#f7f7f7"], [1.0, "#56B4E9"]]


def transfer_map(cells: pd.DataFrame, level: int, *, title: str = "") -> go.Figure:
    """A square a route: the gain in its colour, as a number, or why there is none; colours mean the same at all levels.

    Args:
        cells: what `studies.transfer_cells.cells` gave.
        level: which.
        title: the finding.
    """
    here = cells[cells["level"] == level]
    tasks = list(dict.fromkeys([*cells["source"], *cells["target"]]))  # in one order on both axes
    sources, targets = ([task for task in tasks if task in set(cells[end])] for end in ("source", "target"))
    means = {(row["source"], row["target"]): row["mean"] for row in here.to_dict("records") if measured([row["mean"]])}
    largest = max([abs(value) for value in measured(cells["mean"])], default=0.0) or 1.0
    figure = go.Figure()
    figure.add_heatmap(
        x=targets, y=sources, z=[[means.get((one, other)) for other in targets] for one in sources],
        zmin=-largest, zmax=largest, colorscale=SCALE, xgap=3, ygap=3, hoverongaps=False,
        colorbar={"title": {"text": "pp", "side": "top"}, "thickness": 14},
        hovertemplate="%{y} → %{x}: %{z:+.2f} pp<extra></extra>",
    )  # fmt: skip
    said = [cell_said(row["mean"], row["n"], row["asked"], row["said"]) for row in here.to_dict("records")]
    figure.add_scatter(x=here["target"], y=here["source"], text=said, mode="text", hoverinfo="skip", showlegend=False,
                       textfont={"color": "#222"})  # fmt: skip
    figure.update_xaxes(
        title="trained on", type="category", showgrid=False, categoryorder="array", categoryarray=targets
    )
    figure.update_yaxes(
        title="found on", type="category", showgrid=False, categoryorder="array", categoryarray=sources[::-1]
    )
    seeds = sorted(set(here["n"][here["n"] > 0]))
    caption = f"means of {' or '.join(map(str, seeds)) or 'no'} seeds, accuracy at the end of training; empty: no route"
    return finish(figure, title, caption)


def transfer_said(cells: pd.DataFrame, level: int, against: str) -> str:
    """What carried tickets gain at a level, from the lowest to the highest route, as a title."""
    here = cells[cells["level"] == level]
    known = here[here["n"] > 0]
    at = f"at {here['percent_remaining'].iloc[0]:.3g} % of the weights"
    if known.empty:
        return f"Carried minus {against} {at}: no route has both networks"
    routes = counted(len(known), len(here), "route")
    return f"Carried minus {against} {at}: {span(known['mean'], digits=2)}, mean over seeds, {routes}"
