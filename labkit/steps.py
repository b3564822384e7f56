"""Durations that know their unit: iterations, epochs, or a fraction of the run."""

import re
from dataclasses import dataclass
from decimal import Decimal

_UNITS = {"it": "iterations", "ep": "epochs", "run": "a fraction of the run"}
_FORM = re.compile(r"(\d+(?:\.\d+)?)(it|ep|run)")


@dataclass(frozen=True)
class Step:
    """A moment or duration of training, with its unit.

    Written `"500it"` (iterations), `"2ep"` (epochs) or `"0.75run"` (a fraction of the whole run, for schedules).

    >>> Step.parse("2ep").iterations(epoch=916.7)
    1833
    >>> str(Step.parse("500it"))
    '500it'
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: "str | Step") -> "Step":
        """Read a step from text.

        Raises:
            ValueError: if the unit is missing or unknown, or a fraction of the run exceeds 1.
        """
        if isinstance(text, Step):
            return text
        match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            units = ", ".join(f"'{unit}' ({meaning})" for unit, meaning in _UNITS.items())
            raise ValueError(f"step {text!r}: write a number with its unit, such as '500it'; units are {units}")
        step = cls(float(match[1]), match[2])
        if step.unit == "run" and step.amount > 1:
            raise ValueError(f"step {text!r}: a fraction of the run lies in [0, 1]")
        if step.unit == "it" and not step.amount.is_integer():
            raise ValueError(f"step {text!r}: iterations are whole")
        return step

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
