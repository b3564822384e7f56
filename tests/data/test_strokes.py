"""Strokes as MNIST has digits."""

import pytest
import torch

from labkit.data.strokes import as_digit


def span(image):
    """First and last row and column with half of the ink of a line."""
    rows, columns = ((image[0] > 127).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return rows[0], rows[-1], columns[0], columns[-1]


def centre(image):
    weights = image[0].double()
    places = torch.arange(28, dtype=torch.float64)
    return [float((weights.sum(axis) * places).sum() / weights.sum()) for axis in (1, 0)]


@pytest.mark.parametrize("size", [0.01, 0.5, 40.0])
def test_a_stroke_of_any_size_fills_a_box_of_twenty_pixels(size):
    image = as_digit([[[0.3 * size, 0.0], [0.0, size]], [[0.3 * size, size], [0.3 * size, 0.2 * size]]])
    top, bottom, left, right = span(image)
    assert image.shape == (1, 28, 28) and image.dtype == torch.uint8 and image.max() == 255
    assert bottom - top + 1 == 20 and right - left + 1 < 10


def test_the_centre_of_mass_is_the_centre_of_the_image():
    heavy = [[[0.0, 0.0], [0.0, 1.0]], [[0.05, 0.0], [0.05, 1.0]], [[0.0, 0.0], [0.7, 0.0]]]  # to the left, and above
    assert all(abs(place - 13.5) <= 0.5 for place in centre(as_digit(heavy)))


def test_where_it_was_drawn_makes_no_difference():
    line = [[0.1, 0.2], [0.3, 0.7], [0.4, 0.3]]
    moved = [[x + 3, y - 5] for x, y in line]
    assert torch.equal(as_digit([line]), as_digit([moved]))


def test_no_stroke_is_a_blank_page_and_a_point_is_a_dot_in_the_middle():
    assert not as_digit([]).any() and not as_digit([[]]).any()
    dot = as_digit([[[0.9, 0.1]]])
    assert dot.any() and span(dot)[0] >= 12 and all(abs(place - 13.5) < 0.51 for place in centre(dot))


@pytest.mark.parametrize("stroke", [[[0.1]], ["ab"], [[0.1, float("nan")]], [[0.1, 0.2, 0.3]], [0.1, 0.2]])
def test_what_is_no_stroke_is_refused(stroke):
    with pytest.raises(ValueError, match="a stroke is a list of points"):
        as_digit([stroke])
