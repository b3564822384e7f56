"""What of a run is missing: all of it, or what others take from it and was not kept."""

from collections.abc import Collection, Mapping
from typing import Any

from labkit.runs.folder import RunFolder
from labkit.runs.run import Run
from labkit.runs.weight_sources import DONE, END, Moment


def ends(run: Run, replayed: int | None) -> int:
    """The step at which a run ends that is trained, or replayed up to a step."""
    return run.experiment.iterations if replayed is None else replayed


def lacking(
    folder: RunFolder, about: Mapping[str, Any] | None, moments: Collection[Moment], points: Collection[int] = ()
) -> tuple[bool, int | None]:
    """What a run lacks: (whether it must be trained, else the step up to which it must be replayed, or None).

    Args:
        folder: of the run.
        about: its description, None if it is not finished.
        moments: what others take from it: steps, or its end. One that diverged has no end.
        points: steps at which its evaluation is wanted.
    """
    if about is None:
        return True, None
    diverged = about["result"]["diverged_at"]
    ended = folder.run.experiment.iterations if diverged is None else diverged
    needed = [moment for moment in moments if moment not in (END, DONE) and int(moment) <= ended
              and not folder.has_snapshot(int(moment))]  # fmt: skip
    if END in moments and not about["weights"] and diverged is None:
        needed.append(ended)
    needed += [point for point in set(points) - set(about["points"]) if point <= ended]
    return False, max(map(int, needed)) if needed else None
