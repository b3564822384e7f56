"""Tensors on disk: safetensors files, written whole or not at all and with a digest of their content.

No pickle: tickets come from strangers.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

PART = ".part"  # ends the names of files that are not written to their end yet


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it holds either its old content or all of the new one, whatever happens meanwhile.

    Raises:
        OSError: if it cannot be written (no space, no permission); the old content is left as it was.
    """
    part: str | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=PART, delete=False) as file:
            part = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}; what it held before is kept") from error


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a JSON-able description to a safetensors file, atomically; each tensor with its SHA-256."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = json.dumps(about or {}, sort_keys=True)
    digests = json.dumps({name: _digest(name, tensor) for name, tensor in plain.items()}, sort_keys=True)
    metadata = {"about": said, "digests": digests, "sha256": _whole(said, digests)}
    write_bytes(path, save(plain, metadata=metadata))


def read(path: Path, *parts: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote: (tensors, description).

    Args:
        path: of the file.
        parts: with how the names of the tensors that are wanted begin; default all.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be opened (no permission, too many open files).
        ValueError: if it is damaged, cut short, or not by `write`.
    """
    with _opened(path) as file:
        about, digests = _described(path, file)
        names = [name for name in digests if not parts or name.startswith(parts)]
        try:
            tensors = {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or cut short ({error})") from error
    for name, tensor in tensors.items():
        if digests[name] != _digest(name, tensor):
            raise _damaged(path, name)
    return tensors, about


def read_about(path: Path) -> dict[str, Any]:
    """The description alone; errors are those of `read`."""
    with _opened(path) as file:
        return _described(path, file)[0]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Names, types, shapes and values of tensors as hexadecimal digits: SHA-256."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(_digest(name, tensors[name].detach().cpu().contiguous()).encode())
    return found.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        path.open("rb").close()  # what the system refuses is its own error, not damage
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"no file {path}") from None
    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short ({error})") from error
    with file:
        yield file


def _described(path: Path, file: Any) -> tuple[dict[str, Any], dict[str, str]]:
    metadata = file.metadata() or {}
    said, digests = metadata.get("about", ""), metadata.get("digests", "")
    if metadata.get("sha256") != _whole(said, digests):
        raise _damaged(path, "description")
    about, found = json.loads(said), json.loads(digests)
    if set(found) != set(file.keys()):
        raise _damaged(path, "list of tensors")
    return about, found


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged or not by labkit: its {what} does not have the SHA-256 that it names")


def _whole(about: str, digests: str) -> str:
    return hashlib.sha256(f"{about}\n{digests}".encode()).hexdigest()


def _digest(name: str, tensor: Tensor) -> str:
    found = hashlib.sha256(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
    found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
