"""FLOPs and bytes from shapes alone, shown in a widget."""

import pytest

from labkit.explore import Flops


@pytest.fixture(scope="module")
def shown():
    """One widget for all tests: each sets the controls that it looks at."""
    return Flops()


def choose(shown, method="rigl", density=0.1, allocation="erk", model="lenet_300_100"):
    shown.model.value, shown.method.value, shown.allocation.value = model, method, allocation
    shown.density.value = min((value for _, value in shown.density.options), key=lambda value: abs(value - density))
    return shown


def test_a_slider_changes_bars_and_title(shown):
    choose(shown, density=0.1)
    before = list(shown.figure.data[1].y)
    assert shown.title.startswith("RigL by ERK on lenet_300_100: 10 % of the weights, 10 % of the test FLOPs, 10.3 %")
    choose(shown, density=1.0)
    assert list(shown.figure.data[1].y) == list(shown.figure.data[0].y) != before
    assert "all weights" in shown.title and not shown.said


def test_bars_are_the_layers_of_the_network_that_is_chosen(shown):
    choose(shown, model="resnet20", density=0.2)
    assert len(shown.figure.data[0].x) == 22 == len(shown.table())
    assert all(sparse <= dense for dense, sparse in zip(shown.figure.data[0].y, shown.figure.data[1].y, strict=True))


def test_bytes_have_a_bar_for_each_form(shown):
    table = choose(shown).table()
    found = [value / shown.figure.data[4].y[0] for value in shown.figure.data[4].y]
    wanted = [table[form].sum() / table["bytes_dense"].sum() for form in ("bytes_dense", "bytes_bits", "bytes_csr")]
    assert found == pytest.approx(wanted) and found[0] > found[2] > found[1]


def test_controls_that_have_no_say_are_disabled(shown):
    choose(shown, method="dense")
    assert shown.density.disabled and shown.allocation.disabled
    choose(shown, method="gradual")
    assert not shown.density.disabled and shown.allocation.disabled
    assert "as if each layer lost the same share" in shown.caption
    choose(shown, method="snfs")
    assert not shown.allocation.disabled and "they move" in shown.caption


def test_an_unknown_network_is_said_in_words():
    assert "unknown model 'lenet': did you mean 'lenet_300_100'" in Flops("lenet").said


def test_its_code_gives_its_table(shown):
    choose(shown, method="set", density=0.05, allocation="uniform")
    names = {}
    exec(shown.code(), names)
    assert names["table"].equals(shown.table())
