"""Where replicates train: in the caller's thread, in forked processes, or in threads; and memory that they share."""

import ctypes
import mmap
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from labkit.ground.interrupts import held_back

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_work: Callable[[int], None] | None = None  # of a forked worker


class Flag:
    """A flag that forked processes see too."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self, value: bool = True) -> None:
        """Raise it, or lower it."""
        self._byte[0] = value

    def __bool__(self) -> bool:
        return self._byte[0] > 0


def shared(tensor: Tensor) -> Tensor:
    """A copy in memory that processes forked later share, for tensors on the CPU; others are only copied."""
    copy = torch.empty_like(tensor)  # as densely laid out
    if tensor.device.type != "cpu" or not tensor.numel():
        return copy.copy_(tensor)
    # anonymous: not bounded by the size of /dev/shm, and gone with the processes
    buffer = mmap.mmap(-1, tensor.numel() * tensor.element_size())
    return torch.frombuffer(buffer, dtype=tensor.dtype).as_strided(copy.shape, copy.stride()).copy_(tensor)


def numbers(kind: type[int] | type[float], count: int, value: float = 0) -> Any:
    """A memoryview of as many integers (64 bits) or floats (double), which processes forked later share."""
    found: Any = memoryview(mmap.mmap(-1, 8 * count)).cast("q" if kind is int else "d")
    for position in range(count):
        found[position] = kind(value)
    return found


def workers(
    number: int, threads: int, work: Callable[[int], None], interrupted: Callable[[], None], fork: bool
) -> "Workers":
    """An executor whose `submit(index)` does `work(index)`.

    Args:
        number: workers; one works in the caller's thread, where PyTorch's kernel threads are fastest.
        threads: kernel threads of each; a forked worker has one, whatever is asked for.
        work: what to do with an index.
        interrupted: called when Ctrl-C or SIGTERM comes while work is done in the caller's thread, to make it end soon.
        fork: whether `work` may run in a forked process: it keeps its results in `shared` memory and runs no autograd.
            Forked workers do not wait for each other's interpreter; where they cannot be had, threads are used. They
            have one kernel thread each: those of OpenMP are not forked, and a kernel that waits for them never returns.
    """
    if number == 1:
        torch.set_num_threads(threads)
        return _Here(work, interrupted)
    if fork and sys.platform == "linux":
        return _Forked(number, work)
    return _Threads(number, threads, work)


class _Here(Executor):
    """Works in the caller's thread, and holds Ctrl-C and SIGTERM back until the work has ended."""

    def __init__(self, work: Callable[[int], None], interrupted: Callable[[], None]):
        self._work, self._interrupted = work, interrupted

    def submit(self, index: int, /) -> Future[None]:  # type: ignore[override]
        future: Future[None] = Future()
        with held_back(self._interrupted):
            try:
                future.set_result(self._work(index))
            except BaseException as error:
                future.set_exception(error)
        return future


class _Threads(ThreadPoolExecutor):
    def __init__(self, number: int, threads: int, work: Callable[[int], None]):
        super().__init__(number, initializer=torch.set_num_threads, initargs=(threads,))
        self._work = work

    def submit(self, index: int, /) -> Future[None]:  # type: ignore[override]
        return super().submit(self._work, index)


class _Forked(ProcessPoolExecutor):
    def __init__(self, number: int, work: Callable[[int], None]):
        context = multiprocessing.get_context("fork")
        super().__init__(number, context, initializer=_begin, initargs=(work, os.getpid()))
        with warnings.catch_warnings():  # that a process with threads forks: its children only use what is named above
            warnings.simplefilter("ignore", DeprecationWarning)
            super().submit(os.getpid).result()  # all workers are forked now
        self._forked = list(self._processes.values())

    def submit(self, index: int, /) -> Future[None]:  # type: ignore[override]
        return super().submit(_do, index)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As any executor's; where a worker has died, the others are killed: they would not be terminated."""
        if not all(process.is_alive() for process in self._forked):
            for process in self._forked:
                process.kill()
        super().shutdown(wait, cancel_futures=cancel_futures)


Workers = _Here | _Threads | _Forked


def _begin(work: Callable[[int], None], parent: int) -> None:
    global _work
    for number in (signal.SIGINT, signal.SIGTERM):  # they come to all processes of a job: the parent decides
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no orphans
    if os.getppid() != parent:
        os._exit(1)
    torch.set_num_threads(1)
    _work = work


def _do(index: int) -> None:
    assert _work is not None
    _work(index)
