"""Runs computed one after another: those that are not done yet, with their cost told first."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from labkit.ground.interrupts import Stopped, terminated_as_interrupted
from labkit.ground.lists import listed
from labkit.ground.names import whole
from labkit.ground.progress import Progress
from labkit.runs.computing import compute, tell_divergence
from labkit.runs.cost import estimate
from labkit.runs.experiment import Experiment
from labkit.runs.run import Run, Start


def compute_all(
    experiment: Experiment, runs: Mapping[int, Run], start: Callable[[int], Start], begin: Callable[[int], int],
    title: str,
) -> None:  # fmt: skip
    """Compute the runs that are not done, level by level, with their cost told first and one line of progress.

    Args:
        experiment: whose runs they are.
        runs: by level.
        start: level -> where its run starts; called when its turn comes.
        begin: level -> the first step of its training.
        title: what progress is called.

    Raises:
        ValueError: if one was computed, or begun, with other values (see `RunFolder.agree`); before any training.
        Stopped: by Ctrl-C or the Stop button, when what is trained has been saved; after SIGTERM the process ends.
    """
    for run in runs.values():
        run.folder.agree()
    todo = {level: run for level, run in runs.items() if not run.folder.done()}
    for level in runs.keys() - todo.keys():
        tell_divergence(experiment, runs[level])
    if not todo:
        return
    for run in todo.values():
        run.folder.prepare()
    level = first = next(iter(todo))
    identity = todo[first].folder.identity
    networks = len(identity["seeds"]) * identity["copies"]
    steps = {level: (experiment.iterations - begin(level)) * networks for level in todo}
    progress = Progress(title, sum(steps.values()))
    trained = 0
    with terminated_as_interrupted():
        try:
            progress.say(estimate(experiment, start(first), list(todo.values()), experiment.rewind))
            for level, run in todo.items():
                trained += steps[level]
                told = partial(_show, progress, level, trained)
                compute(experiment, run, partial(start, level), begin(level), told)
        except KeyboardInterrupt:
            where = f" at level {level} of {max(runs)}" if max(runs) else ""
            raise Stopped(f"stopped{where}; run again to go on") from None
    progress.close()


def _show(progress: Progress, level: int, end: int, left: int) -> None:
    progress(end - left, f"level {level}")


def checked_seeds(seeds: Iterable[int]) -> list[int]:
    """Seeds as a list.

    Raises:
        ValueError: for what is not a list, if there is none, one twice, or one that is not a whole number from 0.
    """
    found = listed("seeds", seeds, of=whole, like="[0, 1, 2]")
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds are {found}: give at least one, each once")
    return found
