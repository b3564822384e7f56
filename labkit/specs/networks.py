"""Specs of what every experiment says: which network is trained on which data, and how."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from labkit.data import AUGMENTATIONS, HALVES, KNOWN, NORMALISATIONS, RESIZES, image_shape, is_own
from labkit.ground.device import PRECISIONS
from labkit.ground.lists import listed, mapped, plain
from labkit.ground.names import choose, fraction, number, shown, switch, text, whole
from labkit.ground.steps import Clock, Step, moment
from labkit.models import INITS, MODELS
from labkit.specs.base import Spec, checked, nested

OPTIMIZERS = ("adam", "sgd")  # how they step: `labkit.training.optimizers`
MOST_EXAMPLES, MOST_AT_ONCE = 10**9, 10**5  # no data set here has more; a batch of any of them fits into memory
_OWN_MODEL = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _data_name(what: str, value: object) -> str:
    name = text(what, value)
    return name if is_own(name) else choose(f"{what} (a data set, or a path: './mine')", name, KNOWN)


def _model_name(what: str, value: object) -> str:
    if not isinstance(value, str) or ":" not in value:
        try:
            return choose(what, value, MODELS)
        except ValueError as error:
            raise ValueError(f'{error}; one of your own is written "package.module:function"') from None
    if not _OWN_MODEL.fullmatch(value):
        raise ValueError(
            f'{what} is {shown(value)}: a model of your own is written "package.module:function" (a module, not a path)'
        )
    return str(value)


def _moments(what: str, value: object) -> tuple[str, ...]:
    return tuple(listed(what, value, of=moment, like="['0.5run', '0.75run'], or [] for none"))


@dataclass(frozen=True)
class DataSpec(Spec):
    """Which data, and how it is prepared (see `labkit.data.load`).

    Attributes:
        name: of a data set, or a path.
        normalisation: a name of `labkit.data.NORMALISATIONS`.
        validation: examples held out of the training images, 0 for none: then nothing stops early, and what is
            measured is measured at the end; None: 5,000, or a sixth of a small set.
        train: use only so many training examples; None: all.
        half: "a" or "b", two disjoint halves of the training images; None: all.
        per_class: use only so many training examples of each class; None: all.
        resize: how images are brought to the size of the input: "bilinear", or "pad" with black.
        shape: (channels, height, width) of the input, for networks that take any; None: the model's own.

    Raises:
        ValueError: for sizes that are not whole, or `train` beside `per_class`; whether the data can give them, `load`
            says.
    """

    name: str = checked("digits", _data_name)
    normalisation: str = checked("dataset", choose, choices=NORMALISATIONS)
    validation: int | None = checked(None, whole, most=MOST_EXAMPLES)
    train: int | None = checked(None, whole, least=1, most=MOST_EXAMPLES)
    half: str | None = checked(None, choose, choices=HALVES)
    per_class: int | None = checked(None, whole, least=1, most=MOST_EXAMPLES)
    resize: str = checked("bilinear", choose, choices=RESIZES)
    shape: tuple[int, int, int] | None = checked(None, image_shape)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train is not None and self.per_class is not None:
            raise ValueError(f"train is {self.train} and per_class is {self.per_class}: give one of them")


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
