"""Workers on a machine of many cores."""

import os
import subprocess
import sys

import pytest

HANGS = 300  # seconds: what is tried here takes a few
MANY_CORES = """
import sys
import torch
torch.set_num_threads(8)
import labkit as lk
from labkit.training.loop import Training
crew, crews = Training.crew, set()
Training.crew = lambda self: crews.add(crew(self)) or crew(self)
network = dict(model=sys.argv[1], model_options={"width": 0.1} if sys.argv[1] == "conv_2" else {})
train = lk.TrainSpec(duration="12it", evaluate_every="4it", batch_size=20, augment="crop_flip")
tickets = lk.find_tickets(lk.TicketSpec(**network, train=train, prune=lk.PruneSpec(levels=1)), [0, 1, 2])
lk.branch(tickets, "random_sparse")
topology = lk.TopologySpec(method="rigl", density=0.2, every="3it", allocation="erk")
lk.train_sparse(lk.SparseSpec(**network, train=train, topology=topology), [0, 1, 2])
print(sorted(crews))
"""


@pytest.mark.parametrize(
    ("model", "crew"),
    [
        ("lenet_300_100", (3, 2)),
        ("conv_2", (3, 2)),
        ("tests.networks:PlainLeNet", (1, 2)),  # one after another: what plain steps may come to draw is not known
        ("tests.networks:PlainConv", (1, 8)),
    ],
)
def test_three_networks_train_on_eight_cores(model, crew, tmp_path):
    """Two kernel threads each: workers that were forked would wait without end for OpenMP threads that were not."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LABKIT_DEVICE": "cpu",
                   "LABKIT_RUNS": str(tmp_path), "LABKIT_PROGRESS": "off", "OMP_WAIT_POLICY": "passive"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MANY_CORES, model], env=environment, timeout=HANGS, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0 and done.stdout == f"[{crew}]\n"
