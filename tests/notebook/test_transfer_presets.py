"""The presets of the transfer notebooks, as far as they go without data: every route joins tasks that are there."""

from pathlib import Path

import nbformat
import pytest

from labkit.notebook.settings import preset_values, presets
from labkit.studies import transfer_study

ROOT = Path(__file__).parents[2]

NOTEBOOKS = ("transfer_datasets", "transfer_domains", "transfer_optimizers", "transfer_within_distribution")


class Asked(Exception):
    """What the notebook asked for."""


def asked_for(notebook, preset, monkeypatch):
    """Specs, routes and seeds of a preset: the cells are run up to the one that would train."""

    def ask(*arguments):
        raise Asked(*arguments)

    monkeypatch.setattr(transfer_study, "study_transfer", ask)
    space = {}
    for cell in nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            space |= preset_values(notebook, preset)
        elif cell.cell_type == "code":
            try:
                exec(cell.source, space)
            except Asked as found:
                return found.args
    raise AssertionError("it asks for nothing")


@pytest.mark.parametrize(("notebook", "preset"), [(name, preset) for name in NOTEBOOKS for preset in presets(name)])
def test_routes_of_a_preset_join_its_tasks_at_levels_that_it_finds(notebook, preset, monkeypatch):
    specs, routes, seeds = asked_for(notebook, preset, monkeypatch)
    assert seeds and len({route.name for route in routes}) == len(routes)
    used = {task for route in routes for task in (route.source, route.target)}
    assert used == set(specs), "no task is found that nobody carries, none is carried that nobody finds"
    for route in routes:
        source, target = specs[route.source], specs[route.target]
        assert source.model == target.model and source.prune == target.prune
        assert "carried" in route.arms and set(route.arms) <= set(transfer_study.ARMS)
        levels = [level for chosen in route.arms.values() for level in chosen]
        assert min(levels) >= 0 and max(levels) <= target.prune.levels
        assert source.data.validation == target.data.validation == 0
        if route.head == "fresh":
            assert source.prune.output_rate == 0


def test_the_richer_source_of_a_preset_is_one_that_it_carries_from():
    for preset in presets("transfer_datasets"):
        values = preset_values("transfer_datasets", preset)
        model, *sources = values["richer"]
        there = {values["tasks"][task]["name"] for route in values["models"][model]["routes"] for task in route}
        assert set(sources) <= there
