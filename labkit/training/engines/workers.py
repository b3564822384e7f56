"""Where replicates train: in the caller's thread, or in threads side by side."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import torch

from labkit.ground.interrupts import held_back


def workers(number: int, threads: int, work: Callable[[int], None], interrupted: Callable[[], None]) -> "Workers":
    """An executor whose `submit(index)` does `work(index)`.

    Args:
        number: workers; one works in the caller's thread, where PyTorch's kernel threads are fastest.
        threads: kernel threads of each.
        work: what to do with an index.
        interrupted: called when Ctrl-C or SIGTERM comes while work is done in the caller's thread, to make it end soon.
    """
    if number > 1:
        return _Threads(number, threads, work)
    torch.set_num_threads(threads)
    return _Here(work, interrupted)


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


Workers = _Here | _Threads
