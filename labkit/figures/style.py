"""How figures look: palette, template, axes, bands, captions."""

import math
from textwrap import wrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

# Okabe & Ito's colours, told apart by colour-blind readers, ordered by contrast on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PUBLISHED = {"color": "#8c8c8c", "dash": "dash", "width": 1.5}
NAMES = {"ticket": "winning ticket", "carried": "carried ticket", "init_only": "mask found here, weights carried",
         "random_reinit": "random reinit", "random_sparse": "random sparse",
         "random_ticket": "random ticket"}  # fmt: skip
MAX_POINTS = 60
TITLE_LENGTH, CAPTION_LENGTH = 115, 150  # characters that a line of 1000 pixels holds
TOP = 95  # pixels above the panels, for a title and a caption of one line each

TEMPLATE, CAPTION = "labkit", "caption"  # names: of the template, of the annotation that is a figure's caption
pio.templates[TEMPLATE] = go.layout.Template(
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
        "margin": {"l": 70, "r": 20, "t": TOP, "b": 110},
        "hovermode": "closest",
    }
)
pio.renderers.default = "plotly_mimetype"


def weights_axis(figure: go.Figure, row: int, column: int, low: float) -> None:
    """A logarithmic axis of the weights left, from 100 % down, as in the papers."""
    steps = (1, 2, 5) if low < 8 else (1, 2, 3, 5, 7)
    ticks = [t for t in (step * 10.0**power for power in range(-1, 3) for step in steps) if 0.8 * low <= t <= 100]
    figure.update_xaxes(
        title="weights left, %", type="log", range=[math.log10(120), math.log10(0.85 * low)], tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks], row=row, col=column,
    )  # fmt: skip


def networks(table: pd.DataFrame) -> str:
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


def in_percent(fractions: pd.Series) -> list[float]:
    """Fractions as percent, to three decimals."""
    return [round(100 * value, 3) for value in fractions]


def thin(table: pd.DataFrame) -> pd.DataFrame:
    """At most about `MAX_POINTS` rows, the first and the last among them: denser at the start, where curves bend."""
    if len(table) <= MAX_POINTS:
        return table
    last = len(table) - 1
    keep = sorted({round(last * (n / (MAX_POINTS - 1)) ** 1.5) for n in range(MAX_POINTS)})
    return table.iloc[keep]


def ranges(table: pd.DataFrame, factor: float = 1.0, width: int = 3) -> dict[str, Any]:
    """Error bars from the lowest to the highest of `table`, whose values are drawn times `factor`."""
    return {"array": factor * (table["max"] - table["mean"]), "arrayminus": factor * (table["mean"] - table["min"]),
            "thickness": 1, "width": width}  # fmt: skip


def band(figure: go.Figure, table: pd.DataFrame, x: str, colour: str, column: int) -> None:
    """Fill between the lowest and the highest of `table`."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    outline = {
        "x": [*table[x], *reversed(table[x].tolist())],
        "y": [*in_percent(table["max"]), *reversed(in_percent(table["min"]))],
    }
    figure.add_trace(
        go.Scatter(**outline, fill="toself", fillcolor=f"rgba({red},{green},{blue},0.15)", line={"width": 0},
                   mode="lines", hoverinfo="skip", showlegend=False), 1, column,
    )  # fmt: skip


def published_note(what: str, published_as: str) -> str:
    """The part of a caption that says what is grey, and in what the published networks differ from these."""
    return f"; {what}{', with ' + published_as if published_as else ''}"


def finish(figure: go.Figure, title: str, caption: str, height: int = 520) -> go.Figure:
    """Title, caption, legend and size; a title or caption too long for a line is broken, and the figure grows by it."""
    titles, captions = wrap(title, TITLE_LENGTH), wrap(caption, CAPTION_LENGTH)
    more = 21 * max(0, len(titles) - 1) + 14 * max(0, len(captions) - 1)
    height += more
    top = 16 if len(titles) == 1 else 27  # plotly hangs one line below its place, and stands several on it
    figure.update_layout(
        template=TEMPLATE, title={"text": "<br>".join(titles), "y": 1 - top / height}, height=height, width=1000,
        margin={"t": TOP + more},
        legend={"orientation": "h", "y": -0.26, "yanchor": "top", "x": 0},
    )  # fmt: skip
    figure.add_annotation(name=CAPTION, text="<br>".join(captions), align="left", showarrow=False, xref="paper",
                          yref="paper", x=0, y=1, yshift=26, xanchor="left", yanchor="bottom",
                          font={"size": 11, "color": "#555"})  # fmt: skip
    return figure
