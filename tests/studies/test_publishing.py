"""What a search found, published with cards that say what the runs say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import labkit as lk
from labkit.studies import metrics
from labkit.studies.publishing import publish
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    tickets = lk.find_tickets(small_spec(), [0, 1], root=root)
    return tickets, lk.branch(tickets, "random_reinit", per_seed=2, levels=[1, 2])


def test_cards_say_what_was_measured(found, tmp_path):
    tickets, reinit = found
    cards = publish(lk.Bank(tmp_path), tickets, reinit, [1, 2], licence="MIT")
    assert [(card.level, card.seed) for card in cards] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    table = metrics.outcomes(metrics.curves(tickets, reinit))
    for card in cards:
        at = table[(table["level"] == card.level) & (table["seed"] == card.seed)]
        for branch, said in (("ticket", card.accuracy), ("random_reinit", card.control_accuracy)):
            assert said == pytest.approx(at[at["branch"] == branch]["accuracy_at_early_stop"].mean(), abs=1e-6)
        assert "the control: 2 networks, a mean" in card.measured and "360 test examples" in card.measured
        assert f"{card.level} rounds of pruning by magnitude" in card.found and "fc3.weight 0.1" in card.found
        assert card.control == "random_reinit" and card.spec["prune"]["levels"] == 2
        assert lk.Bank(tmp_path).load(card.name).equals(tickets.ticket(card.seed, card.level))
    run = tickets.tickets[0, 1].hash
    assert cards[0].name == f"lenet-300-100-digits-level-1-seed-0-{run[:8]}" and cards[0].source is None


def test_what_a_card_says_can_be_trained_again(found, tmp_path):
    tickets, reinit = found
    (card, _) = publish(lk.Bank(tmp_path / "bank"), tickets, reinit, [2], licence="MIT")
    spec = lk.TicketSpec(train=card.spec["train"], data=card.spec["data"], model=card.spec["model"])
    again = lk.train(lk.Bank(tmp_path / "bank").load(card.name), spec, [card.seed], root=tmp_path / "runs").metrics()
    best = again.loc[again["validation_loss"].idxmin()]
    assert best["test_accuracy"] == pytest.approx(card.accuracy, abs=1e-6)


def test_runs_that_are_not_a_search_and_its_control_are_refused(found, tmp_path):
    tickets, reinit = found
    other = lk.find_tickets(small_spec(levels=1, duration="20it"), [0])
    for pair in ((reinit, reinit), (other, reinit)):
        with pytest.raises(ValueError, match="are not what find_tickets gave, and a control of it"):
            publish(lk.Bank(tmp_path / "bank"), *pair, [1], licence="MIT")
    with pytest.raises(ValueError, match="unknown level that both have '0'"):
        publish(lk.Bank(tmp_path / "bank"), tickets, reinit, [0], licence="MIT")
    with pytest.raises(ValueError, match="licence is ''"):
        publish(lk.Bank(tmp_path / "bank"), tickets, reinit, [1], licence="")
    assert not (tmp_path / "bank").exists()
    with pytest.raises(ValueError, match="are not what find_tickets gave, and a control of it"):
        publish(lk.Bank(tmp_path / "bank"), tickets, tickets, [1], licence="MIT")


def bare(levels=1, **data):
    """A search that holds nothing out, of a second."""
    return small_spec(levels=levels, duration="20it", data=lk.DataSpec("digits", **{"validation": 0, **data}))


def published(folder, tickets, levels=(1,)):
    control = lk.branch(tickets, "random_reinit", levels=list(levels))
    return publish(lk.Bank(folder), tickets, control, levels, licence="MIT"), control


def test_without_validation_accuracies_are_those_at_the_end_of_training(tmp_path):
    tickets = lk.find_tickets(bare(), [0, 1], root=tmp_path / "runs")
    cards, control = published(tmp_path / "bank", tickets)
    ends = metrics.ends(metrics.curves(tickets, control)).set_index(["branch", "level", "seed"])["accuracy_at_end"]
    for card in cards:
        assert card.accuracy == pytest.approx(ends["ticket", 1, card.seed], abs=1e-6)
        assert card.control_accuracy == pytest.approx(ends["random_reinit", 1, card.seed], abs=1e-6)
        assert "at the end of training, 20 iterations; nothing was chosen" in card.measured
        assert "early stop" not in card.measured


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """Two data sets whose names differ beyond what a ticket's name has room for."""
    folder = tmp_path_factory.mktemp("data")
    paths = [folder / f"{'long' * 30}_{end}.npz" for end in "ab"]
    arrays = {name: tensor.numpy() for name, tensor in lk.data.arrays("digits").tensors.items()}
    for turns, path in enumerate(paths):
        np.savez(path, **{k: np.rot90(v, turns, (2, 3)) if v.ndim > 1 else v for k, v in arrays.items()})
    return paths


def test_two_searches_never_have_one_name(tmp_path, long_names):
    specs = {
        "all": bare(), "a": bare(half="a"), "b": bare(half="b"), "scarce": bare(per_class=20),
        "lr": replace(bare(), train=replace(bare().train, lr=3e-3)), "batch": bare(normalisation="half"),
        "sigmoid": replace(bare(), model_options={"activation": "sigmoid"}), "said": bare(train=500),
        **{str(n): replace(bare(), data=replace(bare().data, name=str(path))) for n, path in enumerate(long_names)},
    }  # fmt: skip
    found = lk.find_tickets(specs, [0], root=tmp_path / "runs")
    names = {key: published(tmp_path / "bank", tickets)[0][0].name for key, tickets in found.items()}
    assert len(set(names.values())) == len(specs)
    assert names["a"].startswith("lenet-300-100-digits-half-a-level-1-seed-0-")
    assert names["scarce"].startswith("lenet-300-100-digits-20-images-a-class-level-1-seed-0-")
    assert names["sigmoid"].startswith("lenet-300-100-activation-sigmoid-digits-level-1")
    assert max(map(len, names.values())) == len(names["0"]) == 100 and "-level-1-seed-0-" in names["0"]


def test_a_carried_ticket_says_on_its_card_and_in_its_file_what_it_was_found_on(tmp_path):
    spec = replace(bare(levels=2, half="a"), rewind="5it")
    source = lk.find_tickets(spec, [0], root=tmp_path / "runs")
    there = replace(spec, data=replace(spec.data, half="b", per_class=30))
    carried, natives = lk.transfer(source, there), lk.find_tickets(there, [0], root=tmp_path / "runs")
    weights = lk.transfer(source, there, init_only=True)
    dense = source.tickets[0, 0].hash
    wanted = {"model": "lenet_300_100", "data": {"name": "digits", "half": "a", "per_class": None}, "run": dense}
    cards, control = published(tmp_path / "bank", carried, [1, 2])
    for runs in (carried, weights, control):
        assert all(runs.ticket(0, level).about["source"] == wanted for level in runs.levels), runs
    own = {"model", "data", "branch", "level", "seed", "copy", "rewind_step", "spec", "run", "labkit"}
    assert all(set(runs.ticket(0, 1).about) == own for runs in (source, natives)), "their files stay as they were"
    said = f"lenet_300_100 on digits, half a (run {dense})"
    assert f"found on {said}" in carried.ticket(0, 1).describe()
    assert all(card.source == said and f"found on {said}" in card.found for card in cards)
    assert cards[0].what.startswith("lenet_300_100 for digits, half b, 30 images a class with")
    published(tmp_path / "bank", natives, [1, 2])
    others, _ = published(tmp_path / "bank", weights)
    assert f"weights of {said}, masks found here, 1 rounds of pruning by magnitude" in others[0].found
    table = lk.Bank(tmp_path / "bank").table()
    assert len(table) == 5 and table["source"].notna().sum() == 3 and set(table["source"].dropna()) == {said}
    assert lk.Bank(tmp_path / "bank").table(source=said)["level"].tolist() == [1, 1, 2]
    assert lk.Bank(tmp_path / "bank").load(cards[1].name).about["source"] == wanted


def test_a_card_that_hides_where_its_ticket_was_found_is_refused(tmp_path):
    weights = {"fc.weight": torch.ones(2, 2)}
    about = {"model": "net", "data": "mnist", "spec": {}, "source": {"model": "net", "data": 3, "run": "0"}}
    bank = lk.Bank(tmp_path)
    said = {"what": "a", "found": "b", "accuracy": 0.5, "measured": "c", "licence": "MIT"}
    card = bank.publish(lk.Ticket(weights, {}, about), "one", **said)
    assert card.source == "net on None (run 0)"
    path = tmp_path / "one.json"
    path.write_text(path.read_text().replace('"source": "net on None (run 0)"', '"source": null'))
    with pytest.raises(ValueError, match="the card of one says source None, the ticket 'net on None"):
        bank.load("one")
