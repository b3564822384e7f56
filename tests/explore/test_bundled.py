"""The set that ships with the kit, and what makes it."""

import shutil

import pandas as pd
import pytest
import torch

import labkit as lk
from labkit.explore.bundled import FOLDER, bundled, make_bundle
from labkit.explore.collection import Key, collection, count
from labkit.studies import metrics
from tests.conftest import small_spec

TICKET, SPARSE = Key("ticket", 0, 0), Key("ticket", 2, 0)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Tickets, reinits, and the set that is made of them."""
    root = tmp_path_factory.mktemp("runs")
    tickets = lk.find_tickets(small_spec(), [0, 1], root=root)
    reinit = lk.branch(tickets, "random_reinit", levels=[2])
    return tickets, reinit, make_bundle(tickets, reinit, root / "set", levels=[2])


def test_the_set_that_ships_takes_less_than_two_megabytes():
    sizes = [path.stat().st_size for path in FOLDER.iterdir()]
    assert 0 < sum(sizes) < 2e6


def test_without_runs_the_set_that_ships_is_shown():
    found = collection()
    assert found.title == "lenet_300_100 on mnist" and found.seeds == [0, 1, 2]
    assert set(found.branches) == {"ticket", "random_reinit"}
    left = [count(found.end(key)[1]) / 266_200 for key in found.networks]
    assert left[0] == 1 and left == sorted(left, reverse=True) and len(left) == 5
    assert {key.level for key in found.networks} <= set(found.levels)


def test_a_set_holds_the_networks_in_half_precision(study):
    tickets, _, folder = study
    found, whole = bundled(folder), collection(tickets)
    for key in (TICKET, SPARSE):
        for ours, theirs in ((found.end(key), whole.end(key)), (found.start(key), whole.start(key))):
            assert all(torch.equal(ours[1][name], theirs[1][name]) for name in theirs[1])
            assert all(torch.equal(ours[0][name], theirs[0][name].half().float()) for name in theirs[0])
    images = torch.arange(784, dtype=torch.uint8).reshape(1, 1, 28, 28)
    assert torch.allclose(found.normalise(images), whole.normalise(images))
    found.model().load_state_dict(found.end(SPARSE)[0])


def test_thinned_evaluations_stop_early_where_all_of_them_do(study):
    tickets, reinit, folder = study
    columns = ["level", "seed", "early_stop_iteration", "accuracy_at_early_stop", "accuracy_at_end"]
    thinned, whole = (metrics.outcomes(table)[columns] for table in (
        bundled(folder).evaluations, metrics.curves(tickets, reinit)))  # fmt: skip
    pd.testing.assert_frame_equal(thinned, whole, rtol=1e-5)


def test_weights_that_a_set_does_not_hold_are_refused_in_words(study):
    found = bundled(study[2])
    for key in (Key("ticket", 1, 0), Key("ticket", 2, 1), Key("random_reinit", 2, 0)):
        with pytest.raises(ValueError, match="tickets of seed 0 at levels"):
            found.end(key)


def test_a_set_of_tickets_that_are_rewound_elsewhere_is_refused(study, tmp_path):
    late = lk.find_tickets(small_spec(levels=1, rewind="20it"), [0])
    with pytest.raises(ValueError, match="start from step 20"):
        make_bundle(late, lk.branch(late, "random_reinit"), tmp_path / "set", levels=[1])
    assert not (tmp_path / "set").exists()


def test_a_damaged_set_is_said_to_be_damaged(study, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(study[2], folder)
    path = folder / "networks.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        for key in bundled(folder).networks:
            bundled(folder).end(key)


def test_the_code_of_the_set_can_be_run():
    code = bundled().code
    compile(code, "code", "exec")
    assert "lk.find_tickets(spec, seeds=[0, 1, 2])" in code


def test_where_mnist_is_not_the_embedded_digits_stand_in(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    assert bundled().experiment().data.name == "digits_as_mnist"
