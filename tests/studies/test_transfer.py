import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import labkit as lk
from labkit import data
from labkit.runs.store import scan
from labkit.sparsity import masks
from labkit.studies import carried as carried_arms
from labkit.studies import metrics
from tests.conftest import finished, small_spec


def task(path="digits", levels=2, **changes):
    """A search of a second or two, with the head left out of pruning."""
    prune = lk.PruneSpec(output_rate=0.0, levels=levels)
    return replace(small_spec(), rewind="20it", data=lk.DataSpec(name=str(path)), prune=prune, **changes)


@pytest.fixture(scope="module")
def odd_digits(tmp_path_factory):
    """The five odd digits, upside down and in colour: another task of another size."""
    path = tmp_path_factory.mktemp("data") / "odd.npz"
    found = {}
    for split in ("train", "test"):
        tensors = data.arrays("digits").tensors
        odd = tensors[f"{split}_labels"] % 2 == 1
        found[f"{split}_images"] = tensors[f"{split}_images"][odd].flip(2).repeat(1, 3, 1, 1).numpy()
        found[f"{split}_labels"] = (tensors[f"{split}_labels"][odd] // 2).numpy()
    np.savez(path, **found)
    return path


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    return lk.find_tickets(task(), [0, 1], root=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def carried(tickets, odd_digits):
    return lk.transfer(tickets, task(odd_digits))


HEAD = ("fc3.weight", "fc3.bias")


# pitfalls: head-of-another-set
def test_a_carried_ticket_is_the_ticket_with_a_head_of_its_own(tickets, carried):
    for level in (1, 2):
        for seed in (0, 1):
            theirs, ours = tickets.ticket(seed, level), carried.ticket(seed, level)
            assert ours.weights["fc3.weight"].shape == (5, 100) and theirs.weights["fc3.weight"].shape == (10, 100)
            for name in theirs.weights.keys() - set(HEAD):
                assert torch.equal(ours.weights[name], theirs.weights[name]), name
            for name in theirs.mask.keys() - set(HEAD):
                assert torch.equal(ours.mask[name], theirs.mask[name]), name
            assert ours.mask["fc3.weight"].all()
    dense, ticket = carried.ticket(0, 0), tickets.ticket(0, 1)
    assert all(mask.all() for mask in dense.mask.values())
    kept = ticket.mask["fc1.weight"]
    assert torch.equal(dense.weights["fc1.weight"][kept], ticket.weights["fc1.weight"][kept]), "of the same step"
    heads = [carried.ticket(seed, 1).weights["fc3.weight"] for seed in (0, 1)]
    assert not torch.equal(*heads), "each seed draws a head"
    assert torch.equal(heads[0], carried.ticket(0, 2).weights["fc3.weight"]), "levels share it, as a search does"


def test_all_arms_start_at_the_step_that_the_other_tasks_own_tickets_start_from(tickets, carried, odd_digits):
    own = lk.find_tickets(task(odd_digits), [0, 1], root=tickets.root)
    arms = [lk.branch(carried, kind) for kind in ("random_reinit", "random_sparse", "random_ticket")]
    found_there = lk.transfer(tickets, task(odd_digits), init_only=True)
    for level in (1, 2):
        kept = {arm.branch: [result["kept"] for result in arm.runs[level].results]
                for arm in (own, carried, found_there, *arms)}  # fmt: skip
        assert len(kept) == 6 and len({tuple(counts) for counts in kept.values()}) == 1, kept
        for arm in (own, carried, found_there, *arms):
            assert {member.run.first for member in arm.runs[level].members} == {20}
            for mask in arm.runs[level].start()[1]["fc3.weight"]:
                assert mask.all(), "the head is dense everywhere"
    table = metrics.outcomes(metrics.curves(own, carried, found_there, *arms))
    assert len(table) == 2 * 3 * 3 + 2 * 2 * 3


def test_a_level_of_carried_tickets_trains_only_what_is_missing(tickets, odd_digits):
    spec = task(odd_digits, train=replace(task().train, lr=2e-3))
    lk.transfer(tickets, spec, levels=[1])
    before = finished(tickets.root)
    lk.transfer(tickets, spec, levels=[0, 1])
    after = finished(tickets.root)
    assert len(after) - len(before) == 2 and all(after[name] == when for name, when in before.items())


def test_weights_alone_are_carried_where_masks_are_found_on_the_other_task(tickets, carried, odd_digits):
    found = lk.transfer(tickets, task(odd_digits), init_only=True)
    assert found.runs[0].hashes == carried.runs[0].hashes, "the dense network is one, trained once"
    ours, theirs = found.ticket(0, 2), carried.ticket(0, 2)
    both = ours.mask["fc1.weight"] & theirs.mask["fc1.weight"]
    assert torch.equal(ours.weights["fc1.weight"][both], theirs.weights["fc1.weight"][both])
    trained, kept = found.runs[1].final()[0]["fc1.weight"][0].abs(), found.runs[2].start()[1]["fc1.weight"][0]
    was = found.runs[1].start()[1]["fc1.weight"][0]
    assert trained[kept].min() >= trained[was & ~kept].max(), "the masks are of what was trained there"
    assert not torch.equal(ours.mask["fc1.weight"], theirs.mask["fc1.weight"])


def test_from_initial_weights_alone_the_other_task_finds_its_own_tickets(tmp_path, odd_digits):
    there = replace(task(odd_digits, levels=1), rewind="0it")
    own = lk.find_tickets(there, [0], root=tmp_path)
    found = lk.transfer(
        lk.find_tickets(replace(task(levels=1), rewind="0it"), [0], root=tmp_path), there, init_only=True
    )
    for level in (0, 1):
        ours, theirs = found.runs[level].final(), own.runs[level].final()
        assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0]), "the fresh head is its own"
        assert all(torch.equal(ours[1][name], theirs[1][name]) for name in ours[1])


def test_with_as_many_classes_the_head_is_carried_unless_a_fresh_one_is_asked_for(tickets):
    slower = task(train=replace(task().train, optimizer="sgd", lr=0.05))
    same, fresh = lk.transfer(tickets, slower, levels=[1]), lk.transfer(tickets, slower, levels=[1], head="fresh")
    theirs = tickets.ticket(0, 1).weights["fc3.weight"]
    assert torch.equal(same.ticket(0, 1).weights["fc3.weight"], theirs)
    assert not torch.equal(fresh.ticket(0, 1).weights["fc3.weight"], theirs)
    assert torch.equal(fresh.ticket(0, 1).weights["fc1.weight"], same.ticket(0, 1).weights["fc1.weight"])


def test_tickets_carried_to_their_own_task_are_the_tickets(tickets):
    own = lk.transfer(tickets, task())
    for level in (1, 2):
        assert own.runs[level].hashes == tickets.runs[level].hashes


# pitfalls: three-random-controls
def test_a_random_ticket_permutes_all_layers_together_and_draws_new_weights(carried):
    random = lk.branch(carried, "random_ticket", levels=[2], per_seed=2)
    ticket = carried.ticket(0, 2)
    for copy in (0, 1):
        other = random.ticket(0, 2, copy)
        pool = [name for name in ticket.mask if name != "fc3.weight"]
        mine, theirs = ({name: one.mask[name] for name in pool} for one in (ticket, other))
        assert sum(masks.counts(mine).values()) == sum(masks.counts(theirs).values())
        assert all(masks.counts(mine)[name] != masks.counts(theirs)[name] for name in pool)
        assert abs(masks.overlap(mine, theirs) - masks.density(mine)) < 0.01
        old, new = ticket.weights["fc1.weight"].flatten(), other.weights["fc1.weight"].flatten()
        assert abs(torch.corrcoef(torch.stack([old, new]))[0, 1]) < 0.02
    first, second = (random.ticket(0, 2, copy) for copy in (0, 1))
    assert not torch.equal(first.mask["fc1.weight"], second.mask["fc1.weight"])


def test_a_random_ticket_branches_off_native_tickets_too(tickets):
    random = lk.branch(tickets, "random_ticket", levels=[1])
    assert [r["kept"] for r in random.runs[1].results] == [r["kept"] for r in tickets.runs[1].results]


def test_several_transfers_are_one_plan(tickets, odd_digits, capsys, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "log")
    specs = {"odd": task(odd_digits), "slow": task(train=replace(task().train, lr=1e-4))}
    found = lk.transfer(dict.fromkeys(specs, tickets), specs, levels=[1])
    assert set(found) == set(specs) and found["odd"].levels == [1]
    assert capsys.readouterr().err.count("networks") <= 3


def test_what_is_carried_stands_in_the_record(carried):
    table = scan(carried.root).set_index("run")
    one = table.loc[carried.runs[2].hashes[0]]
    assert one["start.weights.head"] == ["fc3.weight", "fc3.bias"]
    assert one["start.weights.carried.at"] == 20
    assert one["start.mask.carried.round"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_options": {"activation": "sigmoid"}}, None),  # it has no weights: another function of the same body
        ({"model": "conv_2"}, "for another model: classifier.1.weight"),
        ({"prune": lk.PruneSpec(output_rate=0.0, rate=0.5, levels=2)}, "pruned with rates by layer"),
        ({"prune": lk.PruneSpec(output_rate=0.0, scope="global", levels=2)}, "pruned with scope layer"),
    ],
)
def test_tasks_must_share_the_body_and_how_it_is_pruned(tickets, changes, message):
    if message is None:
        assert lk.transfer(tickets, replace(task(), **changes), levels=[1]).levels == [1]
        return
    before = finished(tickets.root)
    with pytest.raises(ValueError, match=message):
        lk.transfer(tickets, replace(task(), **changes))
    assert finished(tickets.root) == before


def test_a_pruned_head_cannot_be_fresh(tmp_path, odd_digits):
    pruned = replace(task(), prune=lk.PruneSpec(output_rate=0.1, levels=1))
    found = lk.find_tickets(pruned, [0], root=tmp_path)
    with pytest.raises(ValueError, match=r"fc3.weight, is pruned.*output_rate=0.0"):
        lk.transfer(found, replace(pruned, data=lk.DataSpec(name=str(odd_digits))))


def test_wrong_arguments_are_named(tickets, carried, odd_digits):
    with pytest.raises(ValueError, match="must be what find_tickets gave"):
        lk.transfer(carried, task())
    with pytest.raises(ValueError, match="write one TicketSpec"):
        lk.transfer(tickets, {"a": task()})
    with pytest.raises(ValueError, match="unknown head 'fresk'"):
        lk.transfer(tickets, task(), head="fresk")
    with pytest.raises(ValueError, match="head is 'same', but fc3"):
        lk.transfer(tickets, task(odd_digits), head="same")
    with pytest.raises(ValueError, match="level"):
        lk.transfer(tickets, task(), levels=[7])


def test_a_ticket_from_a_file_meets_another_head_as_a_carried_one_does(tickets, odd_digits, tmp_path):
    ticket = lk.Ticket.load(tickets.ticket(0, 2).save(tmp_path / "one.ticket"))
    found = lk.train(ticket, task(odd_digits), [0, 1], root=tmp_path)
    states, mask = found.networks.start()
    assert torch.equal(states["fc1.weight"][1], ticket.weights["fc1.weight"])
    assert states["fc3.weight"].shape == (2, 5, 100) and mask["fc3.weight"].all()
    assert not torch.equal(states["fc3.weight"][0], states["fc3.weight"][1]), "each seed draws a head"
    same = lk.train(ticket, task(), [0], root=tmp_path).networks.start()[0]["fc3.weight"][0]
    assert torch.equal(same, ticket.weights["fc3.weight"])
    with pytest.raises(ValueError, match=r"head is 'same', but fc3.*\(10,.* in the ticket"):
        lk.train(ticket, task(odd_digits), [0], head="same", root=tmp_path)


def test_differences_are_by_level_and_seed_in_percentage_points():
    rows = [
        ("ticket", 0, 0, 0.9), ("ticket", 1, 0, 0.8), ("carried", 0, 0, 0.7), ("carried", 1, 0, 0.75),
        ("carried", 1, 1, 0.5), ("random_ticket", 1, 0, 0.4), ("random_ticket", 1, 0, 0.5),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["branch", "level", "seed", "accuracy_at_end"])
    table = table.assign(percent_remaining=100 - 20.0 * table["level"])
    assert carried_arms.minus(table, "carried", "ticket").round(6).to_dict() == {(1, 0): -5.0}
    assert carried_arms.minus(table, "carried", "random_ticket").round(6).to_dict() == {(1, 0): 30.0}
    against_dense = carried_arms.minus(table, "carried", "carried/0")
    assert against_dense[1, 0].round(6) == 5.0 and math.isnan(against_dense[1, 1]), "one without a dense network"
    found = carried_arms.gaps({"a": table, "b": table[table["branch"] == "ticket"]}, "carried", "ticket")
    assert list(found) == ["a"], "the other task has no carried tickets"
    assert carried_arms.gaps({"a": table}, "carried", "init_only") == {}
    without = table[table["level"] > 0]
    assert carried_arms.gaps({"a": without}, "carried", "carried/0") == {}
    with pytest.raises(ValueError, match=r"no dense network 'carried/0': carried has levels \[1\]"):
        carried_arms.minus(without, "carried", "carried/0")
    with pytest.raises(ValueError, match="unknown arm 'carrid'"):
        carried_arms.minus(table, "carrid", "ticket")
    gaps = carried_arms.minus(table, "carried", "ticket")
    assert len(carried_arms.sparse(gaps, table, at_most=80)) == 1 and not len(carried_arms.sparse(gaps, table, 79))
    assert carried_arms.by_seed(gaps, [0, 1]).isna().tolist() == [False, True], "a seed that is missing has no number"


def test_a_search_pays_for_itself_after_what_it_cost_over_what_a_reuse_saves(tickets, carried):
    """LeNet by hand: 235,200 + 30,000 weights pruned by a fifth, 1,000 (here 500) in the head; 60 steps, 20 skipped."""
    own = lk.find_tickets(carried.experiment.spec, [0, 1], root=tickets.root)
    table = carried_arms.break_even(tickets, carried, own).set_index("level")
    batch, body, kept = 60, 265_200, 212_160
    dense_there = 6 * batch * 60 * (body + 500)
    level_0, level_1 = 6 * batch * 60 * (body + 1000), 6 * batch * 40 * (kept + 1000)
    assert table.loc[1, "search"] == level_0 and table.loc[2, "search"] == level_0 + level_1
    ticket = 6 * batch * 40 * (kept + 500)
    assert table.loc[1, "dense"] == dense_there and table.loc[1, "ticket"] == ticket
    assert table.loc[1, "reuses"] == pytest.approx(level_0 / (dense_there - ticket))
    assert table.loc[1, "own_search"] == dense_there
    assert table.loc[1, "reuses_for_a_search"] == pytest.approx(level_0 / dense_there)


def test_a_search_that_prunes_at_once_costs_one_training_whatever_the_level(tmp_path):
    once = replace(task(), prune=lk.PruneSpec(output_rate=0.0, levels=2, iterative=False))
    found = lk.find_tickets(once, [0], root=tmp_path)
    table = carried_arms.break_even(found, lk.transfer(found, once), found)
    assert table["search"].nunique() == 1 and table["level"].tolist() == [1, 2]
