"""What nothing needs can go; what others need, and what is not the kit's, stays."""

import pytest
import torch

import labkit as lk
from labkit.runs.cleaning import clean
from labkit.runs.files import FINISHED
from labkit.runs.folder import RunFolder
from tests.conftest import finished, small_spec


@pytest.fixture
def chain(runs):
    """A dense run and a ticket that starts from it."""
    tickets = lk.find_tickets(small_spec(levels=1, duration="20it"), [0])
    return [tickets.tickets[0, level] for level in (0, 1)]


def test_a_clean_up_refuses_what_others_start_from(runs, chain):
    dense, ticket = (run.hash for run in chain)
    (runs / dense / "run.damaged").write_text("")
    assert [path.name for path in clean(runs)] == ["run.damaged"] and (runs / dense / "run.damaged").exists()
    with pytest.raises(ValueError, match=f"run {dense} cannot go: {ticket} started from it"):
        clean(runs, [dense], delete=True)
    assert len(finished(runs)) == 2
    clean(runs, [dense, ticket], delete=True)
    assert not finished(runs)
    with pytest.raises(ValueError, match="unknown run"):
        clean(runs, ["0123"])


def test_it_refuses_what_is_being_computed_and_what_that_started_from(runs, chain):
    dense, ticket = (run.hash for run in chain)
    folder = RunFolder(chain[1], runs)
    sources = folder.about()["sources"]
    (folder.path / FINISHED).unlink()
    assert folder.lock()
    folder.write_checkpoint({"x": torch.ones(1)}, {"sources": sources})
    (folder.path / "a.part").write_text("being written")
    with pytest.raises(ValueError, match=f"run {ticket} cannot go: a process computes it"):
        clean(runs, [ticket, dense], delete=True)
    with pytest.raises(ValueError, match=f"run {dense} cannot go: {ticket} started from it"):
        clean(runs, [dense], delete=True)
    assert not clean(runs, delete=True)
    folder.unlock()
    assert list(clean(runs, delete=True).values()) == ["was never written to its end"]
    assert folder.checkpoint() and list(finished(runs)) == [dense]


def test_it_knows_runs_of_an_older_version_by_all_of_their_files(runs):
    old, foreign = runs / "0123456789abcdef", runs / "project"
    for path in (old, foreign):
        path.mkdir(parents=True)
        (path / "result.json").write_text("{}")
    assert list(clean(runs)) == [old]
    (old / "thesis.txt").write_text("mine")
    assert not clean(runs, delete=True) and (old / "thesis.txt").exists() and (foreign / "result.json").exists()
    (old / "thesis.txt").unlink()
    clean(runs, delete=True)
    assert not old.exists() and foreign.exists()


def test_it_leaves_alone_what_is_not_the_kits(runs):
    for name in (
        "photos/disk.damaged",
        "downloads/film.mp4.part",
        "mine/checkpoint.safetensors",
        "mine/run.safetensors",
    ):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_text("mine")
    (runs / "downloads" / ".lock").write_text("")
    assert not clean(runs, delete=True) and len(list(runs.glob("*/*"))) == 5


def test_it_names_no_folder_that_is_no_run(runs):
    (runs / "project").mkdir(parents=True)
    with pytest.raises(ValueError, match="unknown run 'project'"):
        clean(runs, ["project"], delete=True)
