"""Tensors on disk: safetensors files written whole or not at all, and sparse networks packed by their mask.

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

from labkit.masks import Masks, pack, unpack

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


def pack_states(states: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stacked networks (R, *shape) as `mask/NAME` (R, bytes), `kept/NAME` (surviving values) and `whole/NAME`.

    Of a masked tensor only the surviving values are stored: a network at density d takes about d of the dense bytes
    plus one bit a weight.
    """
    packed: dict[str, Tensor] = {}
    for name, state in states.items():
        if name in masks:
            packed[f"mask/{name}"] = torch.stack([pack(mask) for mask in masks[name]])
            packed[f"kept/{name}"] = state[masks[name]]
            packed[f"shape/{name}"] = torch.tensor(state.shape)
        else:
            packed[f"whole/{name}"] = state
    return packed


def unpack_states(packed: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Masks]:
    """The inverse of `pack_states`: (states, masks), pruned weights exactly zero.

    Raises:
        ValueError: if masks and values do not fit together.
    """
    states: dict[str, Tensor] = {}
    masks: Masks = {}
    for key, tensor in packed.items():
        part, _, name = key.partition("/")
        if part == "whole":
            states[name] = tensor
        elif part == "mask":
            replicates, *shape = packed[f"shape/{name}"].tolist()
            masks[name] = torch.stack([unpack(bits, shape) for bits in tensor[:replicates]])
            values = packed[f"kept/{name}"]
            if int(masks[name].sum()) != values.numel():
                raise ValueError(f"{name}: {values.numel()} values do not fit a mask of {int(masks[name].sum())}")
            states[name] = torch.zeros(masks[name].shape, dtype=values.dtype)
            states[name][masks[name]] = values
    return states, masks
