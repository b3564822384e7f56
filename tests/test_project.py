"""The project's files agree with each other."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml

from labkit.notebook.rules import OPTIONAL
from labkit.notebook.settings import PRESETS
from labkit.notebook.settings import presets as presets_of

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_is_thin_and_agrees_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, installs = environment["dependencies"]
    assert environment["name"] == PROJECT["name"] and pip == "pip"
    assert python == "python" + PROJECT["requires-python"]
    extras = re.findall(r"-e \.\[(\w+)\]", " ".join(installs["pip"]))
    assert len(installs["pip"]) == 1 and extras and set(extras) <= set(PROJECT["optional-dependencies"])


def test_packages_that_users_were_promised_are_dependencies():
    names = {
        re.split(r"[<>=\[ ]", entry)[0] for entry in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    }
    assert {"torch", "torchvision", "jupyterlab", "ipywidgets", "plotly", "papermill", "nbval"} <= names


def test_no_cycle_version_written_twice():
    import labkit

    assert labkit.__version__ == PROJECT["version"]


REPRODUCTIONS = [path for path in NOTEBOOKS if path.stem != "explore"]  # which shows, and claims nothing


@pytest.mark.parametrize("path", REPRODUCTIONS, ids=lambda path: path.stem)
def test_notebook(path):
    assert path.stat().st_size < 300_000
    notebook = nbformat.read(path, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    parameters = notebook.cells[[("parameters" in t) for t in tags].index(True)]
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(parameters.source).body}
    presets = {
        name: yaml.safe_load((ROOT / "params" / path.stem / f"{name}.yaml").read_text())
        for name in presets_of(path.stem)
    }
    assert values == presets["smoke"], "the parameters cell is the smoke preset"
    for name, preset in presets.items():
        assert preset["preset"] == name and list(preset) == list(values)
    assert any("nbval-check-output" in t for t in tags)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.execution_count, "committed notebooks have been run"
            assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)]
    text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert "plotly" in text and '"error"' not in text


def test_the_explorer_is_kept_with_pictures_and_without_the_state_of_widgets():
    path = ROOT / "notebooks" / "explore.ipynb"
    assert path.stat().st_size < 300_000
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/svg+xml" in data for data in shown) >= 6 and len(shown) == 8
    assert not any("widget" in kind or "plotly" in kind for data in shown for kind in data)


def test_every_preset_folder_has_its_notebook_and_expectations():
    for folder in (ROOT / "params").iterdir():
        assert (ROOT / "notebooks" / f"{folder.name}.ipynb").exists()
        expected = yaml.safe_load((folder / "expected.yaml").read_text())
        for claim, entry in expected.items():
            assert {"claim", "published", *presets_of(folder.name)} <= set(entry), claim
            assert set(PRESETS) - set(OPTIONAL) <= set(presets_of(folder.name))
            for preset in presets_of(folder.name):
                assert "because" in entry[preset] or "not_judged" in entry[preset], (claim, preset)
        assert any("because" in entry["smoke"] for entry in expected.values()), "smoke judges something"


def test_the_project_names_no_machine_path_or_registry():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"index-url|find-links|/work/|/tmp/|/root/")
    for name in listed.stdout.split():
        if name.startswith("tests/") or not (ROOT / name).is_file():
            continue
        found = pattern.search((ROOT / name).read_text(errors="ignore"))
        assert not found, f"{name}: {found and found[0]}"


def test_what_is_imported_is_declared():
    """What comes with another package today may not come with it tomorrow."""
    sources = [path.read_text() for path in (ROOT / "labkit").rglob("*.py")]
    for path in NOTEBOOKS:
        sources += [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    roots = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"labkit"}
    packages = metadata.packages_distributions()
    extras = [entry for name, extra in PROJECT["optional-dependencies"].items() if name != "dev" for entry in extra]
    declared = {re.split(r"[<>=\[ ]", entry)[0] for entry in PROJECT["dependencies"] + extras}
    assert {root for root in roots if not declared & {name.lower() for name in packages.get(root, [])}} == set()


def test_pitfalls_that_tests_name_are_those_that_are_written_down():
    entries = re.findall(r"^- \*\*([a-z-]+)\*\*( \*\(no)?", (ROOT / "docs" / "pitfalls.md").read_text(), re.MULTILINE)
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {name for line in re.findall(r"# pitfalls?: ([a-z, -]+)", sources) for name in line.split(", ")}
    assert {name.strip() for name in named} == {name for name, waits in entries if not waits}
    assert len(entries) == len({name for name, _ in entries})


def test_links_between_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
