"""Ctrl-C, the Stop button and SIGTERM end work at the end of a step, save it, and say so in one line."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from labkit.ground import tensor_files
from labkit.ground.interrupts import held_back, terminated_as_interrupted

TRAINS_ON = """
import torch, labkit as lk
from labkit.ground.progress import Progress
torch.set_num_threads(2)
Progress.__call__ = lambda self, done, note: print(done, flush=True)
train = lk.TrainSpec(duration="1000000it", evaluate_every="1000000it")
spec = lk.TicketSpec(model="{model}", train=train, prune=lk.PruneSpec(levels=2))
lk.find_tickets(spec, range({networks}))
"""


@pytest.mark.parametrize(
    ("model", "networks"),
    [("lenet_300_100", 1), ("lenet_300_100", 2), ("tests.networks:PlainLeNet", 2)],
    ids=["here", "in threads", "plain steps"],
)
def test_sigterm_saves_and_then_ends_the_process(model, networks, tmp_path):
    """It comes to every process of the job, as schedulers send it, and twice."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LABKIT_RUNS": str(tmp_path)}
    work = TRAINS_ON.format(model=model, networks=networks)
    process = subprocess.Popen(
        [sys.executable, "-c", work],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.strip().isdigit() and int(line) > 0:
            break
    os.killpg(process.pid, signal.SIGTERM)
    time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGTERM
    assert said.strip() == "stopped at level 0 of 2; run again to go on"
    checkpoints = list(tmp_path.glob("*/checkpoint.safetensors"))
    assert len(checkpoints) == (1 if "Plain" in model else networks), "plain steps go one after another"
    for checkpoint in checkpoints:
        saved = tensor_files.read(checkpoint)[0]
        step = int(saved["history/state"][1])
        assert step > 0 and int(saved["step/fc1.weight"]) == step, "every step was ended"


IMPATIENT = """
import os, signal, sys, threading, time
import torch, labkit as lk
from labkit.ground.interrupts import Stopped
from labkit.ground.progress import Progress
torch.set_num_threads(2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores Ctrl-C
shown = []
def presses():
    for _ in range(4):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.015)
def show(self, done, note):
    shown.append(done)
    if done > 0 and sys.argv[2:] and len(shown) > 1 and not pressing.is_alive() and not pressing.ident:
        pressing.start()
pressing = threading.Thread(target=presses)
Progress.__call__ = show
train = lk.TrainSpec(batch_size=1000, duration="300it", evaluate_every="100it")
try:
    lk.find_tickets(lk.TicketSpec(train=train, prune=lk.PruneSpec(levels=0)), [0, 1], root=sys.argv[1])
except Stopped as error:
    print(error, flush=True)
if pressing.ident:
    pressing.join()
"""


def test_however_often_one_interrupts_whole_steps_are_saved(tmp_path):
    """Networks train in threads, which must have ended their steps before they are saved."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(root, *more):
        done = subprocess.run([sys.executable, "-c", IMPATIENT, str(root), *more], env=environment,
                              capture_output=True, text=True, timeout=300)  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    run(tmp_path / "whole")
    assert run(tmp_path / "parts", "impatient") == "stopped; run again to go on"
    assert len(list((tmp_path / "parts").glob("*/checkpoint.safetensors"))) == 2
    run(tmp_path / "parts")
    for path in (tmp_path / "whole").glob("*/run.safetensors"):
        mine, theirs = (tensor_files.read(root / path.parent.name / path.name)[0] for root in (
            tmp_path / "parts", tmp_path / "whole"))  # fmt: skip
        assert all(torch.equal(mine[name].nan_to_num(), theirs[name].nan_to_num()) for name in theirs)


INTERRUPTED_EARLY = """
import _thread, signal, sys, threading
import labkit as lk
from labkit.ground import interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)
load = interrupts.importlib.import_module
def interrupted(name, package=None):
    if name == "torch._inductor":
        threading.Timer(0.2, _thread.interrupt_main).start()
    return load(name, package)
interrupts.importlib.import_module = interrupted
spec = lk.TicketSpec(train=lk.TrainSpec(duration="12it"), prune=lk.PruneSpec(levels=0))
assert "torch._inductor" not in sys.modules
try:
    lk.find_tickets(spec, [0])
except KeyboardInterrupt:
    print("stopped")
interrupts.importlib.import_module = load
print(lk.find_tickets(spec, [0]))
"""


def test_an_interrupt_while_libraries_are_imported_leaves_them_whole(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LABKIT_RUNS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_EARLY], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split("\n")[0] == "stopped" and "Runs(ticket" in done.stdout, done.stderr[-2000:]


@pytest.fixture
def sigterm():
    """What the process does about SIGTERM, put back after the test."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_is_left_to_a_program_that_handles_it(sigterm):
    received = []
    signal.signal(signal.SIGTERM, handler := lambda number, frame: received.append(number))
    with terminated_as_interrupted():
        signal.raise_signal(signal.SIGTERM)
        with held_back() as held:
            signal.raise_signal(signal.SIGTERM)
            assert held.asked and received == [15]
            held.deliver()
            assert not held.asked and received == [15, 15]
            signal.raise_signal(signal.SIGTERM)
    assert received == [15, 15, 15] and signal.getsignal(signal.SIGTERM) is handler


def test_sigterm_is_as_it_was_after_the_work_and_outside_the_main_thread(sigterm):
    found = []

    def work():
        with terminated_as_interrupted():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
    assert found[0] is signal.SIG_DFL and callable(found[1]) and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_stop_button_shows_one_line_and_stops_run_all(tmp_path, monkeypatch):
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv("LABKIT_RUNS", str(tmp_path))
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(Path(__file__).parents[2]))
    try:
        cell = client.execute(TRAINS_ON.format(model="lenet_300_100", networks=2))
        following = client.execute("print('not reached')")
        message = client.get_iopub_msg(timeout=120)
        while not (message["msg_type"] == "stream" and message["content"]["text"].strip().isdigit()):
            message = client.get_iopub_msg(timeout=120)
        manager.interrupt_kernel()
        replies = {}
        while not {cell, following} <= replies.keys():
            reply = client.get_shell_msg(timeout=120)
            replies[reply["parent_header"]["msg_id"]] = reply["content"]
        assert replies[following]["status"] == "aborted"
        assert replies[cell]["ename"] == "Stopped"
        while message["msg_type"] != "error":
            message = client.get_iopub_msg(timeout=120)
        assert message["content"]["traceback"] == ["stopped at level 0 of 2; run again to go on"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert len(list(tmp_path.glob("*/checkpoint.safetensors"))) == 2
