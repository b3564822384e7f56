"""A pytest plugin (`-p tests.nbval_kernel`): a notebook whose kernel dies fails at once.

nbval asks its kernel for a message with the cell's whole timeout; a dead kernel never answers. Here it asks every two
seconds, and looks whether the kernel still lives.
"""

import time
from queue import Empty

from nbval.kernel import RunningKernel

_PATIENCE = 2.0
_get_message = RunningKernel.get_message


def get_message(self, stream, timeout=None):
    end = time.monotonic() + (timeout or float("inf"))
    while True:
        try:
            return _get_message(self, stream, timeout=min(_PATIENCE, max(0.01, end - time.monotonic())))
        except Empty:
            if not self.is_alive():
                raise RuntimeError("the kernel died while it ran this cell") from None
            if time.monotonic() >= end:
                raise


RunningKernel.get_message = get_message
