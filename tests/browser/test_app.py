"""The explorer as an app: Voila serves the notebook without its code."""

import json

import pytest

from tests.browser.conftest import ROOT, serve
from tests.browser.test_lab import drawn, panels, until

pytest.importorskip("voila", reason="Voila, the extra app, is not installed")


@pytest.fixture(scope="module")
def app(page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    notebook = json.loads((ROOT / "notebooks" / "explore.ipynb").read_text())
    wanted = ("from labkit import explore", "explore.Levels()")  # two cells are enough to see that it serves
    notebook["cells"] = [cell for cell in notebook["cells"] if "".join(cell["source"]) in wanted]
    (folder / "explore.ipynb").write_text(json.dumps(notebook))
    for address in serve("voila", folder, "explore.ipynb"):
        page.goto(address)
        panels(page).first.wait_for()
        yield page


def test_a_widget_works_without_code_and_without_complaints(app):
    levels = panels(app).first
    slider = levels.get_by_role("slider").first
    title, curve = levels.locator("h3").inner_text(), drawn(levels)
    assert app.locator(".jp-InputArea").count() == 0
    slider.focus()
    app.keyboard.press("ArrowRight")
    until(lambda: levels.locator("h3").inner_text() != title and drawn(levels) != curve)
    assert app.complaints == []
