"""Work in a thread of its own, beside the cells of a notebook: started, paused, stopped, and told of."""

import atexit
import threading
import weakref
from collections.abc import Callable

import torch

from labkit.ground.interrupts import Stopped

STATES = ("idle", "running", "paused", "stopping", "failed")
LEAVE_SECONDS = 10.0  # that the end of the process waits for work to stop


class Worker:
    """One piece of work at a time, in a thread of its own; every method returns at once, but for `wait`.

    What works calls `look` again and again: there it rests while it is paused, and there it ends when it is to stop. It
    computes with as many kernel threads as the thread that starts it. When the process ends, it is stopped first.

    Args:
        changed: called after every change of the state and by every `tell`, by one thread at a time, which holds
            `lock`; in the thread of the change, so that it must not wait for another thread.

    Attributes:
        lock: that `changed` is called under; take it to change what `changed` changes.
        error: why the last work failed; None if it did not.
    """

    def __init__(self, changed: Callable[[], object] = lambda: None):
        self.lock = threading.RLock()
        self.error: BaseException | None = None
        self._changed, self._state = changed, "idle"
        self._thread: threading.Thread | None = None
        self._going, self._stop = threading.Event(), threading.Event()
        weakref.finalize(self, atexit.unregister, last := _Leaving(self))
        atexit.register(last)

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return self._state

    @property
    def busy(self) -> bool:
        """Whether there is work that has not ended."""
        return self._state in ("running", "paused", "stopping")

    def start(self, work: Callable[[], object]) -> bool:
        """Begin; of work that is paused, go on with that.

        Args:
            work: what is to be done; it calls `look` as it goes. `Stopped` that it raises is its end, any other
                error a failure.

        Returns:
            Whether `work` was begun: False if there is work that has not ended.
        """
        with self.lock:
            if self.busy:
                self.resume()
                return False
            self.error = None
            self._going.set()
            self._stop.clear()
            threads = torch.get_num_threads()
            self._thread = threading.Thread(target=self._work, args=(work, threads), daemon=True, name="labkit worker")
            self._become("running")
            self._thread.start()
            return True

    def pause(self) -> None:
        """Let the work rest from its next `look` on, if it is running."""
        with self.lock:
            if self._state == "running":
                self._going.clear()
                self._become("paused")

    def resume(self) -> None:
        """Go on, if the work is paused."""
        with self.lock:
            if self._state == "paused":
                self._become("running")
                self._going.set()

    def stop(self) -> None:
        """Let the work end at its next `look`, if there is any, paused or not."""
        with self.lock:
            if self._state in ("running", "paused"):
                self._stop.set()
                self._become("stopping")
                self._going.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the work to end, at most so long; whether it has. Not to be called by `changed` or under `lock`."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)
        return not self.busy

    def look(self) -> None:
        """Called by the work: rest while it is paused.

        Raises:
            Stopped: if it is to stop.
        """
        while not self._stop.is_set() and not self._going.wait(1.0):
            pass
        if self._stop.is_set():
            raise Stopped("stopped; start again to go on")

    def rest(self, seconds: float) -> None:
        """Called by the work: wait for so long, less if it is to stop; see `look`."""
        self._stop.wait(seconds)
        self.look()

    def tell(self) -> None:
        """Called by the work: there is something new to be shown."""
        with self.lock:
            self._changed()

    def _become(self, state: str) -> None:
        self._state = state
        self._changed()

    def _work(self, work: Callable[[], object], threads: int) -> None:
        state, error = "idle", None
        try:
            torch.set_num_threads(threads)
            work()
        except Stopped:
            pass
        except BaseException as found:  # whoever shows the state says it: a thread has nobody to raise it to
            state, error = "failed", found
        with self.lock:
            self.error = error
            self._become(state)


class _Leaving:
    """Stops the work of a worker when the process ends, so that it is saved."""

    def __init__(self, worker: Worker):
        self._worker = weakref.ref(worker)

    def __call__(self) -> None:
        worker = self._worker()
        if worker is not None and worker.busy:
            worker.stop()
            worker.wait(LEAVE_SECONDS)
