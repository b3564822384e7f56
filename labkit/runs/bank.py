"""A bank of tickets: files with cards, in a folder, in the web or in a Hugging Face repository."""

import dataclasses
import hashlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.ground.names import choose, number, shown, whole
from labkit.runs.cards import MOST_CARD, Card, ticket_name
from labkit.runs.origin import told
from labkit.runs.places import Folder, place
from labkit.runs.ticket_files import Ticket

MOST_FILE = 2**30  # bytes of a ticket's file
COLUMNS = [
    entry.name for entry in dataclasses.fields(Card) if entry.name not in ("spec", "sha256", "found", "measured")
]


class Bank:
    """Tickets that others found, or that you publish.

    What comes from elsewhere is not trusted: a card is checked field by field, a ticket's file is taken only in the
    size and with the SHA-256 that its card says, and read as `Ticket.load` reads it. Nothing in it is executed.

    Args:
        where: a folder, https://..., http://... (a published folder behind a web server), file:///..., or
            hf://owner/name, also @revision (with the extra `hub`); None: the kit's own, tickets of LeNet-300-100.
        most: bytes of a ticket's file that are taken.
        seconds: for each file from elsewhere.

    Raises:
        ValueError: for a place that is none of these.
        ImportError: for hf:// without its package.
    """

    def __init__(self, where: str | Path | None = None, *, most: int = MOST_FILE, seconds: float = 300.0):
        self.most, seconds = whole("most", most, 1), number("seconds", seconds)
        self.place = place(where, seconds)

    def card(self, name: str) -> Card:
        """What is said of a ticket.

        Raises:
            FileNotFoundError: if there is no such ticket.
            ValueError: if its card is wrong.
            OSError: if it cannot be had.
        """
        return Card.of_text(name, self.place.read(f"{ticket_name('name', name)}.json", MOST_CARD))

    def cards(self) -> dict[str, Card]:
        """All cards that are right; those that are not, or cannot be read, are named in a warning each and left out.

        Raises:
            FileNotFoundError: if there is no bank.
            OSError: if it cannot be had.
        """
        found = {}
        for name in self.place.names():
            try:
                found[name] = self.card(name)
            except (ValueError, OSError) as error:
                warnings.warn(f"{self.place}: {error}", stacklevel=3)
        return found

    def table(self, **filters: Any) -> pd.DataFrame:
        """A row a ticket, the densest first: what its card says, and gain_pp.

        gain_pp is the ticket's accuracy minus its control's, in percentage points.

        Args:
            filters: column -> a value, a list of values, or a tuple (lowest, highest): `data="mnist"`,
                `density=(0, 0.1)`.

        Raises:
            ValueError: for a column that there is not, or a tuple that is no bounds of it. Those of `cards`.
        """
        rows = [{name: getattr(card, name) for name in COLUMNS} for card in self.cards().values()]
        table = pd.DataFrame(rows, columns=COLUMNS)
        table = table.sort_values(["model", "data", "density", "name"], ascending=[True, True, False, True])
        control = table["control_accuracy"].astype(float)
        table.insert(COLUMNS.index("control_accuracy") + 1, "gain_pp", 100 * (table["accuracy"] - control))
        for column, wanted in filters.items():
            values = table[choose("column", column, table.columns)]
            if isinstance(wanted, tuple):
                table = table[_within(column, values, wanted)]
            else:
                table = table[values.isin(wanted if isinstance(wanted, list) else [wanted])]
        return table.reset_index(drop=True)

    def load(self, name: str) -> Ticket:
        """A ticket, once its file is what its card says.

        Raises:
            FileNotFoundError: if there is no such ticket.
            ValueError: if card or file are wrong, or the file is too large.
            OSError: if it cannot be had.
        """
        card = self.card(name)
        if card.size > self.most:
            raise ValueError(f"{name} has {card.size:,} bytes, and at most {self.most:,} are taken (most=...)")
        content = self.place.read(f"{name}.safetensors", card.size)
        if len(content) != card.size or hashlib.sha256(content).hexdigest() != card.sha256:
            raise ValueError(f"{name} of {self.place} is not the file that its card is of: bytes or SHA-256 differ")
        with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
            path = Path(folder) / f"{name}.safetensors"
            path.write_bytes(content)
            ticket = Ticket.load(path)
        card.check(ticket)
        return ticket

    def publish(self, ticket: Ticket, name: str, *, replace: bool = False, **said: Any) -> Card:
        """Put a ticket and its card into a folder, ready to be served or uploaded as it is.

        Args:
            ticket: what is published; model, data, source, seed, level, spec and density are read off it.
            name: of its files.
            replace: whether a ticket of that name may be there.
            said: other fields of its `Card`: what, found, accuracy, measured, licence; control and control_accuracy.

        Returns:
            The card.

        Raises:
            ValueError: if the bank is no folder, the name is taken, or a field is lacking or wrong; before anything is
                written.
            OSError: if it cannot be written.
        """
        if not isinstance(self.place, Folder):
            raise ValueError(f"tickets are published to a folder, not to {self.place}: upload that folder there")
        name, target = ticket_name("name", name), self.place.path
        if not replace and any((target / f"{name}{ending}").exists() for ending in (".json", ".safetensors")):
            raise ValueError(f"{target} has a ticket {name!r} already: give another name, or replace=True")
        with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
            content = ticket.save(Path(folder) / "ticket").read_bytes()
        fields: dict[str, Any] = {"name": name, "density": ticket.density, "source": told(ticket.about)}
        fields |= {key: ticket.about[key] for key in ("model", "data", "seed", "level", "spec") if key in ticket.about}
        fields |= said | {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        card = Card(**fields)
        card.check(ticket)
        said_of_it = card.to_text().encode()
        Card.of_text(name, said_of_it)  # what is published can be read again
        self.place.write({f"{name}.safetensors": content, f"{name}.json": said_of_it})
        return card

    def __repr__(self) -> str:
        return f"Bank({shown(str(self.place))})"


def _within(column: str, values: pd.Series, bounds: tuple[Any, ...]) -> pd.Series:
    """Which values lie between two bounds, both included; what a card lacks does not."""
    try:
        lowest, highest = bounds
        return values.dropna().between(lowest, highest).reindex(values.index, fill_value=False)
    except (TypeError, ValueError) as error:
        said = "a tuple is (lowest, highest), of what the column holds; of several values write a list"
        raise ValueError(f"{column} is {shown(bounds)}: {said}") from error
