"""Units that a mask leaves without weights."""

import pytest
import torch

from labkit.sparsity.units import Units, dead_units, weights_per_input


def mask(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_a_unit_without_weights_in_or_out_is_dead():
    first = mask([1, 0], [0, 0], [0, 1])  # its second unit is not fed
    second = mask([1, 1, 0])  # and nothing hears the third
    assert dead_units({"a": first, "b": second}, chain=True) == {"a": Units(3, 1, 1, 2), "b": Units(1, 0, 0, 0)}


def test_where_layers_are_no_chain_only_weights_in_are_counted():
    assert dead_units({"a": mask([0], [1]), "b": mask([0, 0])}, chain=False) == {
        "a": Units(2, 1, None, 1), "b": Units(1, 1, None, 1)}  # fmt: skip


def test_a_channel_is_heard_at_any_of_its_positions():
    channels = torch.ones(2, 1, 3, 3, dtype=torch.bool)
    flat = mask([0, 0, 0, 0, 0, 0, 1, 0])  # 2 channels x 4 positions
    assert dead_units({"conv": channels, "fc": flat}, chain=True)["conv"] == Units(2, 0, 1, 1)


def test_layers_that_do_not_follow_each_other_are_refused():
    with pytest.raises(ValueError, match="b takes 3 inputs"):
        dead_units({"a": mask([1], [1]), "b": mask([1, 1, 1])}, chain=True)


def test_weights_are_counted_by_input_over_outputs_and_positions():
    kernel = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    kernel[:, 1] = True
    kernel[0, 2, 0, 0] = True
    assert weights_per_input(kernel).tolist() == [0, 8, 1]
