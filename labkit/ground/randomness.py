"""All randomness of the kit is derived from (seed, purpose, position): no ambient generator, no clock."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

AMBIENT = threading.RLock()  # PyTorch's own generator, which is the whole process's: one thread at a time draws from it


def derive(seed: int, purpose: str, *position: int | str) -> int:
    """A 63-bit seed from a seed, a purpose ("init", "order", ...) and a position (an epoch, a copy, ...).

    The first eight bytes of the SHA-256 of the arguments, so that streams of different purposes or positions are
    unrelated and the same on every platform.

    >>> derive(0, "order", 1) == derive(0, "order", 1) != derive(0, "order", 2)
    True
    """
    text = "/".join(map(str, (seed, purpose, *position)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *position: int | str) -> torch.Generator:
    """A CPU generator seeded with `derive`: CPU and GPU runs draw the same numbers from it."""
    return torch.Generator().manual_seed(derive(seed, purpose, *position))


@contextmanager
def ambient(seed: int | None = None, devices: Sequence[torch.device] | None = ()) -> Iterator[None]:
    """PyTorch's own generator for this thread alone, for code that draws from no other; put back afterwards.

    Args:
        seed: to begin with; None: as it is.
        devices: GPUs whose generators are put back too; None: all.
    """
    with AMBIENT, torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        yield
