"""The card of a ticket: what it is, how it was found, and how it did beside its control. JSON, beside the ticket."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from labkit.ground.lists import mapped, plain
from labkit.ground.names import fraction, shown, text, whole
from labkit.ground.tensor_headers import parsed
from labkit.runs import origin
from labkit.runs.ticket_files import Ticket
from labkit.specs.base import Spec, checked, from_dict

KIND = "labkit ticket card 1"
MOST_CARD = 2**16  # bytes
MOST_NAME = 100  # letters
INDEX_NAME = "bank"  # no ticket's: a bank's index is bank.json
_NAME = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{MOST_NAME - 1}}}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAY_LACK = ("seed", "level", "control", "control_accuracy", "spec", "source")


def ticket_name(what: str, value: object) -> str:
    """Return a name that files and addresses can have.

    Raises:
        ValueError: for anything else; paths above all, and the name of a bank's index.
    """
    if value == INDEX_NAME:
        raise ValueError(f"{what} is {INDEX_NAME!r}: that is the name of a bank's index, give the ticket another")
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError(f"{what} is {shown(value)}: it must be small letters, digits, - and _, such as 'lenet-mnist-7'")


def _line(what: str, value: object) -> str:
    found = text(what, value)
    if not found.isprintable():
        raise ValueError(f"{what} is {shown(value)}: it must be one line of text")
    return found


def _digest(what: str, value: object) -> str:
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value
    raise ValueError(f"{what} is {shown(value)}: it must be 64 hexadecimal digits")


@dataclass(frozen=True)
class Card(Spec):
    """What is said of a ticket in a bank.

    Attributes:
        name: of the ticket; its files are NAME.safetensors and NAME.json.
        what: what it is, in a line.
        found: how it was found, in a line.
        model, data: what it is of.
        source: of a carried ticket what it was found on, in a line: model, data, and the run of the dense network.
        seed, level: of the search.
        density: surviving share of the prunable weights.
        accuracy: of the ticket when it is trained, a fraction.
        control: what it was compared with, such as "random_reinit".
        control_accuracy: of that; the mean of several.
        measured: what these accuracies are: of which data, when, how often.
        licence: of the file, such as "MIT".
        spec: of the search, as plain values.
        sha256: of the ticket's file.
        size: bytes of it.

    Raises:
        ValueError: for a field that is lacking or cannot be; names it.
    """

    name: str = checked("", ticket_name)
    what: str = checked("", _line)
    found: str = checked("", _line)
    model: str = checked("", _line)
    data: str = checked("", _line)
    source: str | None = checked(None, _line)
    seed: int | None = checked(None, whole)
    level: int | None = checked(None, whole)
    density: float = checked(0.0, fraction, one=True)
    accuracy: float = checked(-1.0, fraction, zero=True, one=True)
    control: str | None = checked(None, _line)
    control_accuracy: float | None = checked(None, fraction, zero=True, one=True)
    measured: str = checked("", _line)
    licence: str = checked("", _line)
    spec: Mapping[str, Any] = checked({}, mapped, of=plain, like="{'model': 'lenet_300_100'}")
    sha256: str = checked("", _digest)
    size: int = checked(0, whole, least=1)

    __hash__ = Spec.__hash__

    @classmethod
    def of_text(cls, name: str, content: bytes) -> "Card":
        """Read a card.

        Args:
            name: of the ticket that it should be of.
            content: the file.

        Raises:
            ValueError: if it is none, or of another ticket.
        """
        try:
            if len(content) > MOST_CARD:
                raise ValueError(f"it has more than {MOST_CARD:,} bytes")
            said = parsed(content.decode(), MOST_CARD)
            if said.pop("kind", None) != KIND:
                raise ValueError(f"it does not say '{KIND}'")
            if lacking := [entry.name for entry in fields(cls) if entry.name not in (*said, *_MAY_LACK)]:
                raise ValueError(f"it lacks {', '.join(lacking)}")
            card = from_dict(cls, said)
            if card.name != name:
                raise ValueError(f"it is of {card.name}")
        except ValueError as error:
            raise ValueError(f"the card of {name} is no card: {error}") from error
        return card

    def to_text(self) -> str:
        """The card as a file holds it."""
        said = {"kind": KIND} | {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if self.source is None:
            del said["source"]
        return json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def check(self, ticket: Ticket) -> None:
        """See that a ticket is what the card says, as far as the ticket tells.

        Raises:
            ValueError: naming what differs.
        """
        if abs(ticket.density - self.density) > 1e-6:
            raise ValueError(f"the card of {self.name} says density {self.density:.6f}; it is {ticket.density:.6f}")
        if (its := origin.told(ticket.about)) != self.source:
            raise ValueError(f"the card of {self.name} says source {shown(self.source)}, the ticket {shown(its)}")
        if self.spec and _as_text(self.spec) != _as_text(ticket.about.get("spec")):
            raise ValueError(f"the card of {self.name} says another spec than the ticket, which has "
                             f"{shown(ticket.about.get('spec'))}")  # fmt: skip
        for key in ("model", "data", "seed", "level"):
            mine, its = getattr(self, key), ticket.about.get(key)
            if mine is not None and its != mine:
                raise ValueError(f"the card of {self.name} says {key} {mine}, the ticket {shown(its)}")


def _as_text(spec: object) -> str:
    return json.dumps(spec, sort_keys=True, default=str)
