"""Durations that know their unit: iterations, epochs, or a fraction of the run."""

import re
from dataclasses import dataclass
from decimal import Decimal

from labkit.ground.names import choose, number, shown

_UNITS = {"it": "iterations", "ep": "epochs", "run": "a fraction of the run"}
_MOST = {"it": 10**8, "ep": 10**6, "run": 1}
_FORM = re.compile(r"(\d+(?:\.\d+)?)(it|ep|run)", re.ASCII)


@dataclass(frozen=True)
class Step:
    """A moment or duration of training, with its unit.

    Written `"500it"` (iterations), `"2ep"` (epochs) or `"0.75run"` (a fraction of the whole run, for schedules).

    >>> Step.parse("2ep").iterations(epoch=916.7)
    1833
    >>> str(Step.parse("500it"))
    '500it'

    Raises:
        ValueError: for an unknown unit or an amount that it cannot have.
    """

    amount: float
    unit: str

    def __post_init__(self) -> None:
        choose("unit of a step", self.unit, _UNITS)
        object.__setattr__(self, "amount", number("amount of a step", self.amount, zero=True))
        if problem := _problem(self.amount, self.unit):
            raise ValueError(f"step is '{self}': {problem}")

    @classmethod
    def parse(cls, text: "str | Step", what: str = "step") -> "Step":
        """Read a step from text.

        Args:
            text: such as "500it".
            what: it is, for the message.

        Raises:
            ValueError: if the unit is missing or unknown, a fraction of the run exceeds 1, or the amount is absurd.
        """
        if isinstance(text, Step):
            return text
        match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            units = ", ".join(f"'{unit}' ({meaning})" for unit, meaning in _UNITS.items())
            raise ValueError(
                f"{what} is {shown(text)}: write a number with its unit, such as '500it'; units are {units}"
            )
        amount, unit = float(match[1]), match[2]
        if problem := _problem(amount, unit):
            raise ValueError(f"{what} is {shown(text)}: {problem}")
        return cls(amount, unit)

    def iterations(self, *, epoch: float | None = None, run: int | None = None) -> int:
        """Convert to iterations.

        Args:
            epoch: iterations in an epoch (training examples / batch size; need not be whole).
            run: iterations in the whole run.

        Raises:
            ValueError: if the unit needs a length that was not given.
        """
        length = {"it": 1.0, "ep": epoch, "run": run}[self.unit]
        if length is None:
            raise ValueError(f"step '{self}' is in {_UNITS[self.unit]}, which has no length here")
        return round(self.amount * length)

    def __str__(self) -> str:
        return f"{Decimal(repr(self.amount)).normalize():f}{self.unit}"


def _problem(amount: float, unit: str) -> str:
    if unit == "run" and amount > 1:
        return "a fraction of the run lies in [0, 1]"
    if amount > _MOST[unit]:
        return f"there are at most {_MOST[unit]:,} {_UNITS[unit]}"
    return "iterations are whole" if unit == "it" and not amount.is_integer() else ""


def moment(what: str, value: object, *, zero: bool = True, run: bool = True) -> str:
    """Return a step in its shortest form.

    Args:
        what: its name, for the message.
        value: a text such as "500it", or a `Step`.
        zero: whether it may be 0.
        run: whether it may be a fraction of the run.

    Raises:
        ValueError: for anything else.

    >>> moment("duration", "2.0ep")
    '2ep'
    """
    step = Step.parse(value, what)  # type: ignore[arg-type]  # says what is not a step
    if not run and step.unit == "run":
        raise ValueError(f"{what} is {shown(value)}: write iterations or epochs, such as '12000it'")
    if not zero and not step.amount:
        raise ValueError(f"{what} is {shown(value)}: it must be positive")
    return str(step)


@dataclass(frozen=True)
class Clock:
    """What turns steps into iterations of one run.

    Attributes:
        epoch: iterations of an epoch (training examples / batch size; need not be whole).
        run: iterations of the whole run.

    >>> Clock(epoch=916.7, run=12_000).iterations("0.75run")
    9000
    """

    epoch: float
    run: int

    def iterations(self, moment: "str | Step") -> int:
        """A step in iterations of the run.

        Raises:
            ValueError: if it is not a step.
        """
        return Step.parse(moment).iterations(epoch=self.epoch, run=self.run)
