"""What all widgets of the explorer share."""

import re

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
import pytest

import labkit as lk
from labkit.explore import DrawADigit, Levels, Mask, PruneNow
from labkit.explore.panel import Panel
from tests.conftest import small_spec


class Square(Panel):
    name = "square"

    def __init__(self):
        self.side = widgets.IntSlider(description="side", value=2, min=0, max=9)
        super().__init__(self.side)
        self.refresh()

    def draw(self):
        if self.side.value == 0:
            raise ValueError("a side of 0: write 1 or more")
        if self.side.value == 9:
            raise KeyError("lost")
        self.put(go.Figure(go.Scatter(x=[0, 1], y=[0, self.side.value**2])))
        return f"a side of {self.side.value} has an area of {self.side.value**2} < 100"

    def table(self):
        return pd.DataFrame({"side": [self.side.value], "area": [self.side.value**2]})

    def code(self):
        return f"{self.side.value} ** 2 < 100"


def test_a_change_of_a_control_changes_figure_and_title():
    square = Square()
    square.side.value = 5
    assert square.figure.data[0].y == (0, 25)
    assert square.title == "a side of 5 has an area of 25 < 100"


def test_an_error_is_said_in_words_and_what_was_shown_stays():
    square = Square()
    square.side.value = 0
    assert square.said == "a side of 0: write 1 or more"
    assert square.figure.data[0].y == (0, 4) and "area of 4" in square.title
    square.side.value = 3
    assert square.said == "" and square.figure.data[0].y == (0, 9)


def test_a_mistake_of_the_kit_shows_no_traceback(capsys):
    square = Square()
    square.side.value = 9
    assert square.said == "this did not work, by a mistake of the kit: KeyError: 'lost'"
    assert capsys.readouterr() == ("", "")


def test_what_is_shown_is_saved_and_what_was_saved_before_stays(runs, monkeypatch):
    monkeypatch.setattr("labkit.explore.panel.draw_svg", lambda figure: b"<svg/>")
    square = Square()
    paths = square.save()
    square.side.value = 3
    assert [path.relative_to(runs).as_posix() for path in [*paths, *square.save()]] == [
        "explore/square-1.csv", "explore/square-1.svg", "explore/square-2.csv", "explore/square-2.svg"]  # fmt: skip
    assert pd.read_csv(paths[0]).to_dict("records") == [{"side": 2, "area": 4}]


def test_what_was_saved_last_stays_when_an_earlier_file_is_deleted(runs, monkeypatch):
    monkeypatch.setattr("labkit.explore.panel.draw_svg", lambda figure: None)
    square = Square()
    first, second = (square.save()[0] for _ in range(2))
    first.unlink()
    square.side.value = 3
    square.save()
    assert pd.read_csv(second)["side"].tolist() == [2] and pd.read_csv(first)["side"].tolist() == [3]


def test_a_widget_made_on_what_cannot_be_read_says_so_and_its_buttons_too(runs):
    tickets = lk.find_tickets(small_spec(levels=1, duration="1it"), [0])
    for networks in tickets.runs.values():
        networks.folders[0].path.joinpath("run.safetensors").unlink()
    for kind in (Levels, Mask, PruneNow, DrawADigit):
        for given, part in ((tickets, str(runs)), ("mine", "'mine' cannot be explored")):
            panel = kind(given)
            said = panel.said
            assert part in said and panel.title == "" and panel.figure is None
            panel.say("")
            footer(panel, "Show the code").value = True
            assert panel.said == said, kind
            panel.say("")
            footer(panel, "Save").click()
            assert panel.said == said, kind
            with pytest.raises(ValueError, match=re.escape(said)):
                panel.table()


def test_without_a_browser_the_numbers_are_saved_alone(runs, monkeypatch):
    monkeypatch.setattr("labkit.explore.panel.draw_svg", lambda figure: None)
    assert [path.name for path in Square().save()] == ["square-1.csv"]


def footer(panel, description):
    (found,) = (one for one in within(panel) if getattr(one, "description", "") == description)
    return found


def within(box):
    for child in getattr(box, "children", ()):
        yield child
        yield from within(child)


def test_the_code_that_makes_it_is_shown_on_demand():
    square = Square()
    footer(square, "Show the code").value = True
    texts = [one.value for one in within(square) if isinstance(one, widgets.HTML)]
    assert "<pre>2 ** 2 &lt; 100</pre>" in texts


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path / "file"))
    square = Square()
    footer(square, "Save").click()
    assert "explore" in square.said and "saved" not in square.said


@pytest.mark.parametrize("traces", [1, 2])
def test_a_figure_is_put_in_place_of_another(traces):
    square = Square()
    square.put(go.Figure([go.Scatter(x=[0], y=[n], name=f"line {n}") for n in range(traces)]))
    assert [trace.name for trace in square.figure.data] == [f"line {n}" for n in range(traces)]


def test_nothing_of_a_trace_stays_when_another_is_put_in_its_place():
    square = Square()
    square.put(go.Figure(go.Scatter(x=[0], y=[1], text=["one"], opacity=0.5)))
    square.put(go.Figure(go.Scatter(x=[0], y=[2])))
    assert square.figure.data[0].text is None and square.figure.data[0].opacity is None
    assert square.figure.data[0].y == (2,)
