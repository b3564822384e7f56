"""What is asked for is computed once, in an order that follows from what starts from what."""

import dataclasses
import os
import shutil
import subprocess
import sys

import pytest
import torch

import labkit as lk
from labkit.runs.files import FINISHED
from labkit.runs.folder import RunFolder
from labkit.runs.mask_sources import Whole
from labkit.runs.networks import Labelled
from labkit.runs.plan import Plan
from labkit.runs.run import Run
from labkit.runs.starts import Start
from labkit.runs.store import Store
from labkit.runs.task import Task
from labkit.runs.weight_sources import At
from labkit.studies.tickets import ticket_runs
from tests.conftest import finished, small_spec
from tests.networks import Failing


def spec(levels=1, **changes):
    return small_spec(levels=levels, duration="20it", **changes)


def new(runs, before):
    """What was computed since, when nothing else was touched."""
    after = finished(runs)
    assert after.items() >= before.items(), "old files are untouched"
    return len(after) - len(before)


def planned(experiment, seeds, root):
    found = ticket_runs(experiment, seeds)
    return found, Plan([Labelled(run, "ticket", level) for (_, level), run in found.items()], Store(root))


def test_another_seed_trains_one_network_a_level(runs):
    lk.find_tickets(spec(), [0, 1, 2])
    before = finished(runs)
    assert len(before) == 6
    found = lk.find_tickets(spec(), [0, 1, 2, 3])
    assert new(runs, before) == 2 and found.runs[1].seeds == [0, 1, 2, 3]


def test_another_copy_of_a_control_trains_one_network_a_ticket(runs):
    tickets = lk.find_tickets(spec(), [0, 1])
    lk.branch(tickets, "random_reinit")
    before = finished(runs)
    lk.branch(tickets, "random_reinit", per_seed=2)
    assert new(runs, before) == 2


def test_what_two_studies_share_is_trained_once(runs):
    lk.find_tickets(spec(), [0, 1])
    before = finished(runs)
    one_shot = lk.PruneSpec(levels=2, iterative=False, output_rate=0.1)
    found = lk.find_tickets({"again": spec(), "one shot": lk.TicketSpec(train=spec().train, prune=one_shot)}, [0, 1])
    assert new(runs, before) == 2, "the second level of one-shot pruning"
    assert found["again"].runs[0].hashes == found["one shot"].runs[0].hashes
    dense = lk.SparseSpec(train=spec().train, init="glorot_normal", topology={"method": "dense"})
    lk.train_sparse(dense, [0, 1])
    assert new(runs, before) == 2, "the dense network of a table is that of a search"


def test_another_rewinding_point_replays_the_dense_run_up_to_that_step_and_no_further(runs):
    dense = lk.find_tickets(spec(levels=0), [0]).runs[0].members[0].run
    lk.find_tickets(spec(rewind="4it"), [0])
    before = finished(runs)
    later = lk.Experiment(spec(rewind="9it"))
    _, plan = planned(later, [0], runs)
    assert plan.planned[dense.hash].replayed == 9 == plan.planned[dense.hash].steps
    tickets = lk.find_tickets(later.spec, [0])
    assert new(runs, before) == 1, "the ticket; the dense network is as it was"
    nine = lk.find_tickets(small_spec(0, "9it"), [0])
    state, mask = tickets.runs[1].start()
    whole = nine.runs[0].final()[0]
    assert all(torch.equal(state[name], whole[name] * mask[name] if name in mask else whole[name]) for name in state)


def test_a_first_step_that_a_finished_run_lacks_takes_no_training(runs):
    lk.find_tickets(spec(), [0])
    dense = planned(lk.Experiment(spec()), [0], runs)[0][0, 0]
    (runs / dense.hash / "at-0.safetensors").unlink()
    other = Run(lk.Experiment(spec()), 0, Start(At(dense, 0), Whole()))
    plan = Plan([Labelled(other)], Store(runs))
    assert [plan.planned[run.hash].steps for run in (dense, other)] == [0, 20]


def test_evaluations_that_a_finished_run_lacks_are_replayed_and_change_nothing_else(runs):
    few = lk.find_tickets(spec(0), [0])
    (name,), end = finished(runs), few.runs[0].final()[0]
    often = lk.find_tickets(
        lk.TicketSpec(train={"duration": "20it", "evaluate_every": "5it"}, prune={"levels": 0}), [0]
    )
    assert often.runs[0].hashes == [name] and often.metrics()["iteration"].tolist() == [0, 5, 10, 15, 20]
    assert few.metrics()["iteration"].tolist() == [0, 20]
    assert all(torch.equal(often.runs[0].final()[0][key], end[key]) for key in end)
    both = few.metrics().merge(often.metrics(), on="iteration")
    assert both["test_loss_x"].tolist() == both["test_loss_y"].tolist()


def test_a_control_waits_for_its_tickets_mask_and_not_for_its_training(runs):
    tickets = lk.find_tickets(spec(levels=2), [0])
    control = lk.branch(tickets, "random_reinit", levels=[2]).runs[2].members[0].run
    first, second = (tickets.tickets[0, level] for level in (1, 2))
    assert [run for run, _ in control.needs] == [first]
    (runs / second.hash / "run.safetensors").unlink()
    before = finished(runs)
    lk.branch(tickets, "random_reinit", per_seed=2, levels=[1])
    assert new(runs, before) == 2


def test_a_diverged_source_blocks_what_starts_from_its_end_and_nothing_else(runs):
    wild = lk.Experiment(
        lk.TicketSpec(train={"optimizer": "sgd", "lr": 1000, "duration": "20it"}, prune={"levels": 2}, rewind="1it")
    )
    with pytest.warns(UserWarning, match="diverged|not finite"), pytest.raises(RuntimeError, match="diverged"):
        lk.find_tickets(wild.spec, [0])
    found, plan = planned(wild, [0], runs)
    assert [bool(plan.planned[run.hash].blocked) for (_, level), run in found.items() if level] == [True, True]
    early = Run(wild, 0, Start(At(found[0, 0], 0), Whole()))
    plan = Plan([Labelled(early)], Store(runs))
    assert not plan.planned[early.hash].blocked, "its first step is there"


def test_specs_of_one_plan_that_are_one_run_have_the_evaluations_of_all(runs):
    train = {"duration": "20it", "lr": 0.01}
    specs = {n: lk.TicketSpec(train=train | {"evaluate_every": f"{n}it"}, prune={"levels": 0}) for n in (5, 7)}
    found = lk.find_tickets(specs, [0])
    assert len(finished(runs)) == 1
    assert found[5].metrics()["iteration"].tolist() == [0, 5, 10, 15, 20]
    assert found[7].metrics()["iteration"].tolist() == [0, 7, 14, 20]


def test_a_run_that_was_begun_with_fewer_evaluations_has_all_in_the_end(runs, monkeypatch):
    monkeypatch.setattr("labkit.runs.task.CHECKPOINT_SECONDS", 0.0)
    train = {"duration": "40it", "batch_size": 60}

    def search(every):
        return lk.TicketSpec("tests.networks:Failing", train=train | {"evaluate_every": every}, prune={"levels": 0})

    monkeypatch.setattr(Failing, "steps_left", 30)
    with pytest.raises(RuntimeError, match="a fault"):
        lk.find_tickets(search("20it"), [0])
    assert list(runs.glob("*/checkpoint.safetensors"))
    found = lk.find_tickets(search("7it"), [0])
    assert found.metrics()["iteration"].tolist() == [0, 7, 14, 21, 28, 35, 40]


@pytest.mark.parametrize("when", ["first", "as it starts"])
def test_what_another_process_lets_go_meanwhile_is_computed_again(runs, monkeypatch, when):
    expected = lk.find_tickets(spec(levels=2), [0, 1], root=runs / "whole").runs[2].final()[0]
    root, begin = runs / "shared", Task._begin
    lk.find_tickets(spec(levels=1), [0], root=root)

    def comes_late(self):
        return another_process_comes(self) if self.run.needs and self.run.seed == 0 else begin(self)

    def another_process_comes(self):
        monkeypatch.setattr(Task, "_begin", begin)
        lk.find_tickets(spec(levels=1), [0], keep="masks", root=root)
        return begin(self)

    monkeypatch.setattr(Task, "_begin", another_process_comes if when == "first" else comes_late)
    plan = planned(lk.Experiment(spec(levels=2)), [0, 1], root)[1]
    assert len(plan.left) == 4, "of seed 0 the ticket of level 2 alone"
    found = lk.find_tickets(spec(levels=2), [0, 1], root=root).runs[2].final()[0]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_source_that_is_deleted_meanwhile_is_computed_again_for_all_that_start_from_it(runs, monkeypatch):
    one_shot = dataclasses.replace(spec(), prune=lk.PruneSpec(levels=3, iterative=False, output_rate=0.1))
    whole = lk.find_tickets(one_shot, [0], root=runs / "whole")
    root, begin, gone = runs / "shared", Task._begin, []

    def deleted(self):
        if self.run.first == 0 and self.run.needs and not gone:  # a ticket is about to start
            gone.append(whole.tickets[0, 0].hash)
            shutil.rmtree(root / gone[0])
        return begin(self)

    monkeypatch.setattr(Task, "_begin", deleted)
    found = lk.find_tickets(one_shot, [0], root=root)
    assert gone and sorted(finished(root)) == sorted(finished(runs / "whole"))
    assert found.metrics().equals(whole.metrics())


def test_what_cannot_start_for_a_reason_of_its_own_says_it(runs, monkeypatch):
    def raises(self):
        raise ValueError("a reason")

    monkeypatch.setattr(Task, "_begin", raises)
    with pytest.raises(ValueError, match="a reason"):
        lk.find_tickets(spec(), [0])


def test_a_checkpoint_is_not_gone_on_with_when_what_it_started_from_came_out_otherwise(runs, monkeypatch):
    tickets = lk.find_tickets(spec(), [0])
    folder = RunFolder(tickets.tickets[0, 1], runs)
    (folder.path / FINISHED).unlink()
    folder.write_checkpoint({"x": torch.ones(1)}, {"sources": {f"{tickets.tickets[0, 0].hash}@end": "another"}})
    with pytest.raises(ValueError, match="which was computed again since and came out otherwise"):
        lk.find_tickets(spec(), [0])


def test_a_network_that_diverged_is_not_trained_again_for_an_end_that_it_has_not(runs):
    wild = lk.TicketSpec(train={"optimizer": "sgd", "lr": 1000, "duration": "20it"}, prune={"levels": 0})
    with pytest.warns(UserWarning, match="not finite"):
        lk.find_tickets(wild, [0], keep="masks")
    deeper = lk.Experiment(dataclasses.replace(wild, prune=lk.PruneSpec(levels=1)))
    plan = planned(deeper, [0], runs)[1]
    assert sum(one.steps for one in plan.left) == 0, "its first weights alone are wanted"
    assert [bool(one.blocked) for one in plan.planned.values()] == [True, False]


def test_a_ticket_from_a_file_trains_and_keeps_its_mask(runs, tmp_path):
    tickets = lk.find_tickets(spec(), [0])
    ticket = lk.Ticket.load(tickets.ticket(0, 1).save(tmp_path / "ticket.safetensors"))
    trained = lk.train(ticket, spec(), [0, 5])
    state, masks = trained.networks.final()
    for name, mask in ticket.mask.items():
        assert all(torch.equal(one, mask) for one in masks[name])
    own = tickets.runs[1].final()[0]
    assert all(torch.equal(state[name][0], own[name][0]) for name in own), "of its own seed it is the same training"
    assert not torch.equal(state["fc1.weight"][0], state["fc1.weight"][1]), "batches are of the seed"
    before = finished(runs)
    moving = lk.SparseSpec(train=spec().train, topology={"method": "set", "every": "5it", "density": 0.8})
    moved = lk.train(ticket, moving, [0]).final_masks()
    assert new(runs, before) == 1 and not torch.equal(moved["fc1.weight"][0], ticket.mask["fc1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "conv_2"}, "for another model"),
        ({"model_options": {"classes": 12}}, r"fc3.bias is \(10,\) in the ticket, \(12,\) in the model"),
    ],
)
def test_a_ticket_of_another_model_is_refused_before_anything_is_made(runs, tmp_path, change, message):
    ticket = lk.find_tickets(spec(), [0]).ticket(0, 1)
    before = sorted(runs.iterdir())
    with pytest.raises(ValueError, match=message):
        lk.train(ticket, spec(**change), [0])
    with pytest.raises(ValueError, match="ticket is 'a path': it must be a Ticket"):
        lk.train("a path", spec(), [0])
    assert sorted(runs.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, masks: masks.update({"fc1.weight": masks["fc1.weight"].float()}), "must be torch.bool"),
        (lambda _, masks: masks.update({"fc1.weight": masks["fc1.weight"][:3]}), r"must be torch.bool \(300, 784\)"),
        (lambda _, masks: masks.update({"fc9": masks["fc1.weight"]}), "unknown masked layer 'fc9'"),
        (lambda _, masks: [mask.fill_(False) for mask in masks.values()], "keep no weight at all"),
        (lambda weights, _: weights.update({"fc1.bias": weights["fc1.bias"].double()}), "is torch.float64 in the"),
    ],
)  # fmt: skip
def test_a_ticket_that_is_none_says_why_before_anything_is_made(runs, change, message):
    drawn = lk.find_tickets(spec(), [0]).ticket(0, 1)
    weights, masks, before = dict(drawn.weights), dict(drawn.mask), sorted(runs.iterdir())
    change(weights, masks)
    with pytest.raises(ValueError, match=message):
        lk.train(lk.Ticket(weights, masks, {}), spec(), [0])
    assert sorted(runs.iterdir()) == before


TWO = """
import sys
import labkit as lk
train = lk.TrainSpec(duration="300it", evaluate_every="300it")
print("started", flush=True)
sys.stdin.readline()
lk.find_tickets(lk.TicketSpec(train=train, prune=lk.PruneSpec(levels=1)), eval(sys.argv[1]))
"""


def test_two_processes_share_what_both_ask_for(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LABKIT_RUNS": str(tmp_path),
                   "LABKIT_PROGRESS": "off"}  # fmt: skip
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, seeds],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seeds in ("[0, 1, 2, 3]", "[2, 3, 4, 5]")
    ]
    for process in both:
        assert process.stdout.readline() == "started\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=240)
        assert process.returncode == 0
    assert len(finished(tmp_path)) == 12 and not list(tmp_path.glob("*/checkpoint.safetensors"))
    assert not list(tmp_path.glob("*/*.damaged"))


def test_many_specs_share_one_copy_of_their_data():
    one, other = (lk.Experiment(spec(rewind=step)) for step in ("0it", "3it"))
    assert one.data is other.data and one.on_device is other.on_device
    assert lk.Experiment(spec(data={"normalisation": "unit"})).data is not one.data


def test_a_thousand_levels_are_planned(runs):
    experiment = lk.Experiment(lk.TicketSpec(train={"duration": "1it"}, prune={"levels": 600, "rate": 0.01}))
    _, plan = planned(experiment, [0], runs)
    assert len(plan.left) == 601 and max(one.rest for one in plan.left) == 601
