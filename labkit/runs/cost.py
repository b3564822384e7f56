"""What training will cost, measured before it starts."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from labkit.ground.progress import duration
from labkit.runs.experiment import Experiment
from labkit.runs.mask_sources import Whole
from labkit.runs.run import Run
from labkit.runs.starts import Start
from labkit.training.crew import at_once, kernel_threads, train
from labkit.training.engines.door import canonical
from labkit.training.history import Record
from labkit.training.loop import Training, evaluation_points


@dataclass(frozen=True)
class _Cost:
    """Seconds that each takes."""

    step: float
    evaluation: float
    begin: float  # of a network: to build it and place its tensors
    capture: float  # of a step, once for dense and once for masked networks


_MEASURED: dict[tuple[object, ...], _Cost] = {}


def estimate(todo: Sequence[tuple[Run, int]]) -> str:
    """What runs will cost, in a line, measured from a few steps of networks of each kind.

    Args:
        todo: runs and how many steps each still has to go.
    """
    kinds: dict[tuple[object, ...], list[tuple[Run, int]]] = {}
    for run, steps in todo:
        kinds.setdefault(_kind(run.experiment), []).append((run, steps))
    total = memory = 0.0
    for runs in kinds.values():
        experiment = runs[0][0].experiment
        steps = sum(steps for _, steps in runs)
        cost = _measure(experiment, len(runs), max(steps for _, steps in runs))
        every = experiment.clock.iterations(experiment.spec.train.evaluate_every)
        total += steps * cost.step + (steps / max(1, every) + len(runs)) * cost.evaluation + len(runs) * cost.begin
        total += cost.capture * any(_masked(run) for run, _ in runs)
        weights = sum(tensor.numel() * tensor.element_size() for tensor in experiment.model().state_dict().values())
        images = sum(images.numel() for images in experiment.data.images.values())
        memory = max(memory, 6 * min(len(runs), torch.get_num_threads()) * weights + images)
    experiments = [run.experiment for run, _ in todo]
    device = experiments[0].device
    place = torch.cuda.get_device_name() if device.type == "cuda" else _count(torch.get_num_threads(), "core")
    takes = f"about {duration(total)}" if total >= 1 else duration(total)
    told = {_drops(experiment) for experiment in experiments}
    drops = told.pop() if len(told) == 1 else ""
    return f"{_networks(todo)}: {takes} on {place}, {memory / 1e9:.2f} GB besides PyTorch{drops}"


def _masked(run: Run) -> bool:
    return not (isinstance(run.start, Start) and isinstance(run.start.mask, Whole))


def _networks(todo: Sequence[tuple[Run, int]]) -> str:
    """How many networks of how many iterations."""
    lengths = Counter(run.experiment.iterations - run.first for run, _ in todo)
    return " and ".join(f"{_count(n, 'network')} of {_count(steps, 'iteration')}" for steps, n in lengths.items())


def _drops(experiment: Experiment) -> str:
    """The iterations at which the learning rate changes: a drop that lies beyond the end would show here."""
    train = experiment.spec.train
    moments = [f"{experiment.clock.iterations(drop):,}" for drop in train.lr_drops]
    warm = experiment.clock.iterations(train.lr_warmup)
    told = [f"learning rate {train.lr:g}"] if moments or warm else []
    told += [f"warmed up over {warm:,} iterations"] if warm else []
    told += [f"x {train.lr_drop_factor:g} at {' and '.join(moments)} of {experiment.iterations:,}"] if moments else []
    return "; " + ", ".join(told) if told else ""


def _kind(experiment: Experiment) -> tuple[object, ...]:
    train = experiment.spec.train
    return experiment.step_digest, train.batch_size, train.augment, experiment.data.digest


def _measure(experiment: Experiment, networks: int, steps: int) -> _Cost:
    """What a network costs with as many at once as there will be.

    Once for a network, a batch size and a data set; on so many steps, at most a twentieth of those to do.
    """
    key = (*_kind(experiment), networks, torch.get_num_threads())
    if key not in _MEASURED:
        _MEASURED[key] = _measured(experiment, networks, steps)
    return _MEASURED[key]


def _measured(experiment: Experiment, networks: int, most: int) -> _Cost:
    cores = torch.get_num_threads()
    engine = experiment.engine(experiment.on_device.barely_evaluated(), lr_drops=(), lr_warmup="0it")
    few, state = at_once(engine, networks, cores), canonical(experiment.initial(0, "init"), {})

    def seconds(steps: int) -> tuple[float, float]:
        """To begin, and to train."""
        trials, began = [], time.monotonic()
        for n in range(few):
            engine.put(n, state, 0, 0)
            trials.append(Training(engine, n, 0, Record(0, steps, evaluation_points(0, steps, steps)), steps))
        placed = time.monotonic()
        train(engine, trials)
        ended = time.monotonic()
        for n in range(few):
            engine.free(n)
        return placed - began, ended - placed

    first = seconds(2)[1]  # captures the step
    begin, brief = seconds(4)
    long = next(steps for limit, steps in ((0.6, 404), (1.5, 44), (math.inf, 8)) if brief < limit)
    long = min(long, max(8, most // 20))
    step = max(0.0, seconds(long)[1] - brief) / (long - 4) / few
    whole = experiment.engine()
    whole.put(0, state, 0, 0)
    torch.set_num_threads(kernel_threads(engine, cores))
    try:
        began = time.monotonic()
        for split in ("validation", "test"):
            whole.evaluate(0, split)
        evaluation = (time.monotonic() - began) / few
    finally:
        torch.set_num_threads(cores)
    return _Cost(step, evaluation, begin / few, max(0.0, first - brief))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
