"""The picture of a data set shows its first training images as they are, under the names of their classes."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from labkit import data
from labkit.figures.pictures import one_of_each_class


@pytest.mark.parametrize(("name", "most"), [("digits", 10), ("digits", 3), ("photos", 10)])
def test_the_first_training_image_of_each_class_is_shown_under_its_name(name, most):
    found = data.load(name)
    figure = one_of_each_class(found, most)
    classes = found.classes[:most]
    assert [note.text for note in figure.layout.annotations[: len(classes)]] == list(classes)
    assert len(figure.data) == len(classes)
    for label, trace in enumerate(figure.data):
        first = found.images["train"][found.labels["train"] == label][0].permute(1, 2, 0).numpy()
        if trace.source:
            with Image.open(io.BytesIO(base64.b64decode(trace.source.split(",")[1]))) as image:
                shown = np.asarray(image)[:, :, : first.shape[2]] if first.shape[2] == 3 else np.asarray(image)
        else:
            shown = np.asarray(trace.z)
        if first.shape[2] == 3:
            assert (shown == first).all()
        else:  # grey values are stretched from the darkest to the brightest that is shown
            assert shown.reshape(first.shape[:2]).argmax() == first[..., 0].argmax()
