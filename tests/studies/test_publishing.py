"""What a search found, published with cards that say what the runs say."""

import pytest

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
    assert cards[0].name == "lenet-300-100-digits-level-1-seed-0"


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
