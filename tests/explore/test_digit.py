"""A digit that one draws."""

import json
from pathlib import Path

import pytest

import labkit as lk
from labkit.explore import DrawADigit
from tests.conftest import small_spec

STROKES = {
    int(label): lines for label, lines in json.loads(Path(__file__).with_name("strokes.json").read_text()).items()
}


@pytest.fixture(scope="module")
def panel():
    return DrawADigit()


def read(panel, name="dense"):
    table = panel.table().query("network == @name")
    return int(table.loc[table["probability"].idxmax(), "class"])


def test_the_dense_network_reads_nine_of_ten_drawn_digits_or_more(panel):
    right = []
    for label, lines in STROKES.items():
        panel.canvas.strokes = lines
        right.append(read(panel) == label)
    assert sorted(STROKES) == list(range(10)) and sum(right) >= 9


def test_a_stroke_changes_bars_pixels_and_title(panel):
    panel.canvas.strokes = []
    assert panel.title == "Draw a digit" and not panel.figure.data[-1].z.any()
    panel.canvas.strokes = STROKES[0]
    assert panel.title == f"All {len(panel.networks)} networks read 0" and panel.said == ""
    bars = [trace for trace in panel.figure.data if trace.type == "bar"]
    assert [bar.name for bar in bars] == list(panel.networks) and len(bars) == 5
    assert all(max(bar.y) == bar.y[0] for bar in bars)
    ink, spoken = panel.figure.data[0].z > 0, panel.figure.data[-1].z != 0
    assert spoken.any() and not (spoken & ~ink).any()


def test_the_pixels_are_of_the_network_that_is_chosen(panel):
    panel.canvas.strokes = STROKES[3]
    dense = panel.figure.data[-1].z.copy()
    panel.whose.value = panel.whose.options[-1]
    assert (panel.figure.data[-1].z != dense).any() and panel.whose.value.startswith("ticket, ")
    panel.whose.value = "dense"


def test_what_is_no_stroke_is_said_in_words(panel):
    panel.canvas.strokes = [["nonsense"]]
    assert "a stroke is a list of points" in panel.said
    panel.canvas.strokes = STROKES[1]
    assert panel.said == ""


def test_the_code_that_is_shown_can_be_compiled(panel):
    compile(panel.code(), "code", "exec")


def test_networks_of_a_study_are_asked_and_weights_that_were_not_kept_are_said_in_words():
    tickets = lk.find_tickets(small_spec(levels=1, duration="20it"), [0])
    own = DrawADigit(tickets)
    own.canvas.strokes = STROKES[7]
    assert len(own.networks) == 2 and own.said == ""
    tickets.runs[1].folders[0].drop_weights()
    assert "were not kept (keep='masks')" in DrawADigit(tickets).said


def test_networks_of_other_images_are_said_in_words():
    tickets = lk.find_tickets(small_spec(levels=0, duration="1it", model="conv_2", model_options={"width": 0.1}), [0])
    assert "these networks take" in DrawADigit(tickets).said
