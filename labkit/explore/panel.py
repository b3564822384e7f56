"""What all widgets of the explorer are: a title that says the finding, controls, a figure, and errors in words."""

import html
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from labkit.explore.names import Names
from labkit.figures.style import CAPTION, TEMPLATE, TOP, finish
from labkit.notebook.results import draw_svg
from labkit.runs.store import runs_folder

CONFIG = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"format": "svg"}}
EXPECTED = (ValueError, RuntimeError, OSError)  # what the kit raises to be read by people
WRAP = widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 12px", max_width="100%")


class Panel(widgets.VBox):
    """A widget over stored runs.

    A subclass makes its controls, hands them over, and calls `refresh` once. It says in `draw` what is shown for the
    values that its controls have, in `table` which numbers these are, and in `code` how they are had without widgets.
    What goes wrong while it draws is said inside the widget, in words, and what was shown before stays.

    Args:
        controls: in the order in which the tab key goes through them; a change of any redraws.
        also: more that is shown below the controls and redraws nothing by itself.
        height: of the figure in pixels.

    Attributes:
        figure: what is drawn; None before something is.
        controls: as handed over.
        caption: what lines, bands and colours are.
        title: the finding, as text.
        said: what went wrong, or what was done, as text.
    """

    name = "panel"  # of files that it saves; a subclass has its own

    def __init__(self, *controls: widgets.Widget, also: tuple[widgets.Widget, ...] = (), height: int = 440):
        self.figure: go.FigureWidget | None = None
        self.caption = ""
        self.controls, self._height = controls, height
        self._title, self._said, self._caption = widgets.HTML(), widgets.HTML(), widgets.HTML()
        for control in controls:
            if hasattr(getattr(control, "style", None), "description_width"):
                control.style.description_width = "initial"  # whole names
            control.observe(self._changed, "value")
        self._place = widgets.VBox(layout=widgets.Layout(width="100%"))  # of the figure
        super().__init__([self._title, widgets.Box(controls, layout=WRAP), *also, self._said, self._place,
                          self._caption, self._footer(), Names()], layout=widgets.Layout(width="100%"))  # fmt: skip
        self.add_class("labkit-panel")

    def lose(self, error: Exception, *, alert: bool = True) -> None:
        """Called by a constructor that cannot read what it is given: be a widget that says why, and shows nothing."""

        def nothing() -> Any:
            raise ValueError(str(error))

        Panel.__init__(self, height=0)
        for name in ("draw", "table", "code"):
            setattr(self, name, nothing)
        self.say(str(error), alert=alert)

    def draw(self) -> str:
        """Show what the controls ask for, and return the title: what is found there."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """The numbers that are shown."""
        raise NotImplementedError

    def code(self) -> str:
        """Python that computes what is shown, without widgets."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The finding, as text."""
        return html.unescape(self._title.value.removeprefix("<h3>").removesuffix("</h3>"))

    @property
    def said(self) -> str:
        """What went wrong, or what was done, as text; empty if nothing is to be said."""
        return html.unescape(self._said.value.partition(">")[2].removesuffix("</p>"))

    def refresh(self) -> None:
        """Draw again."""

        def drawn() -> None:
            self._said.value = ""
            self._title.value = f"<h3>{html.escape(self.draw())}</h3>"

        self.guard(drawn)

    def guard(self, act: Callable[[], object]) -> None:
        """Do something; what goes wrong is said in the widget."""
        try:
            act()
        except EXPECTED as error:
            self.say(str(error), alert=True)
        except Exception as error:  # a widget shows no traceback
            self.say(f"this did not work, by a mistake of the kit: {type(error).__name__}: {error}", alert=True)

    def say(self, text: str, *, alert: bool = False) -> None:
        """Say something below the controls; an alert is read out at once by screen readers."""
        colour, role = ("#a40000", "alert") if alert else ("#444", "status")
        self._said.value = f'<p role="{role}" style="color:{colour};margin:0">{html.escape(text)}</p>' if text else ""

    def put(self, figure: go.Figure) -> None:
        """Show a figure, in place of what is shown; lines that stay lines are changed, not drawn anew."""
        layout = self._layout(figure)
        mine = self.figure
        if mine is None:  # whole from the first: a browser that still loads plotly misses what is changed meanwhile
            self.figure = go.FigureWidget(figure.data, layout)
            self.figure._config = CONFIG
            self._place.children = (self.figure,)
            return
        with mine.batch_update():
            if [trace.type for trace in mine.data] == [trace.type for trace in figure.data]:
                for old, new in zip(mine.data, figure.data, strict=True):
                    given = new.to_plotly_json()
                    gone = dict.fromkeys(set(old.to_plotly_json()) - set(given) - {"uid"})
                    old.update(gone | given, overwrite=True)
            else:
                mine.data = []
                mine.add_traces(figure.data)
            mine.update_layout(layout, overwrite=True)

    def _layout(self, figure: go.Figure) -> dict[str, Any]:
        """Of a figure, for a panel: as wide as there is room, title and caption outside, where lines can break."""
        layout = figure.layout.to_plotly_json()
        notes = layout.get("annotations", ())
        self.caption = " ".join(note["text"] for note in notes if note.get("name") == CAPTION).replace("<br>", " ")
        self._caption.value = f'<p style="color:#555;font-size:12px;margin:0">{self.caption}</p>'
        others = [note for note in notes if note.get("name") != CAPTION]
        margin = layout.get("margin", {}) | {"t": 40 if others else 20}
        return layout | {"title": None, "width": None, "height": self._height, "autosize": True, "margin": margin,
                         "annotations": others, "template": TEMPLATE}  # fmt: skip

    def save(self, folder: Path | None = None) -> list[Path]:
        """Write the numbers that are shown as CSV, and the picture as SVG where a browser can draw it.

        Args:
            folder: default `explore` in the folder of runs.
        """
        folder = runs_folder() / "explore" if folder is None else Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        taken = {path.stem for path in folder.glob(f"{self.name}-*")}
        paths = [next(folder / f"{name}.csv" for n in count(1) if (name := f"{self.name}-{n}") not in taken)]
        self.table().to_csv(paths[0], index=False)
        if (picture := self.picture()) is not None:
            paths.append(paths[0].with_suffix(".svg"))
            paths[1].write_bytes(picture)
        return paths

    def picture(self) -> bytes | None:
        """What is shown as SVG, its title above it; None if nothing is, or where no browser can draw it."""
        if self.figure is None:
            return None
        return draw_svg(finish(go.Figure(self.figure), self.title, self.caption, self._height + TOP - 40))

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.title or self.said}"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**options)
        if os.environ.get("LABKIT_PICTURES") and (picture := self.picture()) is not None:
            bundle["image/svg+xml"] = picture.decode()
        return bundle

    def _changed(self, change: Any) -> None:
        self.refresh()

    def _footer(self) -> widgets.Widget:
        show = widgets.ToggleButton(description="Show the code", tooltip="Python that computes what is shown")
        save = widgets.Button(description="Save", tooltip="the numbers as CSV, the picture as SVG")
        text = widgets.HTML()

        def toggled(change: Any) -> None:
            def shown() -> None:
                text.value = f"<pre>{html.escape(self.code())}</pre>" if show.value else ""

            self.guard(shown)

        def saved(button: widgets.Button) -> None:
            self.guard(lambda: self.say("saved: " + ", ".join(map(str, self.save()))))

        show.observe(toggled, "value")
        save.on_click(saved)
        return widgets.VBox([widgets.HBox([show, save], layout=WRAP), text])
