"""What is said before training starts."""

import labkit as lk
from labkit.runs.cost import estimate
from labkit.runs.experiment import Experiment
from labkit.studies.tickets import ticket_runs


def said(train, size):
    experiment = Experiment(lk.TicketSpec(train=train, data=lk.DataSpec(train=size), prune={"levels": 0}))
    return estimate([(run, run.steps) for run in ticket_runs(experiment, [0]).values()])


def test_the_moments_at_which_the_learning_rate_drops_are_said():  # pitfall: drops-that-never-come
    """As fractions they follow the training set's size; in iterations they may never come, and that shows."""
    train = lk.TrainSpec(
        optimizer="sgd", lr=0.1, batch_size=100, duration="10ep", lr_warmup="2ep", lr_drops=["0.5run", "90it"]
    )
    line = said(train, 1000)
    assert line.endswith("learning rate 0.1, warmed up over 20 iterations, x 0.1 at 50 and 90 of 100")
    assert said(train, 500).endswith("warmed up over 10 iterations, x 0.1 at 25 and 90 of 50")
    assert "learning rate" not in said(lk.TrainSpec(duration="10it"), 500)


def test_the_cost_of_several_experiments_is_told_once(runs, capsys, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "log")
    specs = {
        name: lk.TicketSpec(train={"duration": "12it"}, data={"normalisation": name}, prune={"levels": 1})
        for name in ("dataset", "unit")
    }
    lk.find_tickets(specs, [0, 1])
    told = capsys.readouterr().out.splitlines()
    assert (
        len(told) == 2 and told[0].startswith("8 networks of 12 iterations: ") and told[1].startswith("tickets: done")
    )
