"""Notebooks run headless by papermill, from wherever one stands. (nbval runs them all: see the Makefile.)"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("elsewhere")


def papermill(folder, *arguments, **environment):
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "00_quickstart.ipynb"), "out.ipynb"]
    environment = {**os.environ, "LABKIT_RUNS": str(folder / "runs"), "LABKIT_PROGRESS": "log", **environment}
    return subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_from_elsewhere_with_a_preset(folder):
    done = papermill(folder, "-f", str(ROOT / "params" / "00_quickstart" / "smoke.yaml"))
    assert done.returncode == 0, done.stderr[-2000:]
    notebook = nbformat.read(folder / "out.ipynb", as_version=4)
    text = str(notebook.cells)
    assert "networks x 300 iterations: about" in text, "says what it will cost"
    results = folder / "runs" / "results" / "00_quickstart" / "smoke"
    record = yaml.safe_load((results / "run.yaml").read_text())
    assert record["parameters"]["levels"] == 7 and record["training_seconds"] > 0 and len(record["runs"]) == 9
    assert {"table.csv", "verdicts.csv", "figure.html"} <= {path.name for path in results.iterdir()}


def test_a_misspelt_parameter_stops_it_at_once(folder):
    done = papermill(folder, "-p", "level", "3")
    assert done.returncode != 0 and "unknown parameter 'level': did you mean 'levels'?" in done.stderr


def test_a_missed_claim_fails_the_batch(folder):
    shutil.copytree(ROOT / "params", folder / "params")
    path = folder / "params" / "00_quickstart" / "expected.yaml"
    expected = yaml.safe_load(path.read_text())
    expected["ticket_vs_reinit"]["smoke"]["above"] = 50
    path.write_text(yaml.safe_dump(expected))
    done = papermill(folder, LABKIT_PARAMS=str(folder / "params"))
    assert done.returncode != 0 and "ClaimMissed: ticket_vs_reinit" in done.stderr


def test_progress_is_one_line_in_a_notebook_and_interrupting_loses_little(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("LABKIT_PROGRESS", "line")
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path / "runs"))
    work = (
        "import labkit as lk, labkit.progress\n"
        "train = lk.TrainSpec(duration='1500it', evaluate_every='100it')\n"
        "spec = lk.TicketSpec(train=train, prune=lk.PruneSpec(levels=0))\n"
    )
    stop = "import _thread, threading\nthreading.Timer(2.0, _thread.interrupt_main).start()\n"
    cells = [work, stop + "try:\n    lk.find_tickets(spec, [0, 1])\nexcept KeyboardInterrupt:\n    print('stopped')"]
    cells += ["runs = lk.find_tickets(spec, [0, 1])"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    stopped, resumed = notebook.cells[1].outputs, notebook.cells[2].outputs
    assert any("stopped" in output.get("text", "") for output in stopped)
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 1
    lines = [output.data["text/plain"] for output in resumed if output.output_type == "display_data"]
    assert len(lines) == 1 and "tickets: done in" in lines[0]
    estimate = next(output.text for output in resumed if output.output_type == "stream")
    assert "1 level x 2 networks x 1,500 iterations: " in estimate


def test_report_of_an_unknown_notebook():
    done = subprocess.run(
        [sys.executable, "-m", "labkit.report", "reproduce", "--preset", "quick", "lth_figure3"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2 and "did you mean 'lth_figure_3'?" in done.stderr


def test_a_dead_kernel_fails_at_once(tmp_path):
    """nbval by itself would wait out its whole timeout."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os; os._exit(1)")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "dies.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.nbval_kernel",
        "--nbval-lax",
        "--nbval-cell-timeout=600",
        "-q",
    ]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path / "dies.ipynb")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "the kernel died" in done.stdout, done.stdout[-2000:]
