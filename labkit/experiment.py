"""What a spec needs to run, checked before any training; and one run of a population, computed once and kept."""

import inspect
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labkit import data, derivatives, flops, geometry, models, provenance, tensorfiles
from labkit.data import DataSet
from labkit.device import device
from labkit.dynamics import Dynamics
from labkit.names import choose
from labkit.population import Captures, Population
from labkit.randomness import generator
from labkit.runs import Run, Start, States
from labkit.scores import Evidence
from labkit.sparse_specs import SparseSpec
from labkit.specs import digest, to_dict
from labkit.store import RunFolder
from labkit.ticket_specs import PruneSpec, TicketSpec
from labkit.training import Training

SCORE_EXAMPLES = 256
_CAPTURES: dict[str, Captures] = {}  # of the kit's own networks, for all experiments of the process
FORMAT = 2  # raise when the same spec comes to mean other numbers: old runs are then computed anew


class Experiment:
    """A checked spec: its data, its model, and the runs it asks for.

    Raises:
        ValueError: for a spec that cannot run: unknown names, data and model that do not fit, a rewind step outside.
        FileNotFoundError: if the data is not here and cannot be downloaded.
    """

    def __init__(self, spec: TicketSpec | SparseSpec, root: Path | None = None):
        choose("init", spec.init, models.INITS)
        function = models.builder(spec.model)
        shape = getattr(models.build(spec.model, spec.model_options), "input_shape", None)
        self.device = device()
        self._own_model = ":" in spec.model
        self.data: DataSet = data.load(**{**to_dict(spec.data), "name": spec.data.name, "shape": shape})
        defaults = {name: entry.default for name, entry in inspect.signature(function).parameters.items()}
        self.options = dict(spec.model_options)
        if "classes" in defaults:
            self.options.setdefault("classes", len(self.data.classes))
        given = {name: value for name, value in self.options.items() if defaults.get(name) != value}
        self.spec: Any = replace(spec, model_options=given)
        self._captures: Captures = {} if self._own_model else _CAPTURES.setdefault(self.step_digest, {})
        self.root = root  # an option at its default is not in the hash
        network = self.model()
        self._try(network)
        self.prunable = models.prunable(network)
        if not self.prunable:
            raise ValueError(f"model {spec.model!r} has no linear or convolution layer to prune")
        self.output = models.output_layer(network)
        weights = network.state_dict()
        self.convolutions = {name for name in self.prunable if weights[name].ndim > 2}
        self.shapes = {name: tuple(weights[name].shape) for name in self.prunable}
        self.sizes = {name: weights[name].numel() for name in self.prunable}
        for name in spec.prune.layer_rates if isinstance(spec, TicketSpec) else ():
            choose("prunable layer", name, self.prunable)
        self.clock = spec.train.clock(self.data.size("train"))
        self.dynamics = Dynamics(spec.topology, self.clock) if isinstance(spec, SparseSpec) else None
        rewind = spec.rewind if isinstance(spec, TicketSpec) else "0it"
        self.rewind = self.clock.iterations(rewind)
        if not self.rewind < self.iterations:
            raise ValueError(f"rewind is {rewind!r}, step {self.rewind}: training has only {self.iterations} steps")

    @cached_property
    def step_digest(self) -> str:
        """What shapes a training step, apart from tensors."""
        train, model = self.spec.train, self.spec.model
        if self._own_model:
            model += provenance.code_digest(models.builder(model))
        names = ("optimizer", "momentum", "nesterov", "weight_decay", "label_smoothing", "precision")
        update = [getattr(train, name) for name in names]
        return digest([model, self.options, update, str(self.device)])

    @property
    def iterations(self) -> int:
        """Of a run."""
        return self.clock.run

    @cached_property
    def layers(self) -> Mapping[str, flops.Layer]:
        """The network's layers as FLOPs see them."""
        return geometry.layers(self.model(), self.data.shape)

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
        spec, kind = self.spec, {"kind": "sparse"}
        if isinstance(spec, TicketSpec):
            prune = replace(spec.prune, levels=level) if level else PruneSpec()  # dense: whatever follows
            spec, kind = replace(spec, prune=prune), {}
        if data.is_own(spec.data.name):  # wherever the files lie: the digest says what is in them
            spec = replace(spec, data=replace(spec.data, name="own"))
        identity = {
            "format": FORMAT,
            "spec": to_dict(spec),
            "data_digest": self.data.digest[:16],
            "branch": branch,
            "seeds": list(seeds),
            "copies": copies,
            **kind,
        }
        if self._own_model:
            identity["model_code"] = provenance.code_digest(models.builder(spec.model))
        return RunFolder(identity, self.root)

    def compute(self, run: Run, start: Callable[[], Start], begin: int, progress: Callable[[int], None]) -> None:
        """Train the run unless it is done, from its checkpoint if it has one.

        Args:
            run: which.
            start: where it starts; called only if needed.
            begin: the first step of training.
            progress: told of the replicate-iterations left.
        """
        with run.folder.lock():
            if not run.folder.done():
                self._train(run, start(), begin, progress)

    def tell_divergence(self, run: Run) -> None:
        """Warn of the networks of a finished run that diverged, as was done when it was computed."""
        for replicate in run.result["replicates"]:
            if replicate["diverged_at"] is not None:
                _warn(run, replicate["seed"], replicate["copy"], replicate["diverged_at"], self.spec.train.lr)

    def _train(self, run: Run, start: Start, begin: int, progress: Callable[[int], None]) -> None:
        training = self.training(start, begin, snapshot=self.rewind if run.level == 0 and self.rewind else None)
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
        if training.dynamics:
            moments = torch.tensor([begin, *training.dynamics.moments])
            run.folder.write_tensors("topology", {"steps": moments, "kept": training.record.kept})
        if training.snapshot:
            run.folder.write_tensors("rewind", training.snapshot)
        replicates = [self._outcome(training, n, *pair) for n, pair in enumerate(start.replicates)]
        run.folder.finish(
            [_about(replicate) | row for n, replicate in enumerate(replicates) for row in training.record.rows(n)],
            {
                "spec": asdict(self.spec), "branch": run.branch, "level": run.level, "replicates": replicates,
                "begin": begin, "iterations": self.iterations, "seconds": round(spent(), 2),
                **provenance.describe(self.device),
            },
        )  # fmt: skip

    def training(self, start: Start, begin: int, snapshot: int | None = None, duration: str = "") -> Training:
        """A training run of this experiment; with a `duration` of its own, one for timing that hardly evaluates."""
        data = self._on_device.barely_evaluated() if duration else self._on_device
        train = replace(self.spec.train, duration=duration, evaluate_every=duration) if duration else self.spec.train
        changes = self.dynamics if start.masks and not duration else None
        population = Population(
            self.model, start.states, start.masks, train, self.device, dynamic=bool(changes and changes.moments),
            dense_momentum=bool(changes and changes.dense_momentum), captures=self._captures,
        )  # fmt: skip
        seeds = [seed for seed, _ in start.replicates]
        return Training(population, data, train, seeds, start=begin, snapshot_at=snapshot, dynamics=changes)

    @cached_property
    def _on_device(self) -> DataSet:
        return self.data.to(self.device)

    def _outcome(self, training: Training, n: int, seed: int, copy: int) -> dict[str, Any]:
        step = diverged if (diverged := training.record.diverged[n]) >= 0 else None
        masks = training.population.masks
        dense = sum(size for name, size in self.sizes.items() if name not in masks)  # no mask: dense
        kept = dense + sum(int(mask[n].sum()) for mask in masks.values())
        size = sum(self.sizes.values())
        return {"seed": seed, "copy": copy, "kept": kept, "density": kept / size, "diverged_at": step}

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
