"""What training will cost, measured before it starts."""

import math
import time
from collections.abc import Sequence

import torch

from labkit.ground.progress import duration
from labkit.runs.computing import training
from labkit.runs.experiment import Experiment
from labkit.runs.run import Run, Start

_MEASURED: dict[tuple[object, ...], tuple[float, float]] = {}


def estimate(experiment: Experiment, start: Start, runs: Sequence[Run], begin: int) -> str:
    """What runs that are not done will cost, in a line, measured from a few steps of copies of the first networks.

    Args:
        experiment: whose runs they are.
        start: where the first of them starts.
        runs: to be computed; what their checkpoints hold is not counted.
        begin: the first step of runs above level 0.
    """
    cores = 1 if experiment.device.type == "cuda" else torch.get_num_threads()
    networks = len(start.replicates)
    every = experiment.clock.iterations(experiment.spec.train.evaluate_every)
    left = sum(_steps_left(experiment, run, begin if run.level else 0, networks) for run in runs)
    step, evaluation = _measure(experiment, start, min(networks, cores), left // networks)
    total = left * (step + evaluation / max(1, every))
    state = sum(s[0].numel() * s.element_size() for s in start.states.values())
    memory = 6 * networks * state + sum(images.numel() for images in experiment.data.images.values())
    parts = [_count(len(runs), "level"), _count(networks, "network"), _count(experiment.iterations, "iteration")]
    place = torch.cuda.get_device_name() if experiment.device.type == "cuda" else _count(cores, "core")
    where = f"on {place}, {memory / 1e9:.2f} GB besides PyTorch"
    cost = f"about {duration(total)}" if total >= 1 else duration(total)
    return f"{' x '.join(parts)}: {cost} {where}{_drops(experiment)}"


def _drops(experiment: Experiment) -> str:
    """The iterations at which the learning rate changes: a drop that lies beyond the end would show here."""
    train = experiment.spec.train
    moments = [f"{experiment.clock.iterations(drop):,}" for drop in train.lr_drops]
    warm = experiment.clock.iterations(train.lr_warmup)
    told = [f"learning rate {train.lr:g}"] if moments or warm else []
    told += [f"warmed up over {warm:,} iterations"] if warm else []
    told += [f"x {train.lr_drop_factor:g} at {' and '.join(moments)} of {experiment.iterations:,}"] if moments else []
    return "; " + ", ".join(told) if told else ""


def _measure(experiment: Experiment, start: Start, few: int, steps: int) -> tuple[float, float]:
    """Seconds of a replicate's step and of a replicate's evaluation, with as many at once as there are workers.

    Once for a network, a batch size and a data set; on so many steps, at most a twentieth of those to do.
    """
    train, data = experiment.spec.train, experiment.data.digest
    key = (experiment.step_digest, train.batch_size, train.augment, data, few, torch.get_num_threads())
    if key not in _MEASURED:
        _MEASURED[key] = _measured(experiment, start, few, steps)
    return _MEASURED[key]


def _measured(experiment: Experiment, start: Start, few: int, most: int) -> tuple[float, float]:
    first = Start({name: s[:few] for name, s in start.states.items()}, {}, list(start.replicates)[:few])

    def seconds(steps: int) -> float:
        trial = training(experiment, first, 0, duration=f"{steps}it")
        began = time.monotonic()
        trial.run()
        return time.monotonic() - began

    seconds(2)  # first-touch costs
    brief = seconds(4)
    long = next(steps for limit, steps in ((0.6, 404), (1.5, 44), (math.inf, 8)) if brief < limit)
    long = min(long, max(8, most // 20))
    step = max(0.0, seconds(long) - brief) / (long - 4) / few
    trial = training(experiment, first, 0)
    number, threads = trial.crew()
    cores = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        began = time.monotonic()
        trial.evaluate(0)
        return step, (time.monotonic() - began) / number
    finally:
        torch.set_num_threads(cores)


def _steps_left(experiment: Experiment, run: Run, begin: int, networks: int) -> int:
    found = run.folder.checkpoint()
    done = 0 if found is None else int(sum(found["loop/step"].tolist())) - begin * networks
    return (experiment.iterations - begin) * networks - done


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
