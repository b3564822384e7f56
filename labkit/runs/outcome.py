"""What a finished run says of how it came out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from labkit.runs import provenance
from labkit.runs.run import Run
from labkit.training.history import Record


def outcome(
    run: Run, masks: Mapping[str, Tensor], record: Record, *, seconds: float, threads: int, how: str, why: str
) -> dict[str, Any]:
    """The result of a run, as plain values: what survived, where it diverged, how long it took, and on what.

    Args:
        run: that has ended.
        masks: at its end.
        record: its history.
        seconds: that its training took.
        threads: kernel threads that it had.
        how, why: what its engine says of itself (`labkit.training.engines.door.Engine.how`).
    """
    sizes = run.experiment.sizes
    kept = sum(int(masks[name].sum()) if name in masks else size for name, size in sizes.items())
    return {
        "kept": kept, "density": kept / sum(sizes.values()),
        "diverged_at": record.diverged if record.diverged >= 0 else None,
        "iterations": run.experiment.iterations, "seconds": round(seconds, 2),
        "engine": how, **({"why": why} if why else {}), "threads": threads,
        **provenance.describe(run.experiment.device),
    }  # fmt: skip
