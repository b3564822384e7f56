"""Tensors on disk: safetensors files, written whole or not at all and with a digest of their content.

No pickle: tickets come from strangers.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
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
    """Write tensors and a JSON-able description to a safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"about": json.dumps(about or {}, sort_keys=True), "sha256": _digest(plain)}
    write_bytes(path, save(plain, metadata=metadata))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote: (tensors, description).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, cut short, or not by `write`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata.get("about", "{}"))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error})") from error
    if metadata.get("sha256") != _digest(tensors):
        raise ValueError(f"{path} is damaged or not by labkit: its content does not have the SHA-256 that it names")
    return tensors, about


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
