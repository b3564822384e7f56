"""Tickets trained by themselves: from where they were rewound to, as in their search."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import labkit as lk
from tests.conftest import finished, small_spec

SPEC = replace(small_spec(levels=2), rewind="20it")
RIGL = lk.SparseSpec(train=SPEC.train, topology=lk.TopologySpec("rigl", every="10it", until="50it"))


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rounding differs with their number
    yield lk.find_tickets(SPEC, [0, 1], root=tmp_path_factory.mktemp("search"))
    torch.set_num_threads(threads)


def fake(ticket, **about):
    return lk.Ticket(ticket.weights, ticket.mask, {**ticket.about, **about})


def test_a_rewound_ticket_trains_in_a_fresh_process_bit_for_bit_as_in_its_search(tickets, tmp_path):
    path = tickets.ticket(seed=1, level=2).save(tmp_path / "ticket.safetensors")
    code = f"""
import torch; torch.set_num_threads(1)
import labkit as lk
from tests.studies.test_ticket_training import SPEC
lk.train(lk.Ticket.load({str(path)!r}), SPEC, [1], root={str(tmp_path / "there")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    written = finished(tmp_path / "there")
    again = lk.train(lk.Ticket.load(path), SPEC, [1], root=tmp_path / "there")
    assert len(written) == 1 and finished(tmp_path / "there") == written, "it is read, not trained again"
    search = tickets.runs[2].folders[tickets.runs[2].seeds.index(1)]
    (there,) = again.networks.folders
    mine, theirs = there.record().tensors(), search.record().tensors()
    assert len(mine["history/losses"]) == 40 and set(mine) == set(theirs)
    assert all(mine[key].nan_to_num().equal(theirs[key].nan_to_num()) for key in mine)
    (state, masks), (its, its_masks) = there.end(), search.end()
    assert all(torch.equal(state[name], its[name]) for name in its)
    assert all(torch.equal(masks[name], its_masks[name]) for name in its_masks)


def test_where_training_begins_can_be_said_and_is_part_of_the_run(tickets, tmp_path):
    ticket = tickets.ticket(seed=0, level=1)
    begins = {}
    for first in (None, "20it", "0it", "0.1ep"):
        run = lk.train(ticket, SPEC, [0], first=first, root=tmp_path)
        (about,) = run.networks.abouts  # as its file says
        begins[first] = about["identity"]["first"], run.networks.hashes[0], int(run.metrics()["iteration"].min())
    assert begins[None] == begins["20it"] and begins[None][0] == begins[None][2] == 20
    assert begins["0it"][0] == begins["0it"][2] == 0 and begins["0it"][1] != begins[None][1]
    assert begins["0.1ep"][0] == round(0.1 * SPEC.train.clock(run.experiment.data.size("train")).epoch) > 0
    silent = lk.Ticket(ticket.weights, ticket.mask, {})
    assert lk.train(silent, SPEC, [0], root=tmp_path).networks.hashes[0] == begins["0it"][1]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("60it", "first is '60it', step 60: training has only 60 steps"),
        ("9ep", "first is '9ep', step .*training has only 60 steps"),
        ("1run", "first is '1run', step 60"),
        ("20", "first is '20': write a number with its unit"),
        (20, "first is 20: write a number with its unit"),
        ("-5it", "first is '-5it'"),
    ],
)
def test_a_first_step_that_cannot_be_is_refused_before_training(tickets, tmp_path, first, said):
    with pytest.raises(ValueError, match=said):
        lk.train(tickets.ticket(0, 1), SPEC, [0], first=first, root=tmp_path)
    assert not list(tmp_path.glob("*/run.safetensors"))


def test_a_ticket_rewound_to_beyond_the_end_says_what_to_write(tickets, tmp_path):
    ticket = tickets.ticket(0, 1)
    with pytest.raises(ValueError, match=r"rewound to step 60, and .* 60 steps: train longer, or write first='0it'"):
        lk.train(fake(ticket, rewind_step=60), SPEC, [0], root=tmp_path)
    for wrong in ("20it", -1, True, 2**70, [20]):
        with pytest.raises(ValueError, match="rewind_step of the ticket is"):
            lk.train(fake(ticket, rewind_step=wrong), SPEC, [0], root=tmp_path)
    with pytest.raises(ValueError, match="would begin at step 55, and masks move at step 39 for the last time"):
        lk.train(ticket, replace(RIGL, topology=replace(RIGL.topology, until="40it")), [0], first="55it", root=tmp_path)
    assert lk.train(fake(ticket, rewind_step=60), SPEC, [0], first="50it", root=tmp_path).first == 50


def test_steps_before_the_first_are_in_no_count_of_updates_or_flops(tickets, tmp_path):
    run = lk.train(tickets.ticket(0, 2), RIGL, [0], first="25it", root=tmp_path)
    assert sorted(run.densities()["step"].unique()) == [25, 30, 40, 50]
    static = lk.train(tickets.ticket(0, 2), SPEC, [0], first="30it", root=tmp_path)
    assert static.train_flops() == pytest.approx(static.test_flops())
    assert static.train_flops(60) == pytest.approx(static.test_flops() / 2), "half of the steps"
