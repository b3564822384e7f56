from dataclasses import replace

import pandas as pd
import pytest

import labkit as lk
from labkit.studies import tuning

SPACE = tuning.Space(every=(2, 10, 2))


def spec(**changes):
    return lk.SparseSpec(
        model="lenet_300_100",
        train=lk.TrainSpec("16it", optimizer="sgd", lr=0.05, momentum=0.9, batch_size=16, evaluate_every="16it"),
        topology=lk.TopologySpec("rigl", 0.05, **changes),
    )


def settings_of(found):
    return found.table()[["rate", "every", "validation_accuracy"]].to_numpy().tolist()


class Stub:
    """A run whose accuracy is a function of its settings: best at a rate of 0.2 and the longest distance."""

    def __init__(self, spec, seeds, root=None):
        self.spec = spec
        accuracy = 1 - abs(spec.topology.rate - 0.2) - 0.1 / float(spec.topology.every.removesuffix("it"))
        row = {"iteration": 16, "diverged": False, "validation_accuracy": accuracy, "test_accuracy": 0.5}
        self.rows = pd.DataFrame([{**row, "seed": seed} for seed in seeds])

    def metrics(self):
        return self.rows


@pytest.mark.parametrize("killed_in", [1, 4, 11, 14])
def test_a_tuning_that_was_killed_goes_on_as_if_it_had_not_been(killed_in, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "train_sparse", Stub)
    whole = tuning.tune(spec(), [0, 1], trials=15, space=SPACE, root=tmp_path / "whole")
    calls = []

    def dies(*arguments, **options):
        calls.append(1)
        if len(calls) == killed_in:  # from the eleventh on, TPE proposes from the trials before
            raise KeyboardInterrupt
        return Stub(*arguments, **options)

    monkeypatch.setattr(tuning, "train_sparse", dies)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(spec(), [0, 1], trials=15, space=SPACE, root=tmp_path / "killed")
    monkeypatch.setattr(tuning, "train_sparse", Stub)
    resumed = tuning.tune(spec(), [0, 1], trials=15, space=SPACE, root=tmp_path / "killed")
    assert settings_of(resumed) == settings_of(whole)
    assert resumed.replayed() == whole.replayed() == 1.0
    assert whole.best.metrics()["validation_accuracy"].iloc[0] == whole.table()["validation_accuracy"].max()


def test_a_diverged_network_counts_as_nothing(tmp_path, monkeypatch):
    def diverges(*arguments, **options):
        run = Stub(*arguments, **options)
        run.rows["diverged"] = [True, False]
        return run

    monkeypatch.setattr(tuning, "train_sparse", diverges)
    found = tuning.tune(spec(), [0, 1], trials=1, space=SPACE, root=tmp_path)
    assert found.table()["validation_accuracy"].tolist() == [0]


def test_more_trials_go_on_from_those_there_are(tmp_path):
    few = tuning.tune(spec(), [0], trials=2, space=SPACE, root=tmp_path)
    more = tuning.tune(spec(rate=0.5), [0], trials=3, space=SPACE, root=tmp_path)  # its own rate has no say
    assert settings_of(more)[:2] == settings_of(few) and len(more.runs) == 3
    again = tuning.tune(spec(), [0], trials=2, space=SPACE, root=tmp_path)
    assert settings_of(again) == settings_of(few)
    assert len(list((tmp_path / "tuning").iterdir())) == 1


def test_trials_lie_in_the_space_and_a_seed_is_another_tuning():
    proposals = [tuning.propose([], SPACE, seed) for seed in range(20)]
    assert len({tuple(found.values()) for found in proposals}) > 10
    for found in proposals:
        assert 0.1 <= found["rate"] <= 0.6 and found["every"] in (2, 4, 6, 8, 10)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"rate": (0.6, 0.1, 0.01)}, "rate is"),
        ({"rate": (0.1, 1.0, 0.1)}, "rate.1. is 1.0: it must lie in"),
        ({"every": (0, 10, 2)}, "every.0. is 0"),
    ],
)
def test_an_impossible_space_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        tuning.Space(**space)


def test_what_cannot_be_tuned_is_refused():
    with pytest.raises(ValueError, match="static"):
        tuning.tune(lk.SparseSpec(topology=lk.TopologySpec("static")), [0])
    with pytest.raises(ValueError, match="trials"):
        tuning.tune(spec(), [0], trials=0)


def test_a_tuning_needs_validation_data(tmp_path):
    with pytest.raises(ValueError, match="tuning compares trials on validation data"):
        tuning.tune(replace(spec(), data=lk.DataSpec(validation=0)), [0], root=tmp_path)
