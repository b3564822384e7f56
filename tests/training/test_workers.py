"""Workers on a machine of many cores."""

import os
import subprocess
import sys

import pytest

from labkit.training.crew import LARGE_STEP

HANGS = 300  # seconds: what is tried here takes a few
MANY_CORES = """
import sys
import torch
torch.set_num_threads(8)
import labkit as lk
from labkit.runs import scheduler
from labkit.training import crew
from labkit.training.engines.stepping import Stepping
crew.LARGE_STEP = int(sys.argv[2])
call, together, advance = torch.nn.Module.__call__, scheduler.side_by_side, Stepping.advance
most, threads = [], set()
scheduler.side_by_side = lambda jobs, number, *rest: most.append(number) or together(jobs, number, *rest)
Stepping.advance = lambda *given: threads.add(torch.get_num_threads()) or advance(*given)
network = dict(model=sys.argv[1], model_options={"width": 0.1} if sys.argv[1] == "conv_2" else {})
train = lk.TrainSpec(duration="12it", evaluate_every="4it", batch_size=20, augment="crop_flip")
tickets = lk.find_tickets(lk.TicketSpec(**network, train=train, prune=lk.PruneSpec(levels=1)), [0, 1, 2])
lk.branch(tickets, "random_sparse")
topology = lk.TopologySpec(method="rigl", density=0.2, every="3it", allocation="erk")
lk.train_sparse(lk.SparseSpec(**network, train=train, topology=topology), [0, 1, 2])
assert torch.nn.Module.__call__ is call, "captured one at a time"
print(most, sorted(threads))
"""


@pytest.mark.parametrize(
    ("model", "large", "most", "threads"),
    [
        ("lenet_300_100", LARGE_STEP, [6, 3, 3], 1),
        ("conv_2", LARGE_STEP, [6, 3, 3], 1),
        ("lenet_300_100", 30_000_000, [4, 3, 3], 2),
        ("conv_2", 60_000_000, [4, 3, 3], 2),
        # one after another: what plain steps may come to draw is not known
        ("tests.networks:PlainLeNet", LARGE_STEP, [1, 1, 1], 2),
        ("tests.networks:PlainConv", LARGE_STEP, [1, 1, 1], 8),
    ],
)
def test_three_networks_train_on_eight_cores(model, large, most, threads, tmp_path):
    """Several kernel threads each: workers that were forked would wait without end for OpenMP threads that were not."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LABKIT_DEVICE": "cpu",
                   "LABKIT_RUNS": str(tmp_path), "LABKIT_PROGRESS": "off", "OMP_WAIT_POLICY": "passive"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MANY_CORES, model, str(large)],
        env=environment, timeout=HANGS, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == f"{most} [{threads}]\n"
