"""One run of a population, trained and kept: from its checkpoint if it has one, to its finished folder."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from labkit.runs import provenance
from labkit.runs.experiment import Experiment
from labkit.runs.run import Run, Start
from labkit.sparsity.masks import pack_states
from labkit.training.loop import Training
from labkit.training.population import Population


def compute(
    experiment: Experiment, run: Run, start: Callable[[], Start], begin: int, progress: Callable[[int], None]
) -> None:
    """Train the run unless it is done, from its checkpoint if it has one.

    Args:
        experiment: whose run it is.
        run: which.
        start: where it starts; called only if needed.
        begin: the first step of training.
        progress: told of the replicate-iterations left.
    """
    with run.folder.lock():
        if not run.folder.done():
            _train(experiment, run, start(), begin, progress)


def tell_divergence(experiment: Experiment, run: Run) -> None:
    """Warn of the networks of a finished run that diverged, as was done when it was computed."""
    for replicate in run.result["replicates"]:
        if replicate["diverged_at"] is not None:
            _warn(run, replicate["seed"], replicate["copy"], replicate["diverged_at"], experiment.spec.train.lr)


def _train(experiment: Experiment, run: Run, start: Start, begin: int, progress: Callable[[int], None]) -> None:
    rewind = experiment.rewind if run.level == 0 else 0
    trained = training(experiment, start, begin, snapshot=rewind or None)
    seconds, began = 0.0, time.monotonic()
    if (found := run.folder.checkpoint()) is not None:
        trained.load(found)
        seconds = float(found["run/seconds"])
    else:
        run.folder.write_tensors("ticket", pack_states(start.states, start.masks))

    def spent() -> float:
        return seconds + time.monotonic() - began

    def save(tensors: Mapping[str, Tensor]) -> None:
        run.folder.write_tensors("checkpoint", {**tensors, "run/seconds": torch.tensor(spent())})

    trained.run(save, progress, lambda n, step: _warn(run, *start.replicates[n], step, experiment.spec.train.lr))
    population = trained.population
    run.folder.write_tensors("final", pack_states(population.states, population.masks))
    if trained.dynamics:
        moments = torch.tensor([begin, *trained.dynamics.moments])
        run.folder.write_tensors("topology", {"steps": moments, "kept": trained.record.kept})
    if trained.snapshot:
        run.folder.write_tensors("rewind", trained.snapshot)
    replicates = [_outcome(experiment, trained, n, *pair) for n, pair in enumerate(start.replicates)]
    run.folder.finish(
        [_about(replicate) | row for n, replicate in enumerate(replicates) for row in trained.record.rows(n)],
        {
            "spec": asdict(replace(experiment.spec, model_options=experiment.all_options)),
            "branch": run.branch, "level": run.level, "replicates": replicates,
            "begin": begin, "iterations": experiment.iterations, "seconds": round(spent(), 2),
            **provenance.describe(experiment.device),
        },
    )  # fmt: skip


def training(
    experiment: Experiment, start: Start, begin: int, snapshot: int | None = None, duration: str = ""
) -> Training:
    """A training run of this experiment; with a `duration` of its own, one for timing that hardly evaluates."""
    data = experiment.on_device.barely_evaluated() if duration else experiment.on_device
    train = experiment.spec.train
    if duration:
        train = replace(train, duration=duration, evaluate_every=duration)
    changes = experiment.dynamics if start.masks and not duration else None
    population = Population(
        experiment.model, start.states, start.masks, train, experiment.device,
        dynamic=bool(changes and changes.moments), dense_momentum=bool(changes and changes.dense_momentum),
        captures=experiment.captures,
    )  # fmt: skip
    seeds = [seed for seed, _ in start.replicates]
    return Training(population, data, train, seeds, start=begin, snapshot_at=snapshot, dynamics=changes)


def _outcome(experiment: Experiment, training: Training, n: int, seed: int, copy: int) -> dict[str, Any]:
    step = diverged if (diverged := training.record.diverged[n]) >= 0 else None
    masks = training.population.masks
    dense = sum(size for name, size in experiment.sizes.items() if name not in masks)  # no mask: dense
    kept = dense + sum(int(mask[n].sum()) for mask in masks.values())
    size = sum(experiment.sizes.values())
    return {"seed": seed, "copy": copy, "kept": kept, "density": kept / size, "diverged_at": step}


def _about(replicate: Mapping[str, Any]) -> dict[str, Any]:
    diverged = replicate["diverged_at"] is not None
    return {"seed": replicate["seed"], "copy": replicate["copy"], "percent_remaining": 100 * replicate["density"],
            "diverged": diverged}  # fmt: skip


def _warn(run: Run, seed: int, copy: int, step: int, lr: float) -> None:
    warnings.warn(
        f"seed {seed}, copy {copy} of {run.branch} at level {run.level} stopped at step {step}: its loss was not "
        f"finite. The others go on without it; try a smaller learning rate than {lr:g}.",
        stacklevel=6,
    )
