"""Stored runs as people look for them: what each is in a few words, and which differ in nothing but their seed."""

import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.runs.files import RUN_NAME
from labkit.runs.store import scan
from labkit.sparsity.methods import METHODS
from labkit.specs.base import digest

COLUMNS = ["run", "model", "data", "kind", "density", "seed", "first", "iterations", "diverged", "family", "recipe",
           "label"]  # fmt: skip


def catalogue(root: Path | None = None) -> pd.DataFrame:
    """All finished runs, a row each, read from headers alone.

    Args:
        root: the folder of all runs.

    Returns:
        run (name of the folder); model; data (its name, or the begin of its digest); kind ("dense", "ticket of round
        3", a control's or a method's name); density (at the end); seed; first (step); iterations; diverged; family
        (equal for runs that differ in seed and copy alone, see `families`); recipe (name -> value, flattened); label
        (most of it, for people). What `scan` says of damaged files, this says.
    """
    found = [{str(name): value for name, value in row.items() if not _missing(value)}
             for row in scan(root).to_dict("records")]  # fmt: skip
    names = {row["recipe.data"]: str(row["data"]) for row in found if "data" in row}
    kin = families({row["run"]: row for row in found})
    entries = []
    for row in found:
        try:
            entries.append(_entry(row, names, kin[row["run"]]))
        except (KeyError, TypeError, ValueError):  # the name of a run vouches for what it is, not for its result
            warnings.warn(f"run {row['run']} is left out: its result is not as a run is written", stacklevel=2)
    return pd.DataFrame(entries, columns=COLUMNS)


def _entry(row: Mapping[str, Any], names: Mapping[str, str], family: str) -> dict[str, Any]:
    data = row["recipe.data"]
    found = {
        "run": row["run"], "model": row["recipe.model"], "data": names.get(data, f"data {data[:6]}"),
        "kind": _kind(row), "density": row["density"], "seed": row["seed"], "first": row["first"],
        "iterations": row["recipe.train.iterations"], "diverged": "diverged_at" in row, "family": family,
        "recipe": {k.removeprefix("recipe."): v for k, v in row.items() if k.startswith("recipe.")},
    }  # fmt: skip
    ended = ", diverged" if found["diverged"] else ""
    said = f"{_thing(found)}, {found['model']} on {found['data']}, {found['iterations']:,} iterations{ended}"
    return found | {"label": f"{said}, seed {found['seed']} ({found['run'][:6]})"}


def _thing(row: Mapping[Any, Any]) -> str:
    return f"{row['kind']}, {100 * row['density']:.3g} %"


def _kind(row: Mapping[str, Any]) -> str:
    """What a run is, in a few words, by where its mask comes from."""
    if "start.control" in row:
        return str(row["start.control"]).replace("_", " ")
    if (method := row.get("recipe.topology.method")) is not None:
        return METHODS[method].title if method in METHODS else str(method)
    carried = "carried " if any(name.startswith("start.mask.carried") for name in row) else ""
    for name in ("start.mask.round", "start.mask.carried.round"):
        if name in row:
            return f"{carried}ticket of round {int(row[name])}"
    if any(name.startswith("start.mask.drawn") for name in row):
        return METHODS["static"].title
    return "dense" if row.get("start.mask") == "whole" else f"{carried}given mask"


def families(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Run -> a name that it shares with the runs that differ from it in their seeds and copies alone.

    Runs that they start from are compared likewise, where they are stored; one that is not is taken to be of its own.

    Args:
        rows: run -> field -> value, flattened: recipe.*, start.*, first, seed.
    """
    found: dict[str, str] = {}

    def family(name: str, above: tuple[str, ...]) -> str:
        if name not in found and name not in above:
            fields = {field: source(value, (*above, name)) for field, value in rows[name].items() if counts(field)}
            found[name] = digest(fields)
        return found.get(name, name)

    def source(value: Any, above: tuple[str, ...]) -> Any:
        known = isinstance(value, str) and re.fullmatch(RUN_NAME, value) and value in rows
        return family(value, above) if known else value

    def counts(field: str) -> bool:
        return field == "first" or (field.startswith(("recipe.", "start.")) and field != "start.copy")

    return {name: family(name, ()) for name in rows}


def group_names(rows: pd.DataFrame, most: int = 3) -> dict[str, str]:
    """Run -> what its family is called among those of some runs: kind and weights left, and in what else they differ.

    Args:
        rows: of a `catalogue`.
        most: fields of the recipe that are said.
    """
    one = {row["family"]: row for row in rows.to_dict("records")}
    recipes = {name: {k: v for k, v in row["recipe"].items() if k not in ("data", "model")} | {"model": row["model"],
               "data": row["data"], "first": row["first"]} for name, row in one.items()}  # fmt: skip
    alike: dict[str, list[str]] = {}
    for name, row in one.items():
        alike.setdefault(_thing(row), []).append(name)
    called = {}
    for thing, names in alike.items():
        known = [recipes[name] for name in names]
        fields = sorted({field for recipe in known for field in recipe})
        apart = [field for field in fields if len({str(recipe.get(field)) for recipe in known}) > 1][:most]
        for number, name in enumerate(names, start=1):
            said = ", ".join(f"{field} {recipes[name].get(field, 'none')}" for field in apart)
            called[name] = thing + (f" ({said or number})" if len(names) > 1 else "")
    return {row["run"]: called[row["family"]] for row in rows.to_dict("records")}


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
