"""Pictures of the images themselves: to look at before a network does."""

import plotly.express as px
import plotly.graph_objects as go

from labkit.data import DataSet
from labkit.figures.style import finish

HEIGHT = 220


def one_of_each_class(data: DataSet, most: int = 10) -> go.Figure:
    """The first training image of each class, as it is before normalisation, under the name of its class.

    Args:
        data: whose images (C, H, W), uint8, to show.
        most: shown are so many classes, the first ones.
    """
    classes = data.classes[:most]
    first = [int((data.labels["train"] == label).nonzero()[0]) for label in range(len(classes))]
    images = data.images["train"][first].permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()  # (N, H, W) or (N, H, W, 3)
    figure = px.imshow(images, facet_col=0, facet_col_spacing=0.01, binary_string=images.ndim == 3)
    for name, annotation in zip(classes, figure.layout.annotations, strict=True):
        annotation.update(text=name)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    size = "x".join(map(str, data.shape))
    shown = f"{len(classes)} of {len(data.classes)} classes; channels, height and width: {size}"
    finish(figure, "The first training image of each class", shown, HEIGHT)
    return figure.update_layout(margin={"l": 20, "r": 20, "b": 10})
