"""What a spec needs to run, checked before any training."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labkit import data, models
from labkit.data import DataSet
from labkit.ground.device import device
from labkit.ground.lists import optional
from labkit.ground.names import choose, path, shown
from labkit.ground.randomness import generator
from labkit.models import inspection
from labkit.runs import identity, revisions
from labkit.runs.folders import RunFolder
from labkit.runs.own_code import code_digest
from labkit.runs.run import States
from labkit.sparsity.scores import Evidence, score
from labkit.specs.base import digest
from labkit.specs.sparse import SparseSpec
from labkit.specs.tickets import TicketSpec
from labkit.training import derivatives
from labkit.training.mask_updates import Dynamics
from labkit.training.population import Captures

SCORE_EXAMPLES = 256
NO_DEFAULT = inspect.Parameter.empty
_CAPTURES: dict[str, Captures] = {}  # of the kit's own networks, for all experiments of the process
FORMAT = 2  # raise when the same spec comes to mean other numbers: old runs are then computed anew


class Experiment:
    """A checked spec: its data, its model, and the runs it asks for.

    Raises:
        ValueError: for a spec that cannot run: unknown names, data and model that do not fit, a batch that is larger
            than the training set, a rewind step outside.
        FileNotFoundError: if the data is not here and cannot be downloaded.
    """

    def __init__(self, spec: TicketSpec | SparseSpec, root: Path | None = None):
        if not isinstance(spec, TicketSpec | SparseSpec):
            raise ValueError(f"spec is {shown(spec)}: it must be a TicketSpec or a SparseSpec")
        self.root = optional("root", root, of=path)
        function = models.builder(spec.model)
        shape = getattr(models.build(spec.model, spec.model_options), "input_shape", None)
        self.device = device()
        self._own_model = ":" in spec.model
        self.data: DataSet = data.load(**asdict(spec.data), shape=shape)
        defaults = {name: entry.default for name, entry in inspect.signature(function).parameters.items()}
        self.options = dict(spec.model_options)
        if "classes" in defaults:
            self.options.setdefault("classes", len(self.data.classes))
        given = {name: value for name, value in self.options.items() if defaults.get(name) != value}
        self.all_options = identity.plain({k: v for k, v in defaults.items() if v is not NO_DEFAULT} | self.options)
        # an option at its default is not in the hash
        self.spec: Any = replace(spec, model_options=given, init=spec.initialisation)
        self.captures: Captures = {} if self._own_model else _CAPTURES.setdefault(self.step_digest, {})
        network = self.model()
        drawn = models.initial_states(spec.model, self.options, self.spec.init, [(0, "init")])
        network.load_state_dict({name: state[0] for name, state in drawn.items()})
        logits = self._try(network)
        self._architecture = identity.architecture(network, None if self._own_model else logits)
        self.prunable = models.prunable(network)
        if not self.prunable:
            raise ValueError(f"model {spec.model!r} has no linear, convolution or attention layer to prune")
        if frozen := [name for name in self.prunable if not network.get_parameter(name).requires_grad]:
            raise ValueError(f"model {spec.model!r} does not train {', '.join(frozen)}: what is pruned must be trained")
        self.layers = inspection.layers(network, self.data.shape)  # as FLOPs see them
        if others := models.left_out(network):
            _tell_left_out(spec.model, tuple(others))
        self._revised = revisions.of_model(network)
        self.output = models.output_layer(network)
        weights = network.state_dict()
        self.convolutions = {name for name in self.prunable if weights[name].ndim > 2}
        self.shapes = {name: tuple(weights[name].shape) for name in self.prunable}
        self.sizes = {name: weights[name].numel() for name in self.prunable}
        for name in spec.prune.layer_rates if isinstance(spec, TicketSpec) else ():
            choose("prunable layer", name, self.prunable)
        if isinstance(spec, TicketSpec) and spec.prune.levels and not any(self.rates.values()):
            raise ValueError("every layer is left out of pruning by a rate of 0: the tickets would be dense")
        if spec.train.batch_size > (examples := self.data.size("train")):
            raise ValueError(f"batch_size is {spec.train.batch_size}, and there are {examples} training examples")
        self.clock = spec.train.clock(examples)
        if self.iterations < 1:
            raise ValueError(f"duration is {spec.train.duration!r}: that is no iteration at {examples} examples")
        if isinstance(spec, TicketSpec) and spec.prune.levels:  # what it cannot do it says now
            score(spec.prune.score, self.evidence(weights, seed=0, level=0, examples=2))
        self.dynamics = Dynamics(spec.topology, self.clock) if isinstance(spec, SparseSpec) else None
        rewind = spec.rewind if isinstance(spec, TicketSpec) else "0it"
        self.rewind = self.clock.iterations(rewind)
        if not self.rewind < self.iterations:
            raise ValueError(f"rewind is {rewind!r}, step {self.rewind}: training has only {self.iterations} steps")

    @property
    def rates(self) -> dict[str, float]:
        """The share of the survivors that a round of pruning removes from each prunable layer; 0: left out."""
        spec = self.spec.prune
        found = dict.fromkeys(self.prunable, spec.rate)
        if spec.conv_rate is not None:
            found |= dict.fromkeys(self.convolutions, spec.conv_rate)
        if spec.output_rate is not None:
            found[self.output] = spec.output_rate
        return found | dict(spec.layer_rates)

    @cached_property
    def step_digest(self) -> str:
        """What shapes a training step, apart from tensors."""
        train, model = self.spec.train, self.spec.model
        if self._own_model:
            model += code_digest(models.builder(model))
        names = ("optimizer", "momentum", "nesterov", "weight_decay", "label_smoothing", "precision")
        update = [getattr(train, name) for name in names]
        return digest([model, self.all_options, update, str(self.device)])

    @property
    def iterations(self) -> int:
        """Of a run."""
        return self.clock.run

    def model(self) -> nn.Module:
        """A network of the spec's architecture."""
        return models.build(self.spec.model, self.options)

    def initial(self, replicates: Sequence[tuple[int, int]], purpose: str) -> States:
        """Fresh initialisations, stacked; the purpose and the copy tell those of one seed apart."""
        seeds = [(seed, f"{purpose}/{copy}") for seed, copy in replicates]
        return models.initial_states(self.spec.model, self.options, self.spec.init, seeds)

    def evidence(self, states: Mapping[str, Tensor], seed: int, level: int, examples: int = SCORE_EXAMPLES) -> Evidence:
        """What a pruning criterion may look at: a trained network, and derivatives on 256 training examples."""
        rng = generator(seed, "score", level)

        def on_examples(derivative: Callable[..., Mapping[str, Tensor]], *, labels: bool) -> Mapping[str, Tensor]:
            network = self.model()
            network.load_state_dict(dict(states))
            order = torch.randperm(self.data.size("train"), generator=generator(seed, "score examples", level))
            batch = self.data.inputs("train", order[:examples])
            return derivative(network, *(batch if labels else batch[:1]))

        return Evidence(
            {name: states[name] for name in self.prunable},
            rng,
            lambda: on_examples(derivatives.gradient, labels=True),
            lambda: on_examples(derivatives.curvature, labels=False),
        )

    def folder(
        self, level: int, branch: str, seeds: Sequence[int], copies: int = 1, source: RunFolder | None = None
    ) -> RunFolder:
        """The folder of a run: one population, at one level of pruning, of one branch; a source gave it its masks."""
        what = {
            "format": FORMAT,
            "spec": identity.of_level(self.spec, level),
            "data_digest": self.data.digest[:16],
            "branch": branch,
            "seeds": list(seeds),
            "copies": copies,
            **({} if isinstance(self.spec, TicketSpec) else {"kind": "sparse"}),
        }
        if revised := self._revised + revisions.of_branch(self.spec, branch):
            what["revised"] = revised
        if self._own_model:
            what["model_code"] = code_digest(models.builder(self.spec.model))
        values = identity.resolved(self.spec, level, self.all_options, self._architecture)
        return RunFolder(what, self.root, values | ({"source": source.resolved} if source else {}))

    @cached_property
    def on_device(self) -> DataSet:
        """The data set where networks train."""
        return self.data.to(self.device)

    def _try(self, network: nn.Module) -> Tensor:
        inputs, _ = self.data.inputs("train", slice(0, 2))
        try:
            with torch.no_grad():
                logits = network.eval()(inputs)
        except RuntimeError as error:
            hint = (
                ""
                if hasattr(network, "input_shape")
                else (" (with `input_shape = (channels, height, width)` on its class, images are brought to that size)")
            )
            raise ValueError(
                f"model {self.spec.model!r} does not take {tuple(inputs.shape[1:])} images{hint}: {error}"
            ) from error
        if not isinstance(logits, Tensor):
            raise ValueError(
                f"model {self.spec.model!r} gives a {type(logits).__name__}: it must give one tensor of logits"
            )
        if logits.ndim != 2 or logits.shape[1] < len(self.data.classes):
            raise ValueError(
                f"model {self.spec.model!r} gives {tuple(logits.shape[1:])} outputs; {self.data.name} has "
                f"{len(self.data.classes)} classes"
            )
        return logits


@cache  # said once
def _tell_left_out(model: str, names: Sequence[str]) -> None:
    warnings.warn(
        f"model {model!r}: {', '.join(names)} will not be pruned, and are in no count of weights or FLOPs: "
        "only weights of linear, convolution and attention layers are",
        stacklevel=4,
    )
