"""Notebook parameters: what a notebook takes, checked by name and type before anything runs; and its presets."""

import ast
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labkit.figures.titles import network
from labkit.ground.names import choose, shown
from labkit.notebook import rules
from labkit.notebook.rules import PRESETS

_LITERALS = (bool, int, float, str, list, tuple, dict, type(None))
_TELLING = ("data", "normalisation", "model", "model_options", "width", "activation", "dropout", "iterations",
            "duration")  # fmt: skip
_INJECTED = "# Parameters"  # the first line of the cell that papermill injects


def params_folder() -> Path:
    """The folder of presets and expected values: `LABKIT_PARAMS`, else `params/` of the checkout labkit runs from.

    Raises:
        FileNotFoundError: if it is in neither place.
    """
    path = Path(os.environ.get("LABKIT_PARAMS", Path(__file__).resolve().parents[2] / "params"))
    if not path.is_dir():
        raise FileNotFoundError(
            f"no presets at {path}: install labkit from a checkout (pip install -e .), or set LABKIT_PARAMS"
        )
    return path


def preset_values(notebook: str, preset: str) -> dict[str, Any]:
    """The parameters of a preset.

    Raises:
        ValueError: for an unknown notebook or preset.
    """
    choose("notebook", notebook, [path.name for path in params_folder().iterdir() if path.is_dir()])
    path = params_folder() / notebook / f"{choose('preset', preset, presets(notebook))}.yaml"
    return yaml.safe_load(path.read_text())


def presets(notebook: str) -> list[str]:
    """The presets that a notebook has."""
    return [preset for preset in PRESETS if (params_folder() / notebook / f"{preset}.yaml").is_file()]


@dataclass(frozen=True)
class Settings:
    """Checked parameters of a notebook run.

    Attributes:
        notebook, preset: names.
        values: all parameters.
        changed: those that differ from the preset's; results are then shown, not judged.
    """

    notebook: str
    preset: str
    values: Mapping[str, Any]
    changed: tuple[str, ...]

    def published_as(self, names: Sequence[str] = _TELLING) -> str:
        """What the published networks were where these are not: their data, width, length; else nothing.

        Read off the notebook's `paper` preset. A map is compared where both have a key, `model_options` throughout.

        Args:
            names: parameters to look at.
        """
        paper, found = preset_values(self.notebook, "paper"), []
        for name in names:
            there, here = paper.get(name), self.values.get(name)
            if not isinstance(there, Mapping) or not isinstance(here, Mapping):
                found += [f"{name} {_written(there)}"] if there != here else []
            elif name == "model_options":
                keys = [key for key in dict.fromkeys([*there, *here]) if there.get(key) != here.get(key)]
                found += [f"{key} {_written(there.get(key, 'default'))}" for key in keys]
            else:
                keys = [key for key in there if key in here and there[key] != here[key]]
                found += [f"{name} {', '.join(f'{_written(there[key])} ({key})' for key in keys)}"] if keys else []
        return ", ".join(found)

    def compared(self, published: str) -> str:
        """The caption of a table: this network, these data and this length, and those of the published numbers beside.

        Args:
            published: the published network and data, such as "WRN-22-2 on CIFAR-10".
        """
        values = self.values
        here = f"{network(values['model'], values['model_options'].get('width', 1))} on {values['data']}"
        there = self.published_as(("model_options", "duration"))
        return f"{here}, {values['duration']}; published: {published}{', ' + there if there else ''}"

    def __repr__(self) -> str:
        changed = f", changed: {', '.join(self.changed)}" if self.changed else ""
        return f"{self.notebook}, preset {self.preset}{changed}"


def _written(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def settings(notebook: str, namespace: Mapping[str, Any]) -> Settings:
    """Check the parameters of a notebook, in the cell after its parameters cell: `settings("NAME", globals())`.

    Raises:
        ValueError: for a parameter that the notebook does not take (papermill would pass it over), an unknown preset,
            a value of the wrong type, or claims that could not be judged at the end; names what is right.
    """
    expected = preset_values(notebook, "smoke")
    for name in _given(namespace):
        choose("parameter", name, expected)
    values = {name: namespace[choose("parameter", name, namespace)] for name in expected}
    for name, example in expected.items():
        _same_type(name, values[name], example)
    preset = preset_values(notebook, values["preset"])
    for name, claim in rules.read(params_folder() / notebook / "expected.yaml").items():
        choose(f"preset of claim {name}", values["preset"], claim.rules)
    changed = tuple(name for name in preset if values[name] != preset[name])
    return Settings(notebook, values["preset"], values, changed)


def _given(namespace: Mapping[str, Any]) -> list[str]:
    """Names that the parameters cell and papermill's injected cell assign; outside IPython, all plain values.

    Of several runs of the parameters cell the last counts, so that a misspelt name can be corrected.
    """
    if "In" not in namespace:
        return [n for n, value in namespace.items() if not n.startswith("_") and isinstance(value, _LITERALS)]
    names: list[str] = []
    for source in namespace["In"]:
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a magic
            continue
        targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
        assigned = [target.id for target in targets if isinstance(target, ast.Name)]
        if "preset" in assigned and not source.startswith(_INJECTED):
            names = assigned
        elif source.startswith(_INJECTED):
            names = names + assigned
    return names


def _same_type(name: str, value: Any, example: Any) -> None:
    kind = type(example)
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        right = True
    if not right or (kind is float and not math.isfinite(value)):
        hint = " (YAML floats need a point: 1.0e-3)" if kind is float and isinstance(value, str) else ""
        raise ValueError(f"parameter {name} is {shown(value)}: it must be a {kind.__name__}, such as {example!r}{hint}")
    if kind is list and example:
        for element in value:
            _same_type(f"{name} (an element)", element, example[0])
