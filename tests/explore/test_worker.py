"""Work beside the cells of a notebook, in a thread of its own."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch

from labkit.explore.worker import Worker


class Counting:
    """Work that counts its rounds until it is stopped."""

    def __init__(self, changed=lambda: None):
        self.worker, self.rounds = Worker(changed), 0

    def __call__(self):
        while True:
            self.worker.rest(0.001)
            self.rounds += 1
            self.worker.tell()

    def until(self, rounds):
        for _ in range(5000):
            if self.rounds >= rounds:
                return
            time.sleep(0.002)
        raise AssertionError(f"{self.rounds} rounds in ten seconds, not {rounds}")


@pytest.fixture
def counting():
    work = Counting()
    yield work
    work.worker.stop()
    assert work.worker.wait(10)


def test_work_goes_on_beside_a_busy_thread_until_it_is_stopped(counting):
    assert counting.worker.start(counting)
    while counting.rounds < 5:
        sum(range(1000))  # a cell that computes
    counting.worker.stop()
    assert counting.worker.wait(10) and counting.worker.state == "idle" and counting.worker.error is None


def test_a_second_start_does_nothing(counting):
    counting.worker.start(counting)
    counting.until(1)
    assert not counting.worker.start(lambda: pytest.fail("begun twice"))
    assert sum(thread.name == "labkit worker" for thread in threading.enumerate()) == 1


def test_paused_work_rests_and_goes_on_where_it_was(counting):
    counting.worker.start(counting)
    counting.until(3)
    counting.worker.pause()
    assert counting.worker.state == "paused"
    time.sleep(0.05)  # it may be in a round
    rested = counting.rounds
    time.sleep(0.1)
    assert counting.rounds == rested
    counting.worker.start(counting)
    counting.until(rested + 3)
    assert counting.worker.state == "running"


def test_paused_work_can_be_stopped_and_begun_anew(counting):
    counting.worker.start(counting)
    counting.worker.pause()
    counting.worker.stop()
    assert counting.worker.wait(10) and counting.worker.state == "idle"
    assert counting.worker.start(counting)
    counting.until(counting.rounds + 1)


def test_pause_resume_and_stop_of_no_work_do_nothing():
    worker = Worker()
    worker.pause(), worker.resume(), worker.stop()
    assert worker.state == "idle" and worker.wait()


def test_an_error_is_kept_and_nothing_is_printed(capsys):
    worker = Worker()
    worker.start(lambda: 1 / 0)
    assert worker.wait(10) and worker.state == "failed" and isinstance(worker.error, ZeroDivisionError)
    assert capsys.readouterr() == ("", "")
    worker.start(lambda: None)
    assert worker.wait(10) and worker.state == "idle" and worker.error is None


def test_every_change_is_told_under_the_lock():
    told, inside = [], []

    def changed():
        inside.append(1)
        assert len(inside) == 1, "two threads at once"
        told.append(work.worker.state)
        inside.pop()

    work = Counting(changed)
    work.worker.start(work)
    work.until(2)
    for act in (work.worker.pause, work.worker.resume, work.worker.stop):
        act()
    assert work.worker.wait(10)
    assert list(dict.fromkeys(told)) == ["running", "paused", "stopping", "idle"] and told[-1] == "idle"


def test_work_has_the_kernel_threads_of_who_starts_it(kernel_threads):
    found, worker = [], Worker()
    other = threading.Thread(target=lambda: torch.set_num_threads(3))  # what others set is not taken over
    other.start()
    other.join()
    worker.start(lambda: found.append(torch.get_num_threads()))
    assert worker.wait(10) and found == [kernel_threads]
    assert torch.get_num_threads() == kernel_threads


LEAVES = """
from labkit.explore.worker import Worker
worker = Worker()
def work():
    try:
        while True:
            worker.rest(0.01)
    finally:
        print("saved", flush=True)
worker.start(work)
"""


def test_the_end_of_the_process_stops_the_work_first():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LEAVES], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "saved", "")


def test_a_worker_that_nobody_holds_is_let_go():
    worker = Worker()
    gone = weakref.ref(worker)
    del worker
    gc.collect()
    assert gone() is None
