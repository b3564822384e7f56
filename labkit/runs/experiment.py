"""A spec, checked before any training: its data, its model, and how a network of it trains."""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor, nn

from labkit import data, models
from labkit.data import DataSet
from labkit.ground.device import device
from labkit.ground.lists import optional
from labkit.ground.names import choose, path, shown
from labkit.models import inspection
from labkit.runs import identity
from labkit.runs.evidence import evidence
from labkit.runs.own_code import code_digest
from labkit.runs.trial import first_logits
from labkit.sparsity.scores import score
from labkit.specs.base import digest
from labkit.specs.sparse import SparseSpec
from labkit.specs.tickets import TicketSpec
from labkit.training.engines.network import Captures
from labkit.training.engines.stepping import Stepping
from labkit.training.loop import evaluation_points
from labkit.training.mask_updates import Dynamics

NO_DEFAULT = inspect.Parameter.empty
_CAPTURES: dict[str, Captures] = {}  # of the kit's own networks, for all experiments of the process
State = dict[str, Tensor]
_DATA: WeakValueDictionary[tuple[str, str, str], DataSet] = WeakValueDictionary()  # many specs, one copy on a device


class Experiment:
    """A checked spec: its data, its model, and the recipe that all its networks train by.

    Attributes:
        clock: lengths of an epoch and of the run.
        recipe: what of the spec determines the training of a network, as plain values (see `identity.recipe`).
        behaviour: what its names stand for, as plain values (see `identity.behaviour`).

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
        defaults = {name: entry.default for name, entry in inspect.signature(function).parameters.items()}
        unsaid = {"classes": 2} if defaults.get("classes") is NO_DEFAULT else {}  # the data, not yet read, will say
        shape = getattr(models.build(spec.model, unsaid | dict(spec.model_options)), "input_shape", None)
        self.device = device()
        self._own_model = ":" in spec.model
        self.data: DataSet = _shared(data.load(**asdict(replace(spec.data, shape=spec.data.shape or shape))))
        self.options = dict(spec.model_options)
        if "classes" in defaults:
            self.options.setdefault("classes", len(self.data.classes))
        known = {name: value for name, value in defaults.items() if value is not NO_DEFAULT}
        self.all_options = identity.plain(known | {k: _like(v, known.get(k)) for k, v in self.options.items()})
        self.spec: Any = replace(spec, init=spec.initialisation)
        self.captures: Captures = {} if self._own_model else _CAPTURES.setdefault(self.step_digest, {})
        network = self.model()
        if self._own_model and self.model() is network:
            raise ValueError(f"model {spec.model!r} gives the same network twice: each call must build one of its own")
        network.load_state_dict(self.initial(0, "init"))
        logits = first_logits(spec.model, network, self.data)
        self._network = identity.architecture(network, None if self._own_model else logits)
        self.prunable = models.prunable(network)
        if not self.prunable:
            raise ValueError(f"model {spec.model!r} has no linear, convolution or attention layer to prune")
        if frozen := [name for name in self.prunable if not network.get_parameter(name).requires_grad]:
            raise ValueError(f"model {spec.model!r} does not train {', '.join(frozen)}: what is pruned must be trained")
        self.layers = inspection.layers(network, self.data.shape)  # as FLOPs see them
        if others := models.left_out(network):
            _tell_left_out(spec.model, tuple(others))
        self.output = inspection.output_layer(network, self.data.shape)
        weights = network.state_dict()
        self.convolutions = {name for name in self.prunable if weights[name].ndim > 2}
        self.shapes = {name: tuple(weights[name].shape) for name in self.prunable}
        self.sizes = {name: weights[name].numel() for name in self.prunable}
        for name in spec.prune.layer_rates if isinstance(spec, TicketSpec) else ():
            choose("prunable layer", name, self.prunable)
        if isinstance(spec, TicketSpec) and spec.prune.levels and not any(self.rates.values()):
            raise ValueError("every layer is left out of pruning by a rate of 0: the tickets would be dense")
        if spec.train.batch_size > (examples := self.data.size("train")):
            raise ValueError(f"batch_size is {spec.train.batch_size}: at most {examples}, the training examples")
        self.clock = spec.train.clock(examples)
        if self.iterations < 1:
            raise ValueError(f"duration is {spec.train.duration!r}: that is no iteration at {examples} examples")
        if isinstance(spec, TicketSpec) and spec.prune.levels:  # what it cannot do it says now
            score(spec.prune.score, evidence(self, weights, seed=0, level=0, examples=2))
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
    def moving(self) -> bool:
        """Whether masks change in training."""
        return bool(self.dynamics and self.dynamics.moments)

    @property
    def iterations(self) -> int:
        """Of a run."""
        return self.clock.run

    def model(self) -> nn.Module:
        """A network of the spec's architecture."""
        return models.build(self.spec.model, self.options)

    def initial(self, seed: int, purpose: str) -> State:
        """A fresh initialisation; the purpose tells those of one seed apart."""
        return models.initial_state(self.spec.model, self.options, self.spec.init, seed, purpose)

    def engine(self, data: DataSet | None = None, **changes: Any) -> Stepping:
        """An engine for networks of this experiment; with data or fields of training of its own, one for timing."""
        moves = self.dynamics if self.moving and not changes else None
        return Stepping(
            self.model, data or self.on_device, replace(self.spec.train, **changes), self.device,
            dynamic=moves is not None, dense_momentum=bool(moves and moves.dense_momentum), captures=self.captures,
        )  # fmt: skip

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What of the spec determines the training of a network."""
        name = self.spec.model
        if self._own_model:
            name = f"own {code_digest(models.builder(name))}"
        return identity.recipe(self.spec, name, self.all_options, self.data.digest, self.clock, self.dynamics)

    @cached_property
    def recipe_digest(self) -> str:
        """A name of the recipe: networks that share it can share an engine."""
        return digest(self.recipe)

    @cached_property
    def behaviour(self) -> dict[str, Any]:
        """What the names of the recipe stand for."""
        return identity.behaviour(self.spec, self._network)

    def points(self, first: int) -> list[int]:
        """The steps at which a network that starts at a step is evaluated."""
        return list(evaluation_points(first, self.iterations, self.clock.iterations(self.spec.train.evaluate_every)))

    @cached_property
    def on_device(self) -> DataSet:
        """The data set where networks train."""
        known = _DATA.get((self.data.name, self.data.digest, str(self.device)))
        return known or _shared(self.data.to(self.device))


def _shared(found: DataSet) -> DataSet:
    """The same data as somebody else holds already, if anybody does."""
    return _DATA.setdefault((found.name, found.digest, str(found.scale.device)), found)


def _like(value: Any, default: Any) -> Any:
    """A value as the number that its default is: a width of 1 is one of 1.0."""
    return float(value) if isinstance(default, float) and type(value) is int else value


@cache  # said once
def _tell_left_out(model: str, names: Sequence[str]) -> None:
    warnings.warn(
        f"model {model!r}: {', '.join(names)} will not be pruned, and are in no count of weights or FLOPs: "
        "only weights of linear, convolution and attention layers are",
        stacklevel=4,
    )
