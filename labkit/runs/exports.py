"""Tickets as files of other programs: what weights and masks are called there, and how many bytes they take.

Everything is plain tensors, as `torch.load(path, weights_only=True)` or safetensors read them; ONNX is a graph.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn

from labkit.ground.lists import listed
from labkit.ground.names import choose, whole
from labkit.ground.tensor_files import write_bytes
from labkit.sparsity.packing import pack_network

Tensors = dict[str, Tensor]


def as_state_dict(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensors:
    """The network's own names; pruned weights are zero, and the mask is not there."""
    return {name: weight * masks[name] if name in masks else weight for name, weight in weights.items()}


def as_prune(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensors:
    """Names of `torch.nn.utils.prune`: `NAME_orig` and, as numbers of its type, `NAME_mask`.

    A network whose layers went through `prune.identity` or `prune.custom_from_mask` loads it.
    """
    found = {f"{name}_orig" if name in masks else name: weight for name, weight in weights.items()}
    return found | {f"{name}_mask": mask.to(weights[name].dtype) for name, mask in masks.items()}


def as_csr(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensors:
    """Compressed rows of masked weights: `NAME.crow_indices`, `.col_indices`, `.values` and `.shape`.

    A weight of more than two dimensions is taken as (outputs, all else). What the mask keeps is stored, also where it
    is zero.
    """
    found: Tensors = {name: weight for name, weight in weights.items() if name not in masks}
    for name, mask in masks.items():
        rows = mask.reshape(mask.shape[0], -1) if mask.ndim > 1 else mask.reshape(1, -1)
        index = torch.int32 if mask.numel() < 2**31 else torch.int64
        ends = torch.cat([torch.zeros(1, dtype=torch.int64), rows.sum(1).cumsum(0)])
        found |= {
            f"{name}.crow_indices": ends.to(index), f"{name}.col_indices": rows.nonzero()[:, 1].to(index),
            f"{name}.values": weights[name][mask], f"{name}.shape": torch.tensor(mask.shape),
        }  # fmt: skip
    return found


def from_csr(tensors: Mapping[str, Tensor]) -> Tensors:
    """The state dict that `as_csr` was given, pruned weights zero."""
    masked = [name.removesuffix(".crow_indices") for name in tensors if name.endswith(".crow_indices")]
    parts = {f"{name}.{part}" for name in masked for part in ("crow_indices", "col_indices", "values", "shape")}
    found = {name: tensor for name, tensor in tensors.items() if name not in parts}
    for name in masked:
        shape = tensors[f"{name}.shape"].tolist()
        ends, columns, values = (tensors[f"{name}.{part}"] for part in ("crow_indices", "col_indices", "values"))
        dense = torch.zeros(len(ends) - 1, int(torch.tensor(shape).prod()) // (len(ends) - 1), dtype=values.dtype)
        rows = torch.repeat_interleave(torch.arange(len(ends) - 1), ends.diff().long())
        dense[rows, columns.long()] = values
        found[name] = dense.reshape(shape)
    return found


FORMS: dict[str, Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensors] | None] = {
    "state_dict": as_state_dict,
    "prune": as_prune,
    "csr": as_csr,
    "onnx": None,  # a graph, which needs the network
}


def write(
    form: str, path: Path, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor],
    network: nn.Module | None = None, shape: Sequence[int] | None = None,
) -> int:  # fmt: skip
    """Write weights and masks in one of `FORMS`; returns the bytes of the file. See `Ticket.export`."""
    named = FORMS[choose("form", form, FORMS)]
    endings = [".onnx"] if named is None else [".pt", ".safetensors"]
    if path.suffix not in endings:
        raise ValueError(f"{path}: a file of form {form!r} ends in {' or '.join(endings)}")
    if named is None:
        assert network is not None
        content = _onnx(network, shape)
    else:
        tensors = _plain(named(weights, masks))
        content = safetensors.torch.save(tensors) if path.suffix == ".safetensors" else _saved(tensors)
    write_bytes(path, content)
    return len(content)


def sizes(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> pd.DataFrame:
    """Bytes of a network in each form: the ticket's own file, and safetensors of the others (ONNX: about as dense).

    Returns:
        One row a form: form, bytes, and of_dense, in those of the dense state dict; the smallest first.
    """
    forms = {"ticket": pack_network(weights, masks)}
    forms |= {form: named(weights, masks) for form, named in FORMS.items() if named}
    found = {form: len(safetensors.torch.save(_plain(tensors))) for form, tensors in forms.items()}
    rows = [{"form": form, "bytes": size, "of_dense": size / found["state_dict"]} for form, size in found.items()]
    return pd.DataFrame(rows).sort_values("bytes", ignore_index=True)


def _plain(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _saved(tensors: Tensors) -> bytes:
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def _onnx(network: nn.Module, shape: Sequence[int] | None) -> bytes:
    """The network as an ONNX graph of a batch of images, any number of them; pruned weights are zeros in it."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"ONNX needs the packages of an extra: pip install 'labkit[onnx]' ({error})") from error
    shape = getattr(network, "input_shape", None) if shape is None else shape
    if shape is None:
        raise ValueError("the network does not say which images it takes: give their shape, such as (1, 28, 28)")
    size = listed("shape", shape, of=lambda what, value: whole(what, value, least=1, most=4096), like="(1, 28, 28)")
    device = next(network.parameters()).device
    images = torch.zeros(2, *size, device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the exporter is made of
        program = torch.onnx.export(
            network.eval(), (images,), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
