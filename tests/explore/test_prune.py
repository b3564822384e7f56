"""A trained network pruned under one's fingers."""

import time

import pytest

import labkit as lk
from labkit.explore import PruneNow
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    return lk.find_tickets(small_spec(levels=0, duration="100it"), [0, 1], root=tmp_path_factory.mktemp("runs"))


def line(panel, name):
    return next(trace for trace in panel.figure.data if trace.name.startswith(name))


def test_the_answer_is_shown_after_a_guess_and_for_that_setting_alone(tickets):
    panel = PruneNow(tickets)
    assert "Guess, then press Show" in panel.title and not line(panel, "pruned").y and panel.again.disabled
    panel.guess.value = 30
    panel.show.click()
    at = panel.setting
    assert list(line(panel, "your guess").y) == [30] and line(panel, "pruned").y[0] == pytest.approx(
        100 * panel.measured[at], abs=1e-3)  # fmt: skip
    assert f"{100 * panel.measured[at]:.1f} % right, your guess" in panel.title and not panel.again.disabled
    panel.guess.value = 99
    panel.show.click()
    assert panel.guesses[at] == 0.3
    panel.density.value = 0.5
    assert "Guess, then press Show" in panel.title and list(line(panel, "your guess").x) == [10]
    panel.score.value = "random"
    assert not line(panel, "your guess").y and panel.said == ""


def test_what_is_left_of_all_weights_is_what_was_trained(tickets):
    panel = PruneNow(tickets)
    panel.seed.value, panel.density.value = 1, 1.0
    panel.show.click()
    trained = tickets.metrics().query("seed == 1")["test_accuracy"].iloc[-1]
    assert panel.measured[panel.setting] == pytest.approx(trained)


def test_its_ticket_is_trained_beside_and_shown(tickets):
    panel = PruneNow(tickets)
    panel.density.value = 0.2
    panel.show.click()
    panel.length.value = 100
    panel.again.click()
    panel.again.click()  # changes nothing
    assert panel.worker.wait(60) and panel.said == ""
    at = panel.setting
    assert 0 < panel.retrained[at] <= 1 and "its ticket, trained:" in panel.title
    assert list(line(panel, "its ticket").x) == [20] and "100 of 100 iterations" in panel.progress.value
    assert panel.table()["retrained"].tolist() == [panel.retrained[at]]


def test_training_is_stopped_while_the_widget_stays_usable(tickets):
    panel = PruneNow(tickets)
    panel.length.options, panel.length.value = (50_000,), 50_000
    panel.show.click()
    panel.again.click()
    began = time.monotonic()
    while "iterations" not in panel.progress.value and time.monotonic() - began < 60:
        time.sleep(0.05)
    panel.density.value = 0.5  # the widget stays usable
    panel.halt.click()
    assert panel.worker.wait(60) and panel.said == "" and not panel.retrained
    assert "stopped: press Retrain" in panel.progress.value


def test_to_train_before_a_guess_is_refused_in_words(tickets):
    panel = PruneNow(tickets)
    panel.guard(panel.retrain)
    assert panel.said.startswith("first guess") and not panel.worker.busy


def test_what_fails_beside_is_said_in_words(tickets, monkeypatch):
    panel = PruneNow(tickets)
    panel.show.click()
    monkeypatch.setattr("labkit.explore.prune.train", lambda *given, **named: 1 / 0)
    panel.again.click()
    assert panel.worker.wait(60) and panel.said == "training failed: division by zero"


def test_the_set_that_ships_is_tried_on_embedded_images_where_mnist_is_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    panel = PruneNow()
    assert "test images of digits_as_mnist, which stand in" in panel.caption
    panel.show.click()
    assert panel.said == "" and "% right, your guess" in panel.title


def test_a_run_that_is_gone_while_it_is_shown_is_said_in_words():
    gone = lk.find_tickets(small_spec(levels=0, duration="20it"), [0, 1])
    panel = PruneNow(gone)
    gone.runs[0].folders[1].path.joinpath("run.safetensors").unlink()
    panel.seed.value = 1
    assert "run.safetensors" in panel.said and "Guess" in panel.title


def test_the_code_that_is_shown_can_be_compiled(tickets):
    compile(PruneNow(tickets).code(), "code", "exec")
