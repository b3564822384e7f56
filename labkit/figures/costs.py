"""What a sparse network costs beside the dense one: FLOPs layer by layer, and bytes of its weights."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.figures.style import COLOURS, finish
from labkit.studies.network_costs import of_dense

DENSE = "#c8c8c8"
FORMS = {"bytes_dense": "dense", "bytes_bits": "values +<br>bit mask", "bytes_csr": "CSR"}
_UNITS = ("", "k", "M", "G", "T")


def layer_costs(table: pd.DataFrame, *, name: str, note: str = "") -> go.Figure:
    """FLOPs of each layer at test time and in training, dense in grey and sparse in colour, and bytes in all.

    Args:
        table: what `studies.network_costs` gave.
        name: of method and network, for the title.
        note: of how layers got their densities, for the caption.
    """
    layers = [str(layer).removesuffix(".weight") for layer in table["layer"]]
    figure = make_subplots(1, 3, column_widths=[0.38, 0.38, 0.24], horizontal_spacing=0.09,
                           subplot_titles=["Forward pass", "Training step", "Weights, stored"])  # fmt: skip
    for column, what in enumerate(("test", "train"), start=1):
        size, unit = scale(float(table[f"{what}_dense"].max()))
        for key, label, colour in ((f"{what}_dense", "dense", DENSE), (what, "sparse", COLOURS[0])):
            figure.add_bar(x=layers, y=table[key] / size, name=label, marker={"color": colour},
                           showlegend=False, hovertemplate=f"%{{x}}: %{{y:.4g}} {unit}FLOPs, {label}<extra></extra>",
                           row=1, col=column)  # fmt: skip
        figure.update_yaxes(title=f"{unit}FLOPs an example", row=1, col=column)
    totals = [int(table[form].sum()) for form in FORMS]
    size, unit = scale(totals[0])
    shown = [f"{total / size:.3g} {unit}B" for total in totals]
    figure.add_bar(x=list(FORMS.values()), y=[total / size for total in totals], text=shown, textposition="outside",
                   cliponaxis=False, marker={"color": [DENSE, COLOURS[0], COLOURS[0]]}, showlegend=False,
                   hoverinfo="skip", row=1, col=3)  # fmt: skip
    figure.update_yaxes(title=f"{unit}B", row=1, col=3, range=[0, 1.12 * max(totals) / size])
    figure.update_layout(barmode="group", bargap=0.25).update_xaxes(tickfont={"size": 10}, row=1)
    caption = "grey: dense, blue: sparse; a MAC is two FLOPs; weights of 4 bytes alone"
    return finish(figure, costs_said(table, name), f"{caption}{'; ' if note else ''}{note}")


def costs_said(table: pd.DataFrame, name: str) -> str:
    """FLOPs and bytes in all, in those of the dense network, as a title."""
    total = of_dense(table)
    if total["weights"] == 1:
        return f"{name}: all weights, so all of the dense network's FLOPs and bytes"
    percent = {key: f"{100 * value:.3g} %" for key, value in total.items()}
    return (f"{name}: {percent['weights']} of the weights, {percent['test']} of the test FLOPs, {percent['train']} of "
            f"the training FLOPs, {percent['bits']} of the bytes")  # fmt: skip


def scale(largest: float) -> tuple[float, str]:
    """What to divide numbers by so that they are easily read, and the prefix of their unit.

    >>> scale(235200.0), scale(3)
    ((1000.0, 'k'), (1.0, ''))
    """
    power = 0
    while largest >= 1000 ** (power + 1) and power + 1 < len(_UNITS):
        power += 1
    return 1000.0**power, _UNITS[power]
