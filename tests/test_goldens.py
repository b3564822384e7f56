"""A dozen experiments give the numbers that they gave when they were written down (see `tests/goldens.py`)."""

import json

import pytest

from tests import goldens

RECORDED = json.loads(goldens.FILE.read_text())
# Recorded with one kernel thread a network, and computed again so. Tolerances are for other machines, which round
# differently: of losses, which drift apart over 200 steps; of accuracies, some of 360 test digits; of masks, weights at
# the border of being kept.
LOSS, ACCURACY, BITS = 0.02, 0.02, 0.02


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", [*goldens.TICKETS, *goldens.SPARSE])
def test_an_experiment_gives_the_numbers_it_gave(name, tmp_path):
    model = {**goldens.TICKETS, **goldens.SPARSE}[name].model
    found = dict(goldens.networks(name, tmp_path, goldens.SEEDS[:1] if model in goldens.SLOW else goldens.SEEDS))
    assert found.keys() <= RECORDED[name].keys() and len(found) >= len(RECORDED[name]) / 2
    for network, now in found.items():
        was = RECORDED[name][network]
        assert now["kept"] == was["kept"], network
        assert goldens.differing(now["mask"], was["mask"]) <= BITS, network
        for key, values in was["history"].items():
            tolerance = {"rel": LOSS, "abs": 0.002} if key.endswith("loss") else {"abs": ACCURACY}
            assert now["history"][key] == pytest.approx(values, **tolerance), (network, key)
