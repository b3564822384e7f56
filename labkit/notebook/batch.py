"""Run notebooks headless and show what came out: `python -m labkit reproduce`.

`reproduce` runs notebooks under a preset and writes them, an HTML page and their figures below the runs folder.
`refresh` runs them under `smoke` and puts the outputs into the notebooks themselves, as they are committed.
`clean` lists what nothing needs in the runs folder, and with `--delete` lets it go.
"""

import argparse
import html
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from labkit.ground.names import choose
from labkit.notebook.results import draw_svg
from labkit.notebook.settings import PRESETS, params_folder, preset_values
from labkit.runs.cleaning import clean
from labkit.runs.store import runs_folder

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
MAIN = ("00_quickstart", "lth_figure_1", "lth_figure_3", "lth_normalisation")  # what `reproduce` runs unasked
VERDICT_TAG = "nbval-check-output"


def notebooks() -> dict[str, Path]:
    """All notebooks, by name: those with presets, and the explorer, which has none."""
    return {path.stem: path for path in sorted((params_folder().parent / "notebooks").glob("*.ipynb"))}


def reproducible() -> list[str]:
    """Names of the notebooks that reproduce something: those with presets."""
    return [name for name in notebooks() if (params_folder() / name).is_dir()]


def execute(name: str, preset: str, output: Path) -> str | None:
    """Run a notebook under a preset with papermill, into `output`; returns the error's last line if it failed."""
    import papermill

    output.parent.mkdir(parents=True, exist_ok=True)
    parameters = papermill.iorw.read_yaml_file(str(params_folder() / name / f"{preset}.yaml"))
    try:
        papermill.execute_notebook(
            str(notebooks()[name]), str(output), parameters=parameters, cwd=str(Path.cwd()), progress_bar=False,
            log_output=True, stdout_file=sys.stdout, stderr_file=sys.stderr,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    except Exception as error:  # a dead kernel, a timeout: this notebook failed, the next ones may not
        return f"{type(error).__name__}: {error}"
    return None


def verdict(path: Path) -> str:
    """The text of a notebook's verdict cell; empty if it did not come to one."""
    if not path.exists():
        return ""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if VERDICT_TAG in cell.metadata.get("tags", [])]
    streams = [output.get("text", "") for cell in cells for output in cell.outputs if output.output_type == "stream"]
    return "".join(streams).strip()


def to_html(path: Path) -> Path:
    """The notebook as one HTML page that needs no network: plotly's code is in it, once."""
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    for output in _outputs(notebook):
        if PLOTLY in output.data:
            output.data = {"text/html": _figure(output).to_html(full_html=False, include_plotlyjs=False)}
    page, _ = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="").from_notebook_node(notebook)
    target = path.with_suffix(".html")
    target.write_text(page.replace("<head>", f"<head><script>{get_plotlyjs()}</script>", 1))
    return target


def reproduce(names: Sequence[str], preset: str) -> int:
    """Run notebooks, write notebooks, pages and an index below the runs folder, print the verdicts.

    Returns:
        The number of notebooks that failed or missed a claim.
    """
    os.environ.setdefault("LABKIT_PROGRESS", "log")
    target = runs_folder().absolute() / "report" / preset
    sections, failures, said = [], 0, []
    for name in names:
        print(f"== {name} ({preset})", flush=True)
        output = target / f"{name}.ipynb"
        error = execute(name, preset, output)
        text = f"{verdict(output)}\n{error or ''}".strip()
        link = f"<a href='{to_html(output).name}'>{name}</a>" if output.exists() else name
        failures += error is not None
        said.append(f"{name}\n{text}")
        sections.append(f"<h2>{link}</h2><pre>{html.escape(text)}</pre>")
    index = target / "index.html"
    index.write_text(
        f"<!doctype html><meta charset='utf-8'><title>labkit, {preset}</title><style>body{{font:16px sans-serif;"
        f"max-width:60em;margin:2em auto}}pre{{white-space:pre-wrap}}</style><h1>labkit, preset {preset}</h1>"
        + "".join(sections)
    )
    print("\n" + "\n\n".join(said))
    print(f"\npage       {index}\nnotebooks  {target}\nfigures    {runs_folder().absolute() / 'results'}")
    print("verdict    " + ("all judged claims met" if not failures else f"{failures} notebook(s) failed"))
    return failures


def refresh(names: Sequence[str]) -> int:
    """Run notebooks under their own (smoke) parameters and keep the outputs in them, figures also as SVG.

    Of widgets a picture is kept, for readers without a kernel.
    """
    import papermill

    os.environ.setdefault("LABKIT_PROGRESS", "log")
    os.environ["LABKIT_PICTURES"] = "1"  # `explore.Panel` shows one beside itself
    for name in names:
        path = notebooks()[name]
        notebook = papermill.execute_notebook(str(path), None, cwd=str(path.parent), progress_bar=False)
        notebook.metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
        for cell in notebook.cells:
            cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        for output in _outputs(notebook):
            output.data.pop(WIDGET, None)
            if PLOTLY in output.data and (svg := draw_svg(_figure(output))) is not None:
                output.data["image/svg+xml"] = svg.decode()
        nbformat.write(notebook, path)
        drawn = "with" if "image/svg" in json.dumps(notebook) else "without"
        print(f"{name}: {path.stat().st_size / 1000:.0f} kB, figures {drawn} SVG")
    return 0


def _outputs(notebook: Any) -> list[Any]:
    return [out for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]


def _figure(output: Any) -> go.Figure:
    return go.Figure({key: output.data[PLOTLY][key] for key in ("data", "layout")})


def _clean(names: Sequence[str], delete: bool) -> int:
    try:
        found = clean(runs_folder(), names, delete=delete)
    except ValueError as error:
        print(error)
        return 1
    for path, why in found.items():
        print(f"{'deleted' if delete else 'can go'}  {path}  ({why})")
    print(f"{len(found)} found in {runs_folder()}" + ("" if delete or not found else "; --delete lets them go"))
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m labkit", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("action", choices=["reproduce", "refresh", "clean"])
    parser.add_argument("names", nargs="*", help='notebooks, or "all"; default: the main ones; of clean: runs')
    parser.add_argument("--delete", action="store_true", help="of clean: delete what is listed without it")
    parser.add_argument("--preset", default="smoke", help=f"one of {', '.join(PRESETS)}")
    arguments = parser.parse_intermixed_args()
    if arguments.action == "clean":
        return _clean(arguments.names, arguments.delete)
    try:
        choose("preset", arguments.preset, PRESETS)
        known = reproducible() if arguments.action == "reproduce" else list(notebooks())
        names = [choose("notebook", name, [*known, "all"]) for name in arguments.names]
        if "all" in names or (not names and arguments.action == "refresh"):
            names = known
        for name in names if arguments.action == "reproduce" else ():
            preset_values(name, arguments.preset)
    except ValueError as error:
        parser.error(str(error))
    names = names or list(MAIN)
    return reproduce(names, arguments.preset) if arguments.action == "reproduce" else refresh(names)
