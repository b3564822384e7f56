"""What a spec needs to run, checked before any training; and one run of a population, computed once and kept."""

import hashlib
import inspect
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from labkit import data, derivatives, models, provenance, tensorfiles
from labkit.data import DataSet
from labkit.masks import Masks
from labkit.names import choose
from labkit.population import Population
from labkit.progress import Progress, duration
from labkit.randomness import generator
from labkit.scores import Evidence
from labkit.specs import TicketSpec, to_dict
from labkit.steps import Step
from labkit.store import RunFolder
from labkit.training import HISTORY, Training

SCORE_EXAMPLES = 256
FORMAT = 1  # raise when the same spec comes to mean other numbers: old runs are then computed anew

States = dict[str, Tensor]


@dataclass(frozen=True)
class Start:
    """Where a run starts: stacked states and masks, and the seed and copy of each replicate."""

    states: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    replicates: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: RunFolder
    branch: str
    level: int

    @cached_property
    def result(self) -> dict[str, Any]:
        """Replicates with their density and divergence, iterations, seconds, hardware."""
        return self.folder.result()

    @property
    def alive(self) -> list[int]:
        """Positions of the replicates that did not diverge."""
        return [n for n, replicate in enumerate(self.result["replicates"]) if replicate["diverged_at"] is None]

    def start(self) -> tuple[States, Masks]:
        """Stacked states and masks that the run started from."""
        return tensorfiles.unpack_states(self.folder.read_tensors("ticket"))

    def final(self) -> tuple[States, Masks]:
        """Stacked states and masks after training."""
        return tensorfiles.unpack_states(self.folder.read_tensors("final"))

    def metrics(self) -> pd.DataFrame:
        """One row an evaluation: branch, level, percent_remaining, seed, copy, iteration, losses, accuracies."""
        return self.folder.metrics().assign(branch=self.branch, level=self.level)


class Experiment:
    """A checked spec: its data, its model, and the runs it asks for.

    Raises:
        ValueError: for a spec that cannot run: unknown names, data and model that do not fit, a rewind step outside.
        FileNotFoundError: if the data is not here and cannot be downloaded.
    """

    def __init__(self, spec: TicketSpec, root: Path | None = None):
        choose("init", spec.init, models.INITS)
        function = models.builder(spec.model)
        shape = getattr(models.build(spec.model, spec.model_options), "input_shape", None)
        self.data: DataSet = data.load(**{**to_dict(spec.data), "name": spec.data.name, "shape": shape})
        defaults = {name: entry.default for name, entry in inspect.signature(function).parameters.items()}
        self.options = dict(spec.model_options)
        if "classes" in defaults:
            self.options.setdefault("classes", len(self.data.classes))
        given = {name: value for name, value in self.options.items() if defaults.get(name) != value}
        self.spec, self.root = replace(spec, model_options=given), root  # an option at its default is not in the hash
        network = self.model()
        self._try(network)
        self.prunable = models.prunable(network)
        if not self.prunable:
            raise ValueError(f"model {spec.model!r} has no linear or convolution layer to prune")
        self.output = models.output_layer(network)
        weights = network.state_dict()
        self.convolutions = {name for name in self.prunable if weights[name].ndim > 2}
        self.sizes = {name: weights[name].numel() for name in self.prunable}
        for name in spec.prune.layer_rates:
            choose("prunable layer", name, self.prunable)
        epoch = self.data.size("train") / spec.train.batch_size
        self.iterations = Step.parse(spec.train.duration).iterations(epoch=epoch)
        self.rewind = Step.parse(spec.rewind).iterations(epoch=epoch, run=self.iterations)
        if not self.rewind < self.iterations:
            raise ValueError(
                f"rewind is {spec.rewind!r}, step {self.rewind}: training has only {self.iterations} steps"
            )

    def model(self) -> nn.Module:
        """A network of the spec's architecture."""
        return models.build(self.spec.model, self.options)

    def initial(self, replicates: Sequence[tuple[int, int]], purpose: str) -> States:
        """Fresh initialisations, stacked; the purpose and the copy tell those of one seed apart."""
        seeds = [(seed, f"{purpose}/{copy}") for seed, copy in replicates]
        return models.initial_states(self.spec.model, self.options, self.spec.init, seeds)

    def evidence(self, states: Mapping[str, Tensor], seed: int, level: int) -> Evidence:
        """What a pruning criterion may look at: a trained network, and derivatives on 256 training examples."""
        rng = generator(seed, "score", level)

        def on_examples(derivative: Callable[..., Mapping[str, Tensor]], *, labels: bool) -> Mapping[str, Tensor]:
            network = self.model()
            network.load_state_dict(dict(states))
            order = torch.randperm(self.data.size("train"), generator=generator(seed, "score examples", level))
            batch = self.data.inputs("train", order[:SCORE_EXAMPLES])
            return derivative(network, *(batch if labels else batch[:1]))

        return Evidence(
            {name: states[name] for name in self.prunable},
            rng,
            lambda: on_examples(derivatives.gradient, labels=True),
            lambda: on_examples(derivatives.curvature, labels=False),
        )

    def folder(self, level: int, branch: str, seeds: Sequence[int], copies: int = 1) -> RunFolder:
        """The folder of a run: one population, at one level of pruning, of one branch."""
        prune = replace(self.spec.prune, levels=level) if level else type(self.spec.prune)()  # dense: whatever follows
        spec = replace(self.spec, prune=prune)
        if data.is_own(spec.data.name):  # wherever the files lie: the digest says what is in them
            spec = replace(spec, data=replace(spec.data, name="own"))
        identity = {
            "format": FORMAT,
            "spec": to_dict(spec),
            "data_digest": self.data.digest[:16],
            "branch": branch,
            "seeds": list(seeds),
            "copies": copies,
        }
        if ":" in spec.model:
            identity["model_code"] = code_digest(models.builder(spec.model))
        return RunFolder(identity, self.root)

    def compute(
        self, run: Run, start: Callable[[], Start], progress: Progress | None = None, *, begin: int = 0, before: int = 0
    ) -> int:
        """Train the run unless it is done, from its checkpoint if it has one.

        Args:
            run: which.
            start: where it starts; called only if needed.
            progress: told of replicate-iterations done, counted from `before`.
            begin: the first step of training.

        Returns:
            Replicate-iterations that this run stands for.
        """
        steps = (self.iterations - begin) * len(run.folder.identity["seeds"]) * run.folder.identity["copies"]
        if run.folder.done():
            for replicate in run.result["replicates"]:
                if replicate["diverged_at"] is not None:
                    _warn(run, replicate["seed"], replicate["copy"], replicate["diverged_at"], self.spec.train.lr)
        else:
            with run.folder.lock():
                if not run.folder.done():
                    note = f"level {run.level}"

                    def show(left: int) -> None:
                        if progress is not None:
                            progress(before + steps - left, note)

                    self._train(run, start(), begin, show)
        return steps

    def _train(self, run: Run, start: Start, begin: int, progress: Callable[[int], None]) -> None:
        training = self._training(start, begin, snapshot=self.rewind if run.level == 0 and self.rewind else None)
        seconds, began = 0.0, time.monotonic()
        if (found := run.folder.checkpoint()) is not None:
            training.load(found)
            seconds = float(found["run/seconds"])
        else:
            run.folder.write_tensors("ticket", tensorfiles.pack_states(start.states, start.masks))

        def spent() -> float:
            return seconds + time.monotonic() - began

        def save(tensors: Mapping[str, Tensor]) -> None:
            run.folder.write_tensors("checkpoint", {**tensors, "run/seconds": torch.tensor(spent())})

        training.run(save, progress, lambda n, step: _warn(run, *start.replicates[n], step, self.spec.train.lr))
        population = training.population
        run.folder.write_tensors("final", tensorfiles.pack_states(population.states, population.masks))
        if training.snapshot:
            run.folder.write_tensors("rewind", training.snapshot)
        replicates = [self._outcome(training, n, *pair) for n, pair in enumerate(start.replicates)]
        run.folder.finish(
            [row for n in range(len(replicates)) for row in _rows(training, n, replicates[n])],
            {
                "spec": asdict(self.spec), "branch": run.branch, "level": run.level, "replicates": replicates,
                "begin": begin, "iterations": self.iterations, "seconds": round(spent(), 2), **provenance.describe(),
            },
        )  # fmt: skip

    def _training(self, start: Start, begin: int, snapshot: int | None = None, duration: str = "") -> Training:
        train = replace(self.spec.train, duration=duration, evaluate_every=duration) if duration else self.spec.train
        population = Population(self.model, start.states, start.masks, train)
        seeds = [seed for seed, _ in start.replicates]
        return Training(population, self.data, train, seeds, start=begin, snapshot_at=snapshot)

    def _outcome(self, training: Training, n: int, seed: int, copy: int) -> dict[str, Any]:
        step = training.diverged[n] if training.diverged[n] >= 0 else None
        kept = sum(int(mask[n].sum()) for mask in training.population.masks.values())
        size = sum(mask[n].numel() for mask in training.population.masks.values())
        return {"seed": seed, "copy": copy, "kept": kept, "density": kept / size, "diverged_at": step}

    def estimate(self, start: Start, runs: Sequence[Run], begin: int) -> str:
        """What runs that are not done will cost, measured from a few steps of copies of the first networks."""
        cores = torch.get_num_threads()
        networks = len(start.replicates)
        few = min(networks, cores)
        first = Start({name: s[:few] for name, s in start.states.items()}, {}, list(start.replicates)[:few])

        def seconds(steps: int) -> float:
            training = self._training(first, 0, duration=f"{steps}it")
            began = time.monotonic()
            training.run()
            return time.monotonic() - began

        seconds(2)  # first-touch costs
        short = 4
        brief = seconds(short)
        long = 44 if brief < 0.5 else 8
        step = max(0.0, (seconds(long) - brief)) / (long - short) / few
        evaluation = max(0.0, brief - short * step * few) / 2 / few
        every = Step.parse(self.spec.train.evaluate_every).iterations(epoch=self._epoch, run=self.iterations)
        left = sum(self._steps_left(run, begin if run.level else 0, networks) for run in runs)
        total = left * (step + evaluation / max(1, every))
        state = sum(s[0].numel() * s.element_size() for s in start.states.values())
        memory = 6 * networks * state + sum(images.numel() for images in self.data.images.values())
        parts = [_count(len(runs), "level"), _count(networks, "network"), _count(self.iterations, "iteration")]
        where = f"on {_count(cores, 'core')}, {memory / 1e9:.2f} GB besides PyTorch"
        return f"{' x '.join(parts)}: about {duration(total)} {where}"

    def _steps_left(self, run: Run, begin: int, networks: int) -> int:
        found = run.folder.checkpoint()
        done = 0 if found is None else int(sum(found["loop/step"].tolist())) - begin * networks
        return (self.iterations - begin) * networks - done

    @property
    def _epoch(self) -> float:
        return self.data.size("train") / self.spec.train.batch_size

    def _try(self, network: nn.Module) -> None:
        inputs, _ = self.data.inputs("train", slice(0, 2))
        try:
            with torch.no_grad():
                logits = network.eval()(inputs)
        except RuntimeError as error:
            raise ValueError(
                f"model {self.spec.model!r} does not take {tuple(inputs.shape[1:])} images: {error}"
            ) from error
        if logits.ndim != 2 or logits.shape[1] < len(self.data.classes):
            raise ValueError(
                f"model {self.spec.model!r} gives {tuple(logits.shape[1:])} outputs; {self.data.name} has "
                f"{len(self.data.classes)} classes"
            )


def _rows(training: Training, n: int, replicate: Mapping[str, Any]) -> list[dict[str, Any]]:
    about = {"seed": replicate["seed"], "copy": replicate["copy"], "percent_remaining": 100 * replicate["density"]}
    about["diverged"] = replicate["diverged_at"] is not None
    reached = [index for index, step in enumerate(training.points) if step <= training.step[n]]
    history = [[None if math.isnan(value) else value for value in row] for row in training.history[n].tolist()]
    return [
        {**about, "iteration": training.points[index], **dict(zip(HISTORY, history[index], strict=True))}
        for index in reached
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _warn(run: Run, seed: int, copy: int, step: int, lr: float) -> None:
    warnings.warn(
        f"seed {seed}, copy {copy} of {run.branch} at level {run.level} stopped at step {step}: its loss was not "
        f"finite. The others go on without it; try a smaller learning rate than {lr:g}.",
        stacklevel=6,
    )


def code_digest(function: Callable[..., Any]) -> str:
    """A digest of the source of the module that a user's function stands in, so that changed code is another run.

    Raises:
        ValueError: for code without a name of its own or a source file: a lambda, a closure, a notebook cell.
    """
    name = getattr(function, "__qualname__", "<none>")
    try:
        if "<" in name:
            raise OSError
        source = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError) as error:
        raise ValueError(
            f"{name} must be a named function of a module file, so that its runs can be told from those of other code"
        ) from error
    return hashlib.sha256(f"{name}\n{source}".encode()).hexdigest()[:16]
