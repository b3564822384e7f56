"""Where slices of work are done: in the caller's thread, or in threads side by side."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from labkit.ground.interrupts import held_back


def workers(number: int) -> Executor:
    """An executor of so many workers; one works in the caller's thread, where PyTorch's kernel threads are fastest."""
    return ThreadPoolExecutor(number) if number > 1 else _Here()


class _Here(Executor):
    """Works in the caller's thread, and holds Ctrl-C and SIGTERM back until the work has ended."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with held_back():
            try:
                future.set_result(work(*arguments, **named))
            except BaseException as error:
                future.set_exception(error)
        return future
