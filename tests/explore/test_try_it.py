"""Training live in a widget: beside a busy thread, paused, stopped, followed, and stored like any run."""

import time

import ipywidgets as widgets
import pytest
import torch

import labkit as lk
from labkit.explore import TryIt
from labkit.ground import tensor_files
from labkit.runs.store import Store
from tests.conftest import finished

SHORT = lk.TrainSpec(duration="80it", evaluate_every="10it")
ENDLESS = lk.TrainSpec(duration="100000it", evaluate_every="10it")


def points(panel):
    return len(panel.figure.data[0].x)


def until(holds, seconds=60):
    """Waits in a busy thread: a cell that computes."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        sum(range(20_000))


@pytest.fixture
def endless():
    panel = TryIt(ENDLESS)
    yield panel
    panel.close()
    assert panel.worker.wait(30)


def test_the_curve_grows_beside_a_busy_cell_and_stop_saves_at_any_moment(endless, runs):
    endless.start.click()
    until(lambda: points(endless) >= 3)
    assert "test accuracy" in endless.title and "of 100,000 iterations" in endless.title
    until(lambda: endless.said == "training; other cells can be run meanwhile")
    assert endless.density.disabled and endless.start.disabled
    endless.stop.click()
    assert endless.worker.wait(30) and endless.worker.state == "idle" and endless.worker.error is None
    assert [path.name for path in runs.glob("*/*.safetensors")] == ["checkpoint.safetensors"]
    shown = points(endless)
    assert shown >= 3 and not endless.density.disabled
    again = TryIt(ENDLESS)  # as after a restart of the kernel
    assert points(again) == shown and again.title == endless.title
    again.start.click()
    until(lambda: points(again) > shown)
    again.close()
    assert again.worker.wait(30)


def test_a_control_that_moves_while_it_trains_does_not_rename_what_is_trained(endless):
    endless.start.click()
    until(lambda: points(endless) >= 2)
    endless.method.value, endless.density.value = "dense", 0.5
    assert endless.title.startswith("RigL at 10 %: test accuracy")
    endless.stop.click()
    assert endless.worker.wait(30) and endless.title == "Dense: not trained yet"


def test_what_is_paused_rests_and_goes_on(endless):
    endless.start.click()
    until(lambda: points(endless) >= 2)
    endless.pause.click()
    assert endless.said == "paused: Start goes on, Stop saves it and ends"
    time.sleep(1.0)  # a slice may be on its way
    rested = endless._rows[-1]["iteration"]
    time.sleep(0.5)
    assert endless._rows[-1]["iteration"] == rested
    endless.start.click()
    until(lambda: endless._rows[-1]["iteration"] > rested)


def test_stop_right_after_start_leaves_nothing_broken(endless):
    for _ in range(3):
        endless.start.click()
        endless.stop.click()
        assert endless.worker.wait(60) and endless.worker.state == "idle", endless.worker.error
    assert endless.said == ""


def test_a_second_click_and_a_second_widget_share_one_run(endless, runs):
    endless.start.click()
    endless.start.click()
    until(lambda: points(endless) >= 2)
    other = TryIt(ENDLESS)
    other.start.click()
    until(lambda: other.said == "another widget or process trains this; what it saves is shown" and points(other) >= 2)
    other.stop.click()
    assert other.worker.wait(30) and other.worker.state == "idle"
    assert endless.worker.state == "running" and len(list(runs.iterdir())) == 1


def test_what_is_trained_is_the_run_of_train_sparse_bit_for_bit(kernel_threads, runs, tmp_path):
    panel = TryIt(SHORT)
    panel.start.click()
    panel.stop.click()
    assert panel.worker.wait(60)
    panel.start.click()
    assert panel.worker.wait(60) and panel.worker.state == "idle", panel.worker.error
    assert torch.get_num_threads() == kernel_threads
    assert "after 80 of 80 iterations" in panel.title and points(panel) == 9
    run = lk.train_sparse(panel.spec, [0], root=tmp_path / "plain")
    assert list(finished(runs)) == [run.networks.folders[0].path.name]
    mine, theirs = (
        tensor_files.read(root / panel.run.hash / "run.safetensors")[0] for root in (runs, tmp_path / "plain")
    )
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name].nan_to_num(), theirs[name].nan_to_num()) for name in mine)


def test_what_the_main_thread_draws_while_it_trains_is_its_own(endless):
    torch.manual_seed(0)
    expected = torch.rand(4)
    endless.start.click()
    until(lambda: points(endless) >= 2)
    torch.manual_seed(0)
    drawn = [torch.rand(1) for _ in range(2)]
    shown = points(endless)
    until(lambda: points(endless) > shown)
    drawn.append(torch.rand(1))
    endless.stop.click()
    assert endless.worker.wait(30)
    assert torch.equal(torch.cat([*drawn, torch.rand(1)]), expected)


def test_an_error_in_the_thread_is_said_in_words(tmp_path, monkeypatch, capsys):
    panel = TryIt(SHORT)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path / "file" / "runs"))
    panel.start.click()
    assert panel.worker.wait(60) and panel.worker.state == "failed"
    assert "cannot write to the run folder" in panel.said and not panel.start.disabled
    assert capsys.readouterr() == ("", "")


def test_a_run_deleted_while_it_is_shown_is_not_shown_any_more(runs):
    panel = TryIt(SHORT)
    panel.start.click()
    assert panel.worker.wait(60) and points(panel) == 9
    (Store().folder(panel.run).path / "run.safetensors").unlink()
    panel.density.value = 0.2
    panel.density.value = 0.1
    assert points(panel) == 0 and panel.title == "RigL at 10 %: not trained yet"


def test_the_code_makes_the_spec_that_is_trained():
    panel = TryIt(SHORT)
    panel.method.value, panel.every.value, panel.rate.value = "set", "25it", 0.5
    made = panel.code().split("train_sparse(")[1].rpartition(", seeds")[0]
    assert eval(made, {"lk": lk}) == panel.spec


def test_controls_have_names_for_the_keyboard():
    panel = TryIt(SHORT)
    for control in panel.controls:
        assert isinstance(control, widgets.Dropdown | widgets.SelectionSlider) and control.description
