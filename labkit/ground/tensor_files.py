"""Tensors on disk: safetensors files, written whole or not at all and with a digest of their content.

No pickle: tickets come from strangers.
"""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from labkit.ground.tensor_headers import LENGTH, MOST_HEADER, parsed, read_header, written

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


def write(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None, most_header: int = MOST_HEADER
) -> None:
    """Write tensors and a JSON-able description to a safetensors file, atomically; each tensor with its SHA-256.

    Raises:
        OSError: if it cannot be written.
        ValueError: if the header takes more than `most_header` bytes.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = json.dumps(about or {}, sort_keys=True)
    digests = json.dumps({name: _digest(name, tensor) for name, tensor in plain.items()}, sort_keys=True)
    metadata = {"about": said, "digests": digests, "sha256": _whole(said, digests)}
    content = written(plain, metadata)
    if (length := int.from_bytes(content[:LENGTH], "little")) > most_header:
        raise ValueError(f"cannot write {path}: names and description take {length:,} bytes, at most {most_header:,}")
    write_bytes(path, content)


class TensorFile:
    """A file by `write`, opened: its description has been checked against its digest, its tensors are read on demand.

    Tensors are copied out of the file into memory of their own: what happens to the file afterwards does not matter.

    Attributes:
        path: of the file.
        about: its description.
        layouts: name -> dtype, shape and place of its tensors, which are as many bytes as the file has.
    """

    def __init__(self, path: Path, file: BinaryIO, most_header: int):
        self.path, self._file = path, file
        size = os.fstat(file.fileno()).st_size
        self.layouts, metadata, self._begin = read_header(path, file, size, most_header)
        said, digests = metadata.get("about", ""), metadata.get("digests", "")
        if metadata.get("sha256") != _whole(said, digests):
            raise _damaged(path, "description")
        try:
            self.about, self._digests = parsed(said, most_header), parsed(digests, most_header)
        except ValueError as error:
            raise ValueError(f"{path} is damaged: of its description, {error}") from error
        if set(self._digests) != set(self.layouts):
            raise _damaged(path, "list of tensors")

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors by name.

        Raises:
            ValueError: if one is damaged, or the file was cut short meanwhile.
        """
        return {name: self._read(name) for name in names}

    def _read(self, name: str) -> Tensor:
        layout = self.layouts[name]
        content = torch.empty(layout.end - layout.begin, dtype=torch.uint8)
        self._file.seek(self._begin + layout.begin)
        if self._file.readinto(content.numpy().data) != len(content):  # type: ignore[attr-defined]
            raise ValueError(f"{self.path} is damaged or cut short: {name} is not there to its end")
        if layout.dtype == torch.bool and len(content) and content.max() > 1:
            raise ValueError(f"{self.path} is damaged: {name} holds what is neither true nor false")
        tensor = content.view(layout.dtype).reshape(layout.shape)
        if self._digests[name] != _digest(name, tensor):
            raise _damaged(self.path, name)
        return tensor


@contextmanager
def opened(path: Path, most_header: int = MOST_HEADER) -> Iterator[TensorFile]:
    """Open what `write` wrote.

    Args:
        path: of the file.
        most_header: bytes of a header that is read; of a stranger's file few, since parsing takes many times them.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be opened (no permission, too many open files).
        ValueError: if it is damaged, cut short, no file, or not by `write`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path} is no file")  # a folder, or a pipe that would be waited for
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"no file {path}") from None
    with file:
        yield TensorFile(path, file, most_header)


def read(path: Path, *parts: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote: (tensors, description).

    Args:
        path: of the file.
        parts: with how the names of the tensors that are wanted begin; default all.

    Raises:
        FileNotFoundError, OSError, ValueError: those of `opened`, and a ValueError if a tensor is damaged.
    """
    with opened(path) as file:
        names = [name for name in file.layouts if not parts or name.startswith(parts)]
        return file.read(names), file.about


def read_about(path: Path) -> dict[str, Any]:
    """The description alone; errors are those of `opened`."""
    with opened(path) as file:
        return file.about


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Names, types, shapes and values of tensors as hexadecimal digits: SHA-256."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(_digest(name, tensors[name].detach().cpu().contiguous()).encode())
    return found.hexdigest()


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged or not by labkit: its {what} does not have the SHA-256 that it names")


def _whole(about: str, digests: str) -> str:
    return hashlib.sha256(f"{about}\n{digests}".encode()).hexdigest()


def _digest(name: str, tensor: Tensor) -> str:
    found = hashlib.sha256(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
    found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
