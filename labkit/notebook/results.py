"""What a notebook leaves behind: its table, figure, verdicts, and a record of how they came about."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import yaml

from labkit.notebook.claims import Verdicts
from labkit.notebook.settings import Settings
from labkit.runs import provenance
from labkit.runs.networks import Networks
from labkit.runs.store import runs_folder
from labkit.studies.branches import Runs
from labkit.studies.sparse_runs import SparseRun
from labkit.studies.tables import Study


def folder(settings: Settings) -> Path:
    """Where a notebook's results go: `runs/results/NOTEBOOK/PRESET`, `PRESET-changed` if its parameters were."""
    return runs_folder() / "results" / settings.notebook / (settings.preset + "-changed" * bool(settings.changed))


def write(
    settings: Settings, *branches: Runs | SparseRun | Study, table: pd.DataFrame, figure: go.Figure, verdicts: Verdicts
) -> Path:
    """Write `table.csv`, `verdicts.csv`, `figure.html`, `figure.svg` (where a browser can draw it) and `run.yaml`.

    Returns:
        The folder they are in.
    """
    path = folder(settings)
    path.mkdir(parents=True, exist_ok=True)
    table.round(6).to_csv(path / "table.csv", index=False)
    verdicts.table().to_csv(path / "verdicts.csv", index=False)
    figure.write_html(path / "figure.html", include_plotlyjs=True)
    (path / "figure.svg").unlink(missing_ok=True)  # an older one, where none can be drawn now
    if (svg := draw_svg(figure)) is not None:
        (path / "figure.svg").write_bytes(svg)
    (path / "run.yaml").write_text(yaml.safe_dump(record(settings, *branches), sort_keys=False))
    return path


def record(settings: Settings, *branches: Runs | SparseRun | Study) -> dict[str, Any]:
    """Parameters, hardware, versions and commits, time, and the runs that the results were computed from."""
    groups = [networks for branch in branches for networks in _networks(branch)]
    made = {h: result for group in groups for h, result in zip(group.hashes, group.results, strict=True)}
    first = {member.run.hash: member.run.first for group in groups for member in group.members}
    found: Mapping[str, Any] = provenance.describe()
    return {
        "notebook": settings.notebook,
        "preset": settings.preset,
        "parameters": dict(settings.values),
        "changed_from_preset": list(settings.changed),
        **{key: found[key] for key in ("hardware", "labkit", "torch", "python")},
        "commit_of_notebook": found["commit"],
        "commit_of_runs": sorted({result["commit"] for result in made.values()}),
        "engines": sorted({f"{r['engine']}, {r['threads']} threads" for r in made.values()}),
        "training_seconds": round(sum(result["seconds"] for result in made.values()), 1),
        "network_iterations": sum(result["iterations"] - first[h] for h, result in made.items()),
        "runs": list(made),
    }


def _networks(branch: Runs | SparseRun | Study) -> list[Networks]:
    if isinstance(branch, SparseRun):
        return [branch.networks]
    return [run.networks for run in branch.rows.values()] if isinstance(branch, Study) else list(branch.runs.values())


def draw_svg(figure: go.Figure) -> bytes | None:
    """The figure as SVG, or None where there is no Chrome or Chromium, which draws it."""
    try:
        return figure.to_image(format="svg")
    except (RuntimeError, ValueError, OSError):  # kaleido and plotly name a missing browser by one of these
        return None
