"""What a ticket looks like."""

import numpy as np
import pytest

import labkit as lk
from labkit.explore import Mask
from labkit.explore.collection import Key
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def panel():
    return Mask()


def test_the_level_changes_the_pixels_and_the_title(panel):
    panel.view.value, panel.layer.value = "layer", "fc1.weight"
    kept = {}
    for _, level in panel.level.options:
        panel.level.value = level
        kept[level] = panel.figure.data[0].z.sum()
        assert f"{int(kept[level]):,} of 235,200 weights of fc1.weight" in panel.title and panel.said == ""
    assert kept[0] == 235_200 and sorted(kept.values(), reverse=True) == list(kept.values())


def test_other_layers_show_their_connections(panel):
    panel.view.value, panel.layer.value = "layer", "fc3.weight"
    assert panel.figure.data[0].z.shape == (10, 100)
    panel.layer.value = "fc1.weight"


def test_densities_stand_beside_rules_of_allocation_at_equal_total(panel):
    panel.view.value = "densities"
    bars = {bar.name: list(bar.y) for bar in panel.figure.data}
    assert list(bars) == ["ticket", "uniform", "Erdős–Rényi", "Erdős–Rényi kernel"]
    sizes, total = [235_200, 30_000, 1_000], panel.table()["kept"].sum()
    for heights in bars.values():
        assert sum(size * height / 100 for size, height in zip(sizes, heights, strict=True)) == pytest.approx(total)


def test_all_weights_are_in_the_histograms_at_the_start_and_at_the_end(panel):
    panel.view.value, panel.layer.value = "weights", "fc2.weight"
    assert [int(sum(bar.y)) for bar in panel.figure.data[:2]] == [int(sum(bar.y)) for bar in panel.figure.data[2:]]
    assert sum(sum(bar.y) for bar in panel.figure.data[:2]) == 30_000
    assert panel.title.endswith("at the end") and "spread by" in panel.title


def test_the_table_counts_units_without_weights(panel):
    table = panel.table()
    masks = panel.collection.end(Key("ticket", panel.level.value, panel.seed.value))[1]
    alone = [int((~mask.any(1)).sum()) for mask in masks.values()]
    assert table["units"].tolist() == [300, 100, 10] and table["units_without_weight_in"].tolist() == alone
    assert panel.level.value == 15 and alone[0] > 0


def test_the_code_that_is_shown_can_be_compiled(panel):
    compile(panel.code(), "code", "exec")


def test_kernels_of_a_convolution_are_tiles_and_a_run_that_is_gone_is_said_in_words(runs):
    spec = small_spec(levels=2, duration="1it", model="conv_2", model_options={"width": 0.1})
    tickets = lk.find_tickets(spec, [0])
    own = Mask(tickets)
    kernels, kept = own.figure.data[0].z, own.table()["kept"][0]
    assert kernels.shape == (7, 11) and np.nansum(kernels) == kept  # six tiles of 3x3, three in a row
    assert own.said == "" and "of 6 units have no weight" in own.title
    tickets.runs[1].folders[0].path.joinpath("run.safetensors").unlink()
    before = own.title
    own.level.value = 1
    assert "run.safetensors" in own.said and own.title == before


def test_controls_alone_are_no_tickets():
    tickets = lk.find_tickets(small_spec(levels=1, duration="20it"), [0])
    assert "no tickets whose weights were kept" in Mask(lk.branch(tickets, "random_reinit")).said


def test_a_network_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="tickets of seed 0 at levels"):
        Mask().collection.end(Key("ticket", 1, 5))
