"""The file of a ticket: which tensors it holds under which names, and what is checked before one is believed.

A file may come from a stranger. Names, types, shapes and sizes are checked against the header before tensors take
memory, digests (of tensors and of provenance) before they are used; nothing is executed, imported or built.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from labkit.ground import tensor_files
from labkit.ground.lists import plain
from labkit.ground.names import shown
from labkit.ground.tensor_headers import parsed
from labkit.sparsity.masks import Masks
from labkit.sparsity.packing import check_packed, pack_network, unpack_network, unpacked_bytes

KIND = "labkit ticket 2"
MOST_BYTES = 2**32  # that a ticket may take in memory
MOST_HEADER = 2**21  # bytes of names and provenance: some thousand layers
_NAME = re.compile(r"[\w \-]+(\.[\w \-]+)*")  # of a parameter


def write(path: Path, weights: Mapping[str, Tensor], masks: Masks, about: Mapping[str, Any]) -> None:
    """Write weights, masks and provenance; see `Ticket.save`."""
    said = {**plain("about", dict(about)), "kind": KIND}
    try:
        parsed(json.dumps(said), MOST_HEADER)
    except ValueError as error:
        raise ValueError(f"about cannot be read back: {error}") from error
    _check_names(weights)
    packed = pack_network(weights, masks)
    check_packed(packed)
    tensor_files.write(path, packed, said, MOST_HEADER)


def read(path: Path, most: int) -> tuple[dict[str, Tensor], Masks, dict[str, Any]]:
    """Weights, masks and provenance; see `Ticket.load`."""
    with tensor_files.opened(path, MOST_HEADER) as file:
        about = _ticket_about(path, file.about)
        try:
            masked = check_packed(file.layouts)
            _check_names([*masked, *(key.removeprefix("whole/") for key in file.layouts if key.startswith("whole/"))])
            shapes = {name: file.read([f"shape/{name}"])[f"shape/{name}"].tolist() for name in masked}
            if (size := unpacked_bytes(file.layouts, shapes)) > most:
                raise ValueError(f"it would take {size:,} bytes in memory, and at most {most:,} are allowed")
            return *unpack_network(file.read(file.layouts)), about
        except ValueError as error:
            raise named(path, error) from error


def named(path: Path, error: ValueError) -> ValueError:
    """An error about what a file holds, with the file's name."""
    said = str(error)
    return error if said.startswith(str(path)) else ValueError(f"{path} is damaged: {said}")


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not isinstance(name, str) or len(name) > 500 or not _NAME.fullmatch(name):
            raise ValueError(f"{shown(name)} is no name of a weight: words with dots between them are")


def _ticket_about(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    kind = about.pop("kind", None)
    if kind == KIND:
        return about
    if isinstance(kind, str) and kind.startswith("labkit ticket"):
        raise ValueError(f"{path} is a ticket of another version of labkit: it says {shown(kind)}, and not '{KIND}'")
    raise ValueError(f"{path} is no ticket: it does not say '{KIND}'")
