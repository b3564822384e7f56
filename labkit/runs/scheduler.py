"""Runs that are asked for, and those that they start from: what is missing is computed, in an order that follows.

One plan for a call, with its cost told before the first step and one line of progress. Networks go side by side; those
whose dependants have the longest way to go come first. A run that another process holds is left to it; where nothing
else is to be done, one waits. A network that diverges stops those alone that start from its end.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from labkit.ground.interrupts import held_back, terminated_as_interrupted
from labkit.ground.lists import listed
from labkit.ground.names import whole
from labkit.ground.progress import Progress
from labkit.runs.cost import estimate
from labkit.runs.networks import Labelled
from labkit.runs.plan import Plan
from labkit.runs.store import Store, tell_of_old
from labkit.runs.watching import watching
from labkit.runs.weight_sources import DONE, Moment
from labkit.runs.work import Work, tell_divergence
from labkit.training.crew import side_by_side


def compute(
    wanted: Sequence[Labelled], title: str, root: Path | None = None, *, moment: Moment = DONE
) -> dict[str, str]:
    """Compute the runs that are not done, and what they start from: their cost told first, and one line of progress.

    Args:
        wanted: runs with their labels.
        title: what progress is called.
        root: folder of the runs; default `labkit.runs.store.runs_folder()`.
        moment: what is wanted of them: that they are finished, or, where they were let go, their weights at the `END`.

    Returns:
        hash -> why it could not be computed: the network that it would have started from has diverged.

    Raises:
        ValueError: if one was computed, or begun, by what has changed since; before any training.
        OSError: if a folder cannot be written.
        Stopped: by Ctrl-C or the Stop button, or by who watches (`labkit.runs.watching`), when what is trained has been
            saved; after SIGTERM the process ends.
    """
    store = Store(root)
    tell_of_old(store.root)
    plan = Plan(wanted, store, moment)
    for run_hash, step in plan.diverged.items():
        if run_hash in plan.labels:
            member = plan.labels[run_hash]
            tell_divergence(member.label, step, member.run)
    if plan.left:
        _carry_out(plan, title)
    return {run_hash: planned.blocked for run_hash, planned in plan.planned.items() if planned.blocked}


def _carry_out(plan: Plan, title: str) -> None:
    for planned in plan.left:
        plan.store.folder(planned.run).prepare()
        if found := plan.store.folder(planned.run).checkpoint(header=True):  # one that does not agree is said now
            plan.check_sources(planned.run, found[1]["sources"])
    with terminated_as_interrupted():
        watched = watching() is not None
        progress = Progress(title, sum(planned.steps for planned in plan.left), quiet=watched)
        work = Work(plan, progress)
        try:
            if not watched:
                progress.say(estimate([(planned.run, planned.steps) for planned in plan.left]))
        except KeyboardInterrupt:
            raise work.stopped() from None
        with held_back() as held:  # so that however often one interrupts, what is on its way is saved
            try:
                side_by_side(work.jobs, work.most(), work.told, held)
            except KeyboardInterrupt:
                work.save()
                raise work.stopped() from None
            except BaseException:
                with suppress(OSError):  # such as a full disk, which is what is raised
                    work.save()
                raise
    progress.close()


def checked_seeds(seeds: Iterable[int]) -> list[int]:
    """Seeds as a list.

    Raises:
        ValueError: for what is not a list, if there is none, one twice, or one that is not a whole number from 0.
    """
    found = listed("seeds", seeds, of=whole, like="[0, 1, 2]")
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds are {found}: give at least one, each once")
    return found
