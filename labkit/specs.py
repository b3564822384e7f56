"""Specs: frozen dataclasses that say all there is to say about an experiment, with a stable hash.

A field at its default does not count in the hash, so a field added later leaves old hashes as they are.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, TypeVar

import yaml

from labkit.device import PRECISIONS
from labkit.names import choose, fraction, whole
from labkit.steps import Clock, Step

S = TypeVar("S")


def to_dict(spec: Any) -> dict[str, Any]:
    """The fields of a spec that differ from their default, nested, as plain values."""
    values: dict[str, Any] = {}
    for entry in fields(spec):
        value = getattr(spec, entry.name)
        if value == entry.default:
            continue
        if is_dataclass(value):
            if nested := to_dict(value):
                values[entry.name] = nested
        elif value not in ((), {}):
            values[entry.name] = list(value) if isinstance(value, tuple) else value
    return values


def from_dict(kind: type[S], values: Mapping[str, Any]) -> S:
    """Build a spec from plain values.

    Raises:
        ValueError: for an unknown field (with the nearest right one) or a value out of range.
    """
    names = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    return kind(**{choose(f"field of {kind.__name__}", name, names): value for name, value in values.items()})


def digest(values: Any) -> str:
    """Sixteen hexadecimal digits that name plain values: SHA-256 of their canonical JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def to_yaml(spec: Any) -> str:
    """The spec's non-default fields as YAML."""
    return yaml.safe_dump(to_dict(spec), sort_keys=False)


class Spec:
    """What all specs share: a hash of their fields, and how they are shown."""

    def __hash__(self) -> int:  # for those whose fields hold dicts
        return hash(digest(to_dict(self)))

    def _become(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _nest(self, name: str, kind: type, shorthand: str | None = None) -> None:
        value = getattr(self, name)
        if shorthand and isinstance(value, str):
            value = {shorthand: value}
        if isinstance(value, Mapping):
            value = from_dict(kind, value)
        if not isinstance(value, kind):
            raise ValueError(f"{name} is {value!r}: it must be a {kind.__name__}")
        self._become(name, value)

    def _repr_html_(self) -> str:
        return f"<b>{type(self).__name__}</b><pre style='margin:0'>{to_yaml(self)}</pre>"


@dataclass(frozen=True)
class DataSpec(Spec):
    """Which data, and how it is prepared (see `labkit.data.load`).

    Attributes:
        name: of a data set, or a path.
        normalisation: a name of `labkit.data.NORMALISATIONS`.
        validation: examples held out of the training images; None: 5,000, or a sixth of a small set.
        train: use only so many training examples; None: all.

    Raises:
        ValueError: for sizes that are not whole; whether the data can give them, `load` says.
    """

    name: str = "digits"
    normalisation: str = "dataset"
    validation: int | None = None
    train: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"data is {self.name!r}: it must be the name of a data set, or a path")
        for field_name, least in (("validation", 0), ("train", 1)):
            if getattr(self, field_name) is not None:
                self._become(field_name, whole(field_name, getattr(self, field_name), least))


@dataclass(frozen=True)
class TrainSpec(Spec):
    """How one network is trained.

    Attributes:
        duration: length of training, always run to its end (a `Step`).
        optimizer: "adam" (betas 0.9, 0.999) or "sgd".
        lr: learning rate.
        batch_size: examples a step.
        momentum, nesterov: of SGD.
        weight_decay: L2 penalty added to the gradient of the weights that can be pruned (`models.prunable`), not of
            biases and norms.
        lr_drops: moments (`Step`s) at which the learning rate is multiplied by `lr_drop_factor`.
        lr_warmup: linear warm-up from 0 (a `Step`).
        augment: a name of `labkit.data.AUGMENTATIONS`: "none", "crop_flip" (padding 4), "reflect_crop_flip" or
            "resized_crop_flip".
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
        precision: a name of `labkit.device.PRECISIONS`, of matrix products and convolutions.
        evaluate_every: distance of evaluations on validation and test data (a `Step`).

    Raises:
        ValueError: for a value out of range or a step without a unit.
    """

    duration: str = "12000it"
    optimizer: str = "adam"
    lr: float = 1.2e-3
    batch_size: int = 60
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    lr_drops: tuple[str, ...] = ()
    lr_drop_factor: float = 0.1
    lr_warmup: str = "0it"
    augment: str = "none"
    label_smoothing: float = 0.0
    precision: str = "float32"
    evaluate_every: str = "100it"

    def __post_init__(self) -> None:
        self._become("batch_size", whole("batch_size", self.batch_size, 1))
        fraction("momentum", self.momentum, zero=True)
        fraction("label_smoothing", self.label_smoothing, zero=True)
        choose("precision", self.precision, PRECISIONS)
        for name in ("lr", "lr_drop_factor", "weight_decay"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0 or (value == 0 and name != "weight_decay"):
                raise ValueError(f"{name} is {value!r}: it must be a positive number (YAML needs 1.0e-3, not 1e-3)")
            self._become(name, float(value))
        for name in ("duration", "lr_warmup", "evaluate_every"):
            self._become(name, str(Step.parse(getattr(self, name))))
        if isinstance(self.lr_drops, str):
            raise ValueError(f"lr_drops is {self.lr_drops!r}: write a list of steps, such as ['0.5run', '0.75run']")
        if not isinstance(self.nesterov, bool):
            raise ValueError(f"nesterov is {self.nesterov!r}: it must be true or false")
        self._become("lr_drops", tuple(str(Step.parse(drop)) for drop in self.lr_drops))
        if Step.parse(self.duration).unit == "run" or Step.parse(self.duration).amount <= 0:
            raise ValueError(f"duration is {self.duration!r}: write iterations or epochs, such as '12000it'")
        if Step.parse(self.evaluate_every).amount <= 0:
            raise ValueError(f"evaluate_every is {self.evaluate_every!r}: it must be positive")

    def clock(self, examples: int) -> Clock:
        """The lengths of an epoch and of the run, on a training set of so many examples."""
        epoch = examples / self.batch_size
        return Clock(epoch, Step.parse(self.duration).iterations(epoch=epoch))


@dataclass(frozen=True)
class NetworkSpec(Spec):
    """What every experiment says: which network is trained on which data, and how.

    Attributes:
        model: a name of `labkit.models.MODELS` or your own "package.module:function".
        model_options: keyword arguments of the model.
        data: a `DataSpec`, or just the name of a data set.
        train: a `TrainSpec`.
        init: a name of `labkit.models.INITS`, or "default": your own model's own; of the kit's networks "glorot_normal"
            for tickets, else their own.

    Raises:
        ValueError: for a value out of range.
    """

    kit_init: ClassVar[str] = "own"

    model: str = "lenet_300_100"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data: DataSpec = DataSpec()
    train: TrainSpec = TrainSpec()
    init: str = "default"

    __hash__ = Spec.__hash__

    @property
    def initialisation(self) -> str:
        """The initialisation that `init` means."""
        if self.init != "default":
            return self.init
        return "own" if ":" in self.model else self.kit_init

    def __post_init__(self) -> None:
        self._nest("data", DataSpec, shorthand="name")
        self._nest("train", TrainSpec)
        self._become("model_options", dict(self.model_options))
