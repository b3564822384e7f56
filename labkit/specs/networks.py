"""Specs: frozen dataclasses that say all there is to say about an experiment, with a stable hash.

A field at its default does not count in the hash, so a field added later leaves old hashes as they are.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

import yaml

from labkit.data import AUGMENTATIONS, DOWNLOADED, EMBEDDED, NORMALISATIONS, is_own
from labkit.ground.device import PRECISIONS
from labkit.ground.lists import listed, mapped, optional, plain
from labkit.ground.names import Check, choose, fraction, nearest, number, shown, switch, text, whole
from labkit.ground.steps import Clock, Step, moment
from labkit.models import INITS, MODELS

OPTIMIZERS = ("adam", "sgd")  # how they step: `labkit.training.optimizers`
MOST_EXAMPLES, MOST_AT_ONCE = 10**9, 10**5  # no data set here has more; a batch of any of them fits into memory
_OWN_MODEL = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

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


def from_dict(kind: type[S], values: Mapping[str, Any], path: str = "") -> S:
    """Build a spec from plain values.

    Args:
        kind: of spec.
        values: field -> value.
        path: where in another spec it stands, for messages: "train".

    Raises:
        ValueError: for an unknown field (with the nearest right one) or a value out of range.
    """
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{path or kind.__name__} is {shown(values)}: write a mapping of the fields of {kind.__name__}"
        )
    at = f"{path}." if path else ""
    found = {name: (_field(kind, name, value, path), value) for name, value in values.items()}
    return kind(**{name: entry.metadata["check"](f"{at}{name}", value) for name, (entry, value) in found.items()})


def digest(values: Any) -> str:
    """Sixteen hexadecimal digits that name plain values: SHA-256 of their canonical JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def to_yaml(spec: Any) -> str:
    """The spec's non-default fields as YAML."""
    return yaml.safe_dump(to_dict(spec), sort_keys=False)


def checked(default: Any, check: Check, **bounds: Any) -> Any:
    """A field of a spec, with its check: `lr: float = checked(0.1, number, most=1000)`.

    Args:
        default: of the field; None is right where it is the default.
        check: of a value, as `labkit.ground.names` has them.
        bounds: keyword arguments of the check.
    """
    test = partial(check, **bounds)
    metadata = {"check": partial(optional, of=test) if default is None else test}
    return (
        field(default_factory=dict, metadata=metadata) if default == {} else field(default=default, metadata=metadata)
    )


def nested(what: str, value: object, *, kind: type[S], shorthand: str = "") -> S:
    """Return a spec that stands in another one, given as such, as a mapping, or as its field `shorthand`.

    Raises:
        ValueError: for anything else, or a wrong field.
    """
    if isinstance(value, kind):
        return value
    if shorthand and isinstance(value, str):
        value = {shorthand: value}
    if isinstance(value, Mapping):
        return from_dict(kind, value, what)
    ways = [f"a {kind.__name__}", "a mapping of its fields", *([f"just its {shorthand}"] if shorthand else [])]
    raise ValueError(f"{what} is {shown(value)}: it must be {' or '.join(ways)}")


def _field(kind: type, name: object, value: object, path: str = "") -> Field[Any]:
    """A field of a spec by name; for an unknown one a ValueError with the nearest, which says where that belongs."""
    own = {entry.name: entry for entry in fields(kind)}
    if isinstance(name, str) and name in own:
        return own[name]
    inner = [entry for entry in own.values() if isinstance(entry.default, Spec)]
    homes = {deeper.name: entry for entry in reversed(inner) for deeper in fields(entry.default)}
    place = f"field of {path} ({kind.__name__})" if path else f"field of {kind.__name__}"
    near = nearest(str(name), [*own, *homes], alike=0.6)[:1]
    if near and near[0] not in own:
        entry, home = homes[near[0]], type(homes[near[0]].default).__name__
        write = f"{entry.name}={home}({near[0]}={shown(value)})"
        raise ValueError(f"unknown {place} {name!r}: {near[0]!r} is a field of {home}, write {write}")
    choose(place, name, own)
    raise AssertionError("choose refuses what is unknown")


class Spec:
    """What all specs share: fields that are checked when a spec is made, a hash of them, and how they are shown.

    Each field has its check (see `checked`); what fields must be together, a spec says in its `__post_init__`, after
    `super().__post_init__()`.
    """

    def __new__(cls, *values: object, **named: object) -> Self:
        """Refuse a name that is no field, and say which is meant."""
        for name, value in named.items():
            _field(cls, name, value)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]  # specs are dataclasses
            object.__setattr__(self, entry.name, entry.metadata["check"](entry.name, getattr(self, entry.name)))

    def __hash__(self) -> int:  # for those whose fields hold dicts
        return hash(digest(to_dict(self)))

    def _repr_html_(self) -> str:
        return f"<b>{type(self).__name__}</b><pre style='margin:0'>{to_yaml(self)}</pre>"


def _data_name(what: str, value: object) -> str:
    name = text(what, value)
    return name if is_own(name) else choose(f"{what} (a data set or a path)", name, [EMBEDDED, *DOWNLOADED])


def _model_name(what: str, value: object) -> str:
    if not isinstance(value, str) or ":" not in value:
        return choose(what, value, MODELS)
    if not _OWN_MODEL.fullmatch(value):
        raise ValueError(f'{what} is {shown(value)}: a model of your own is written "package.module:function"')
    return str(value)


def _moments(what: str, value: object) -> tuple[str, ...]:
    return tuple(listed(what, value, of=moment, like="['0.5run', '0.75run'], or [] for none"))


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

    name: str = checked("digits", _data_name)
    normalisation: str = checked("dataset", choose, choices=NORMALISATIONS)
    validation: int | None = checked(None, whole, most=MOST_EXAMPLES)
    train: int | None = checked(None, whole, least=1, most=MOST_EXAMPLES)


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
        precision: a name of `labkit.ground.device.PRECISIONS`, of matrix products and convolutions.
        evaluate_every: distance of evaluations on validation and test data (a `Step`).

    Raises:
        ValueError: for a value out of range or a step without a unit.
    """

    duration: str = checked("12000it", moment, zero=False, run=False)
    optimizer: str = checked("adam", choose, choices=OPTIMIZERS)
    lr: float = checked(1.2e-3, number, most=1000)
    batch_size: int = checked(60, whole, least=1, most=MOST_AT_ONCE)
    momentum: float = checked(0.0, fraction, zero=True)
    nesterov: bool = checked(False, switch)
    weight_decay: float = checked(0.0, number, zero=True, most=1000)
    lr_drops: tuple[str, ...] = checked((), _moments)
    lr_drop_factor: float = checked(0.1, number, most=1000)
    lr_warmup: str = checked("0it", moment)
    augment: str = checked("none", choose, choices=AUGMENTATIONS)
    label_smoothing: float = checked(0.0, fraction, zero=True)
    precision: str = checked("float32", choose, choices=PRECISIONS)
    evaluate_every: str = checked("100it", moment, zero=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("nesterov is true and momentum is 0: Nesterov's step needs a momentum above 0")

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

    model: str = checked("lenet_300_100", _model_name)
    model_options: Mapping[str, Any] = checked({}, mapped, of=plain, like="{'width': 0.5}")
    data: DataSpec = checked(DataSpec(), nested, kind=DataSpec, shorthand="name")
    train: TrainSpec = checked(TrainSpec(), nested, kind=TrainSpec)
    init: str = checked("default", choose, choices=["default", *INITS])

    __hash__ = Spec.__hash__

    @property
    def initialisation(self) -> str:
        """The initialisation that `init` means."""
        if self.init != "default":
            return self.init
        return "own" if ":" in self.model else self.kit_init
