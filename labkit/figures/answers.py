"""What networks answer to one image, and which of its pixels spoke for that."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from labkit.figures.style import COLOURS, finish


def answers(
    image: Tensor, probabilities: Mapping[str, Sequence[float]], classes: Sequence[str], spoken: Tensor, title: str,
    caption: str,
) -> go.Figure:  # fmt: skip
    """An image as networks see it, the probability that each gives each class, and what pixels added to an answer.

    Args:
        image: uint8 (H, W), ink is 255.
        probabilities: name of a network -> one a class.
        classes: their names.
        spoken: (H, W) what each pixel added to the logit of the answer; negative: what it took away.
        title: the finding.
        caption: whose answer the pixels spoke for, and what is added up.
    """
    figure = make_subplots(1, 3, column_widths=[0.24, 0.48, 0.28], horizontal_spacing=0.07,
                           subplot_titles=["as networks see it", "what they answer", "pixels that spoke"])  # fmt: skip
    figure.add_trace(go.Heatmap(z=image.float().numpy(), colorscale="Greys", zmin=0, zmax=255, showscale=False,
                                hovertemplate="ink %{z:.0f}<extra>row %{y}, column %{x}</extra>"), 1, 1)  # fmt: skip
    for place, (name, values) in enumerate(probabilities.items()):
        figure.add_trace(go.Bar(x=list(classes), y=[round(100 * value, 2) for value in values], name=name,
                                marker_color=COLOURS[place % len(COLOURS)], hovertemplate="%{x}: %{y:.1f} %"),
                         1, 2)  # fmt: skip
    most = float(spoken.abs().max()) or 1.0
    figure.add_trace(go.Heatmap(z=spoken.numpy(), colorscale="RdBu", reversescale=True, zmin=-most, zmax=most,
                                colorbar={"title": "logit", "len": 0.8, "thickness": 12},
                                hovertemplate="%{z:.3f}<extra>row %{y}, column %{x}</extra>"), 1, 3)  # fmt: skip
    for column in (1, 3):
        figure.update_xaxes(visible=False, constrain="domain", row=1, col=column)
        figure.update_yaxes(visible=False, autorange="reversed", constrain="domain", row=1, col=column,
                            scaleanchor="x" if column == 1 else f"x{column}")  # fmt: skip
    figure.update_xaxes(title="class", type="category", row=1, col=2)
    figure.update_yaxes(title="probability, %", range=[0, 105], row=1, col=2)
    finish(figure.update_layout(barmode="group"), title, caption)
    return figure.update_layout(legend_y=-0.34)
