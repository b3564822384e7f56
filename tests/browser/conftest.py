"""Servers and a real browser: JupyterLab and Voila with the explorer in them, looked at by Chromium."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 240_000  # milliseconds that a slow machine may take
SCREENSHOTS = ROOT / "build" / "screenshots"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are there for the test
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def serve(module, folder, *arguments):
    """A server of Jupyter's in a folder, with settings of its own; yields its address, and ends it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, values in SETTINGS.items():
        settings = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(values))
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LABKIT_RUNS": str(folder / "runs"),
        "OMP_NUM_THREADS": "1", "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }  # fmt: skip
    log = (folder / "server.log").open("w")
    command = [sys.executable, "-m", module, *arguments, "--no-browser", f"--port={port}"]
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, folder / "server.log")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_for(address, process, log):
    for _ in range(480):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium or Chrome of this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


def _ours(said):
    """Whether it is an error, and not that of a file of another host, such as the fonts of formulas: none is needed."""
    return said.type == "error" and "127.0.0.1" in said.location.get("url", "127.0.0.1")


@pytest.fixture(scope="module")
def page(browser):
    """A page that collects what its console complains of, in `page.complaints`."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    found = context.new_page()
    found.set_default_timeout(PATIENCE)
    found.complaints = []
    found.on("console", lambda said: _ours(said) and found.complaints.append(f"{said.text} {said.location}"))
    found.on("pageerror", lambda error: found.complaints.append(str(error)))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    yield found
    context.close()
