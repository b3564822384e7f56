"""A square that one draws on, by pointer or by keyboard."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets


class Canvas(anywidget.AnyWidget):
    """A square that one draws on.

    Attributes:
        strokes: lines through points [x, y] in 0..1, y downwards; set to [] to clear.
        label: its name, for screen readers.
    """

    _esm = Path(__file__).with_name("canvas.js")

    strokes: Any = traitlets.List().tag(sync=True)
    label = traitlets.Unicode("a digit, drawn by you").tag(sync=True)
