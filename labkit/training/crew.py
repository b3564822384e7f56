"""Networks side by side: who trains beside whom, on how many kernel threads each.

Networks are independent, so each goes on for a slice of time on its own, the one that is furthest behind first. Small
networks train side by side in threads, with a kernel thread each; large ones go one after another with all of them, as
their activations would crowd each other out of the caches; so do those that draw in their steps, since what they draw
comes from one generator, and those on a GPU, which works through its queue. How many kernel threads a network has is a
property of the network and the machine, not of its company: by rounding, its numbers depend on that, and on nothing
else.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch

from labkit.ground.interrupts import Held, held_back
from labkit.training.engines.door import Engine
from labkit.training.engines.workers import workers
from labkit.training.loop import Training

# multiply-accumulates of a batch, forward: below the first more than two kernel threads do not pay a network of linear
# layers; above the second a network with two threads is faster than two networks with one each
SMALL_STEP, LARGE_STEP = 64_000_000, 2_000_000_000


def kernel_threads(engine: Engine, cores: int) -> int:
    """How many kernel threads a network of an engine is given, of so many cores."""
    if engine.alone:
        return min(cores, 2) if engine.linear and engine.work < SMALL_STEP else cores
    return min(cores, 1 + cores * engine.work // LARGE_STEP)


class Job(Protocol):
    """Something that is worked on in slices, such as a `Training`."""

    @property
    def threads(self) -> int:
        """Kernel threads that it wants."""

    @property
    def alone(self) -> bool:
        """Whether nothing else may be worked on meanwhile."""

    def work(self) -> None:
        """Go on for a slice."""


@dataclass(frozen=True, eq=False)
class _Alone:
    """A training that nobody keeps, as a job."""

    training: Training
    threads: int
    alone: bool

    def work(self) -> None:
        self.training.work()


def at_once(engine: Engine, networks: int, cores: int) -> int:
    """How many networks of an engine train at once, of so many, on so many cores."""
    return min(networks, 1 if engine.alone else max(1, cores // kernel_threads(engine, cores)))


def train(engine: Engine, trainings: Sequence[Training], told: Callable[[], None] | None = None) -> None:
    """Train networks of one engine side by side to their end, the furthest behind first; nothing is written.

    Args:
        engine: of all.
        trainings: its networks.
        told: called after every slice.
    """
    cores = torch.get_num_threads()
    threads = kernel_threads(engine, cores)
    jobs = [_Alone(training, threads, engine.alone) for training in trainings]

    def left(busy: Sequence[Job]) -> list[_Alone]:
        return sorted((job for job in jobs if job.training.goes_on), key=lambda job: job.training.record.step)

    side_by_side(left, at_once(engine, len(jobs), cores), told)


def side_by_side(
    jobs: Callable[[Sequence[Job]], Sequence[Job] | None], most: int, told: Callable[[], None] | None = None,
    held: Held | None = None,
) -> None:  # fmt: skip
    """Work on jobs until there are none.

    Args:
        jobs: what can be worked on now, most urgent first, given what is being worked on; asked after every slice.
            None: nothing now, but ask again.
        most: jobs that can ever be worked on at once; a single one is worked on in the caller's thread.
        told: called after every slice.
        held: signals that the caller holds back already.

    An exception of a job, Ctrl-C or SIGTERM, however often they come, stop all jobs at the end of their slices, and are
    raised; where the program does something else about a signal, that is done then, and work goes on.
    """
    cores = torch.get_num_threads()
    # beside the main thread, what that draws meanwhile must not be taken back
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []  # seeding seeds them all
    busy: dict[Future[None], Job] = {}
    try:
        with (
            held_back() if held is None else nullcontext(held) as signals,
            torch.random.fork_rng(devices=gpus, enabled=threading.current_thread() is threading.main_thread()),
            workers(most) as pool,
        ):
            while True:
                if signals.asked and not busy:
                    signals.deliver()
                found = None if signals.asked else jobs(list(busy.values()))
                for job in found or ():
                    if job not in busy.values() and _fits(job, list(busy.values()), cores, most):
                        busy[pool.submit(_slice, job)] = job
                if found is not None and not busy:
                    return
                for future in wait(busy, return_when=FIRST_COMPLETED).done if busy else ():
                    busy.pop(future)
                    future.result()
                if told:
                    told()
    finally:
        torch.set_num_threads(cores)


def _slice(job: Job) -> None:
    if torch.get_num_threads() != job.threads:
        torch.set_num_threads(job.threads)
    job.work()


def _fits(job: Job, busy: Sequence[Job], cores: int, most: int) -> bool:
    if not busy:
        return True
    if job.alone or any(other.alone for other in busy) or len(busy) >= most:
        return False
    return job.threads + sum(other.threads for other in busy) <= cores
