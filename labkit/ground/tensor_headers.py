"""Safetensors files, byte for byte: written the same for the same, and taken from strangers.

Of a header that is read nothing is believed before it is checked.

Eight bytes say how long the header is (little-endian), then it comes as JSON: name -> {dtype, shape, data_offsets}, and
`__metadata__`, texts by name; the data follow without gap or overlap. The header is read before any tensor takes
memory, and what it may ask for is bounded by the size of the file.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

LENGTH = 8  # bytes that say how long the header is
MOST_HEADER = 10**8  # bytes, the format's own bound
DEEPEST = 50  # objects in objects: who walks through them does it by recursion
PER_VALUE = 20  # bytes of a header for each value that it may hold: parsed, a value takes up to a hundred
_SAYS = {"dtype", "shape", "data_offsets"}

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "I16": torch.int16, "U16": torch.uint16, "F16": torch.float16,
    "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32, "F64": torch.float64,
    "I64": torch.int64, "U64": torch.uint64, "C64": torch.complex64,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Layout:
    """Of a tensor in a file.

    Attributes:
        dtype, shape: its own.
        begin, end: its bytes, counted from the end of the header.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def written(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The content of a file: of the same tensors and metadata always the same bytes.

    Args:
        tensors: contiguous, on the CPU. The largest element types come first, so that all are aligned.
        metadata: texts by name.

    Raises:
        ValueError: for a type of element that the format has not.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, at = [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        if tensor.dtype not in _NAMES:
            raise ValueError(f"{name} is {tensor.dtype}, which no safetensors file holds")
        parts.append(tensor.reshape(-1).view(torch.uint8).numpy().data)
        end = at + len(parts[-1])
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    return b"".join([len(text).to_bytes(LENGTH, "little"), text, *parts])


def read_header(
    path: Path, file: BinaryIO, size: int, most: int = MOST_HEADER
) -> tuple[dict[str, Layout], dict[str, str], int]:
    """What a file says that it holds: layouts by name, metadata, and where the data begin.

    Args:
        path: for messages.
        file: opened for reading, at its begin.
        size: bytes of the file.
        most: bytes of a header that is read.

    Raises:
        ValueError: if it is cut short, no safetensors file, or says what cannot be.
    """
    length = int.from_bytes(file.read(LENGTH), "little")
    if size < LENGTH or not 2 <= length <= size - LENGTH:
        raise ValueError(f"{path} is damaged or cut short: of {size:,} bytes the header would take {length:,}")
    if length > most:
        raise ValueError(f"{path} is not read: its header takes {length:,} bytes, and at most {most:,} are read")
    try:
        found = parsed(file.read(length).decode(), most)
        metadata = found.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata are not texts by name")
        layouts = {name: _layout(name, said) for name, said in found.items()}
        _without_gap(layouts, size - LENGTH - length)
    except ValueError as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from error
    return layouts, metadata, LENGTH + length


def parsed(text: str, most: int = MOST_HEADER) -> dict[str, Any]:
    """A JSON object, of bounded size and without a name that comes twice.

    Args:
        text: of at most `most` bytes.
        most: bounds the number of values too: a twentieth of it.

    Raises:
        ValueError: for anything else.
    """
    if text.count(",") + text.count("[") + text.count("{") > most // PER_VALUE:
        raise ValueError(f"it holds more than {most // PER_VALUE:,} values")
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"it is a {type(found).__name__}, not names with values")
    _check_values(found)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _check_values(found: Any) -> None:
    waiting = [(found, 0)]
    while waiting:
        values, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        for value in (*values, *values.values()) if isinstance(values, dict) else values:
            if isinstance(value, str):
                value.encode()  # half a surrogate is no text: no digest can be taken of it
            elif isinstance(value, dict | list):
                waiting.append((value, depth + 1))


def addressable(shape: Iterable[int]) -> bool:
    """Whether PyTorch can make a tensor of a shape; where one dimension is 0, of the others it still makes strides.

    >>> addressable([2**62, 0]), addressable([0, 2**62, 2])
    (True, False)
    """
    return math.prod(max(1, size) for size in shape) < 2**63


def _layout(name: str, said: Any) -> Layout:
    if not isinstance(said, dict) or set(said) != _SAYS or str(said["dtype"]) not in DTYPES:
        raise ValueError(f"{name[:80]!r} has no dtype, shape and place, or a dtype that is not known")
    dtype, shape, place = DTYPES[str(said["dtype"])], said["shape"], said["data_offsets"]
    if not (_counts(shape) and _counts(place) and len(place) == 2):
        raise ValueError(f"shape or place of {name[:80]!r} are not whole numbers of at least 0")
    if not addressable(shape):
        raise ValueError(f"no tensor has the shape of {name[:80]!r}, {shape}")
    takes = math.prod(shape) * dtype.itemsize
    if place[1] - place[0] != takes:
        raise ValueError(f"{name[:80]!r} would take {takes:,} bytes, and has {place[1] - place[0]:,}")
    return Layout(dtype, tuple(shape), place[0], place[1])


def _counts(values: Any) -> bool:
    small = isinstance(values, list) and len(values) <= 64
    return small and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _without_gap(layouts: Mapping[str, Layout], size: int) -> None:
    at = 0
    for layout in sorted(layouts.values(), key=lambda layout: (layout.begin, layout.end)):
        if layout.begin != at:
            raise ValueError(f"tensors lie over each other, or {layout.begin - at:,} bytes apart")
        at = layout.end
    if at != size:
        raise ValueError(f"its tensors take {at:,} bytes, and there are {size:,}")
