"""A bank's cards in one picture."""

import pytest

import labkit as lk
from labkit.figures import banks


def test_each_ticket_is_joined_to_its_control():
    table = lk.Bank().table()
    figure = banks.by_weights_left(table, title="x")
    traces = {trace.name: trace for trace in figure.data if trace.name}
    assert list(traces["winning ticket"].y) == (100 * table["accuracy"]).round(3).tolist()
    assert list(traces["random reinit"].y) == (100 * table["control_accuracy"]).round(3).tolist()
    joins = [trace for trace in figure.data if trace.mode == "lines"]
    assert [list(join.y) for join in joins] == [
        [round(100 * a, 3), round(100 * c, 3)]
        for a, c in zip(table["accuracy"], table["control_accuracy"], strict=True)
    ]


def test_tickets_without_a_control_stand_alone_and_mixed_ones_are_refused():
    table = lk.Bank().table()
    alone = table.assign(control=None, control_accuracy=float("nan"))
    assert [trace.name for trace in banks.by_weights_left(alone, title="x").data] == ["winning ticket"]
    for wrong in (table.iloc[:0], table.assign(data=["digits", *table["data"][1:]])):
        with pytest.raises(ValueError, match=r"the table is of [02] models and data sets"):
            banks.by_weights_left(wrong, title="x")
