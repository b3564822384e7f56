"""The explorer in JupyterLab, by mouse and keyboard, as a reader has it: these tests go on from one another."""

import json
import re
import time

import pytest

from labkit.runs.store import scan
from tests.browser.conftest import PATIENCE, ROOT, SCREENSHOTS, serve

STROKES = json.loads((ROOT / "tests" / "explore" / "strokes.json").read_text())
SHOWN = "e => e.data.map(t => Array.from((t.y && (t.y._inputArray || t.y)) || (t.z && (t.z._inputArray || t.z)) || []))"
FOUND = "from labkit.runs.store import scan; print('runs:', len(scan()))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("lab")
    notebook = json.loads((ROOT / "notebooks" / "explore.ipynb").read_text())
    notebook["cells"].append({"cell_type": "code", "id": "found", "metadata": {}, "outputs": [],
                              "execution_count": None, "source": FOUND})  # fmt: skip
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    (found / "explore.ipynb").write_text(json.dumps(notebook))
    return found


@pytest.fixture(scope="module")
def lab(page, folder):
    """The notebook, all of its cells run."""
    for address in serve("jupyterlab", folder, "--allow-root", "--IdentityProvider.token="):
        page.goto(f"{address}/lab/tree/explore.ipynb")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        menu(page, "Run", "Run All Cells")
        page.get_by_text(re.compile(r"^\s*runs: \d+")).last.wait_for()
        yield page


def menu(page, name, entry):
    page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{name}$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{entry}")).first.click()


def panel(page, word):
    """The widget whose title says this, once it has been drawn."""
    found = page.locator(".labkit-panel").filter(has=page.locator("h3", has_text=word))
    found.first.wait_for()
    found.first.scroll_into_view_if_needed()
    return found.first


def panels(page):
    """All widgets, in the order of the notebook."""
    return page.locator(".labkit-panel")


def until(true, seconds=PATIENCE / 1000):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def drawn(found):
    """What a panel's figure shows, as the browser has it: trace by trace its y."""
    found.locator(".js-plotly-plot").first.wait_for()
    return found.locator(".js-plotly-plot").first.evaluate(SHOWN)


def test_all_widgets_are_drawn_and_none_complains(lab):
    until(lambda: panels(lab).locator("h3").count() == 8)
    assert lab.locator(".labkit-panel [role=alert]").all_inner_texts() == []
    for found in panels(lab).all()[:7]:
        found.scroll_into_view_if_needed()
        assert drawn(found)


def test_a_slider_moves_curve_and_title_by_mouse_and_by_keyboard(lab):
    levels = panels(lab).nth(0)
    levels.scroll_into_view_if_needed()
    slider = levels.get_by_role("slider").first
    assert slider.get_attribute("aria-label")
    title, curve = levels.locator("h3").inner_text(), drawn(levels)
    slider.focus()
    lab.keyboard.press("ArrowRight")
    until(lambda: levels.locator("h3").inner_text() != title and drawn(levels) != curve)
    title, curve = levels.locator("h3").inner_text(), drawn(levels)
    box = levels.locator(".widget-slider .noUi-base, .noUi-target").first.bounding_box()
    handle = slider.bounding_box()
    lab.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    lab.mouse.down()
    lab.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2, steps=8)
    lab.mouse.up()
    until(lambda: levels.locator("h3").inner_text() != title and drawn(levels) != curve)


@pytest.mark.parametrize("digit", ["3"])
def test_a_digit_that_is_drawn_is_read(lab, digit):
    page = panels(lab).nth(3)
    page.scroll_into_view_if_needed()
    box = page.locator("canvas[role=application]").bounding_box()
    for line in STROKES[digit]:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in line]
        lab.mouse.move(*points[0])
        lab.mouse.down()
        for point in points[1:]:
            lab.mouse.move(*point, steps=6)
        lab.mouse.up()
    until(lambda: digit in page.locator("h3").inner_text())


def test_training_grows_a_curve_is_paused_and_stopped_and_goes_on_after_a_restart(lab, folder):
    live = panels(lab).nth(4)
    live.scroll_into_view_if_needed()
    before = len(scan(folder / "runs"))
    press(live, "Start")
    seen = until(lambda: longest(live))
    until(lambda: longest(live) > seen)
    press(live, "Pause")
    until(lambda: live.get_by_role("button", name="Start", exact=True).is_enabled())
    press(live, "Stop")
    until(lambda: not live.get_by_role("button", name="Stop", exact=True).is_enabled())
    assert len(scan(folder / "runs")) == before, "it was stopped on its way"
    menu(lab, "Kernel", "Restart Kernel and Run All")
    lab.locator(".jp-Dialog button", has_text="Restart").last.click()
    until(lambda: lab.get_by_text(re.compile(rf"^\s*runs: {before}\s*$")).count() and panels(lab).count() == 8)
    live = panels(lab).nth(4)
    press(live, "Start")
    until(lambda: len(scan(folder / "runs")) == before + 1)
    until(lambda: "not trained" not in live.locator("h3").inner_text() and longest(live) > seen)


def press(live, name):
    live.get_by_role("button", name=name, exact=True).click()


def longest(live):
    """Points of the longest curve that is drawn, beyond the first."""
    return max((len(y) for y in drawn(live)), default=0) if live.locator(".js-plotly-plot").count() else 0


@pytest.mark.parametrize("width", [800, 1200, 1600])
def test_nothing_is_wider_than_the_window(lab, width):
    lab.set_viewport_size({"width": width, "height": 1000})
    lab.wait_for_timeout(1500)
    for number, found in enumerate(panels(lab).all()):
        found.scroll_into_view_if_needed()
        found.screenshot(path=SCREENSHOTS / f"{number}-{width}.png")
        assert found.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), found.locator("h3").inner_text()


def test_assistive_technology_can_name_what_there_is(lab):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(lab, context=".labkit-panel", options={"resultTypes": ["violations"]}).response["violations"]
    serious = {one["id"]: [node["html"][:200] for node in one["nodes"][:3]] for one in found
               if one["impact"] in ("serious", "critical")}  # fmt: skip
    assert serious == {}


def test_the_console_has_no_errors(lab):
    assert lab.complaints == []
