"""What is said before training starts."""

import labkit as lk
from labkit.runs.cost import estimate
from labkit.runs.experiment import Experiment
from labkit.runs.run import Run, Start


def said(train, size):
    experiment = Experiment(lk.TicketSpec(train=train, data=lk.DataSpec(train=size)))
    states = experiment.initial([(0, 0)], "init")
    run = Run(experiment.folder(0, "ticket", [0]), "ticket", 0)
    return estimate(experiment, Start(states, {}, [(0, 0)]), [run], 0)


def test_the_moments_at_which_the_learning_rate_drops_are_said(tmp_path, monkeypatch):  # pitfall: drops-that-never-come
    """As fractions they follow the training set's size; in iterations they may never come, and that shows."""
    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path))
    train = lk.TrainSpec(
        optimizer="sgd", lr=0.1, batch_size=100, duration="10ep", lr_warmup="2ep", lr_drops=["0.5run", "90it"]
    )
    line = said(train, 1000)
    assert line.endswith("learning rate 0.1, warmed up over 20 iterations, x 0.1 at 50 and 90 of 100")
    assert said(train, 500).endswith("warmed up over 10 iterations, x 0.1 at 25 and 90 of 50")
    assert "learning rate" not in said(lk.TrainSpec(duration="10it"), 500)
