"""Where networks train, and in what precision."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from labkit.ground.names import choose

CPU = torch.device("cpu")
# what matrix products and convolutions work in; weights, sums and updates are float32 always
PRECISIONS = ("float32", "tf32", "bfloat16")


def device() -> torch.device:
    """The device to train on: `LABKIT_DEVICE` ("cpu", "cuda", "cuda:1", ...), else the GPU if there is one.

    Raises:
        ValueError: if that is no such device, or PyTorch is set so that nothing would train.
        RuntimeError: if a GPU is asked for and there is none.
    """
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(f"PyTorch's default dtype is {torch.get_default_dtype()}, and the kit trains in float32: call "
                         "torch.set_default_dtype(torch.float32)")  # fmt: skip
    if torch.get_default_device().type != "cpu":
        raise ValueError(f"PyTorch's default device is {torch.get_default_device()}: call "
                         "torch.set_default_device('cpu'), and choose by LABKIT_DEVICE where to train")  # fmt: skip
    if torch.is_inference_mode_enabled():
        raise ValueError("nothing trains in torch.inference_mode(): leave it, or use torch.no_grad()")
    name = os.environ.get("LABKIT_DEVICE", "auto")
    kind, _, index = name.partition(":")
    choose("device (LABKIT_DEVICE)", kind, ["auto", "cpu", "cuda"])
    if index and not (kind == "cuda" and index.isdigit()):
        raise ValueError(f'LABKIT_DEVICE is {name!r}: write "auto", "cpu", "cuda" or "cuda:1"')
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise RuntimeError(f"LABKIT_DEVICE is {name!r}, but PyTorch sees {torch.cuda.device_count()} GPUs here")
    return torch.device(name)


@contextmanager
def precision(name: str, where: torch.device) -> Iterator[None]:
    """Do matrix products and convolutions in this precision.

    Args:
        name: "float32" (24-bit mantissas, the protocols' own; on a GPU too, where PyTorch's default would be TF32
            convolutions),
            "tf32" (10-bit mantissas on a GPU; on a CPU the same as float32) or "bfloat16" (8-bit mantissas).
        where: the device.

    Raises:
        ValueError: for another name.
    """
    choose("precision", name, PRECISIONS)
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    on_gpu = where.type == "cuda"  # the flags are the process's, and networks on a CPU are in several threads
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    try:
        with torch.autocast(where.type, torch.bfloat16, enabled=name == "bfloat16", cache_enabled=False):
            yield
    finally:
        if on_gpu:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
