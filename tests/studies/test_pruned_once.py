"""A trained network that is pruned once."""

import pytest
import torch

import labkit as lk
from labkit.explore.collection import Key, collection
from labkit.sparsity import masks
from labkit.studies.pruned_once import PrunedOnce
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    tickets = lk.find_tickets(small_spec(levels=1), [0], root=tmp_path_factory.mktemp("runs"))
    found, dense = collection(tickets), Key("ticket", 0, 0)
    return tickets, PrunedOnce(tickets.experiment, found.end(dense)[0], found.start(dense)[0])


def test_unpruned_it_knows_what_it_knew_at_the_end_of_its_training(study):
    tickets, once = study
    whole = once.masks("magnitude", "layer", 1.0)
    assert once.accuracy(whole) == pytest.approx(tickets.metrics().query("level == 0")["test_accuracy"].iloc[-1])


def test_its_ticket_at_a_rate_for_all_layers_is_the_one_of_a_search(study):
    tickets, once = study
    ours, theirs = once.masks("magnitude", "layer", 0.8), tickets.ticket(0, 1).mask
    assert torch.equal(ours["fc1.weight"], theirs["fc1.weight"]) and torch.equal(
        ours["fc2.weight"], theirs["fc2.weight"]
    )
    ticket = once.ticket(ours)
    assert torch.equal(ticket.weights["fc1.weight"], tickets.ticket(0, 1).weights["fc1.weight"])


def test_less_is_left_in_all_where_layers_compete(study):
    _, once = study
    counts = masks.counts(once.masks("magnitude", "global", 0.1))
    assert sum(counts.values()) == 26_620 and counts != masks.counts(once.masks("magnitude", "layer", 0.1))
    assert (
        0 <= once.accuracy(once.masks("random", "global", 0.01)) < once.accuracy(once.masks("magnitude", "layer", 0.9))
    )
