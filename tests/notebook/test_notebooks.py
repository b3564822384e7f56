"""Notebooks run headless by papermill, from wherever one stands. (nbval runs them all: see the Makefile.)"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


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
    assert "networks of 300 iterations: about" in text, "says what it will cost"
    results = folder / "runs" / "results" / "00_quickstart" / "smoke"
    record = yaml.safe_load((results / "run.yaml").read_text())
    assert record["parameters"]["levels"] == 7 and record["training_seconds"] > 0 and len(record["runs"]) == 36
    assert {"table.csv", "verdicts.csv", "figure.html"} <= {path.name for path in results.iterdir()}


def test_a_misspelt_parameter_stops_it_at_once(folder):
    done = papermill(folder, "-p", "level", "3")
    assert done.returncode != 0 and "unknown parameter 'level': did you mean 'levels'?" in done.stderr


def test_a_missed_claim_fails_the_batch(folder):
    shutil.copytree(ROOT / "params", folder / "params")
    path = folder / "params" / "00_quickstart" / "expected.yaml"
    expected = yaml.safe_load(path.read_text())
    expected["ticket_vs_reinit"]["smoke"] |= {"above": 50, "chance": 0.0}
    path.write_text(yaml.safe_dump(expected))
    done = papermill(folder, LABKIT_PARAMS=str(folder / "params"))
    assert done.returncode != 0 and "ClaimMissed: ticket_vs_reinit" in done.stderr


def test_progress_is_one_line_in_a_notebook_and_interrupting_loses_little(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("LABKIT_PROGRESS", "line")
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path / "runs"))
    work = (
        "import labkit as lk, labkit.ground.progress\n"
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
    assert len(list((tmp_path / "runs").glob("*/run.safetensors"))) == 2
    lines = [output.data["text/plain"] for output in resumed if output.output_type == "display_data"]
    assert len(lines) == 1 and "tickets: done in" in lines[0]
    estimate = next(output.text for output in resumed if output.output_type == "stream")
    assert "2 networks of 1,500 iterations: " in estimate


def test_report_of_an_unknown_notebook():
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "reproduce", "--preset", "quick", "lth_figure3"],
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


def faults(text):
    """What is wrong with the formulas of a markdown cell; code is left out."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    found = ["a control character, as of an escape that was read: \\t of \\times"] * bool(
        re.search(r"[\x00-\x09\x0b-\x1f]", text)
    )
    prose = re.sub(r"\$\$.+?\$\$|(?<![\\$])\$[^$\n]+?(?<!\\)\$", "", text, flags=re.DOTALL)
    found += ["dollars that do not pair"] * bool(re.search(r"(?<!\\)\$", prose))
    found += ["a command outside a formula"] * bool(re.search(r"\\[A-Za-z]", prose))
    for display, inline in re.findall(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?)(?<!\\)\$", text, flags=re.DOTALL):
        formula = display or inline
        outside = re.sub(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", "", formula, flags=re.DOTALL)
        found += ["a line break outside an environment, or a doubled backslash"] * (r"\\" in outside)
        found += ["a doubled backslash"] * bool(re.search(r"\\\\[A-Za-z,;:!{}]", formula))
        found += ["a line feed written out"] * bool(re.search(r"(?<!\\)\\n(?![A-Za-z])", formula))
        found += ["braces that do not pair"] * (
            len(re.findall(r"(?<!\\)\{", formula)) != len(re.findall(r"(?<!\\)\}", formula))
        )
        found += ["left without right"] * (
            len(re.findall(r"\\left\b", formula)) != len(re.findall(r"\\right\b", formula))
        )
    return found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (r"$\\frac{a}{b}$", "doubled backslash"),
        (r"$0.75\\,n$", "doubled backslash"),
        (r"$$\begin{aligned} a &= \\alpha \\ b \end{aligned}$$", "a doubled backslash"),
        (r"costs $x", "dollars"),
        (r"a $x$ and $$y$", "dollars"),
        (r"$a\n b$", "line feed"),
        (r"first\nsecond", "outside a formula"),
        (r"\alpha is", "outside a formula"),
        (r"$\frac{a}{b$", "braces"),
        (r"$\left(a$", "left"),
        ("$a \times b$", "control"),
    ],
)
def test_broken_formulas_are_noticed(text, fault):
    assert any(fault in found for found in faults(text))


@pytest.mark.parametrize(
    "text",
    [
        r"$\frac{a}{b}$ and $\nu \neq \nabla f$, $\{1, 2\}$, for \$5",
        "$$\\begin{aligned} a &= b \\\\ c &= d \\\\[2pt]\n e &= f \\\\\n\\end{aligned}$$",
        r"$\begin{matrix} 1 & 0 \\ 0 & 1 \end{matrix}$",
        r"`$HOME\n` and `\\frac`",
    ],
)
def test_whole_formulas_pass(text):
    assert faults(text) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_formulas_of_notebooks_are_whole(path):
    cells = nbformat.read(path, as_version=4).cells
    wrong = {cell.id: found for cell in cells if cell.cell_type == "markdown" and (found := faults(cell.source))}
    assert not wrong


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.stem != "explore"], ids=lambda path: path.stem)
def test_titles_of_notebooks_round_no_number_themselves(path):
    """A mean written into a title says nothing of its seeds: `figures.titles` and `figures.findings` do."""
    code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    titles = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.keyword) and node.arg == "title"]
    inside = [node for title in titles for node in ast.walk(title)]
    rounded = [ast.unparse(node) for node in inside if isinstance(node, ast.FormattedValue) and node.format_spec
               and re.search(r"\+|[ef]'?$", ast.unparse(node.format_spec))]  # fmt: skip
    assert titles and not rounded
