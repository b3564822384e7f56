"""A GPU that is none: tensors that say they are on it lie in the memory of the CPU, and may not be mixed with others.

It holds the code to PyTorch's rules about devices where there is no GPU: tensors of two devices do not meet in one
operation, a CPU generator draws nothing on a GPU, NumPy sees no GPU memory. It says nothing about
numbers, streams or speed.
"""

import copy
from contextlib import ExitStack, contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

GPU = torch.device("cuda", 0)
COPIES = {"copy_", "_to_copy", "_foreach_copy_"}  # between devices
INDEXED = {"index": 1, "index_put_": 1, "index_put": 1, "_index_put_impl_": 1}  # arguments that may lie on the CPU


class Far(Tensor):
    """A tensor on the pretended GPU."""

    @staticmethod
    def __new__(cls, near: Tensor) -> "Far":
        return Tensor._make_wrapper_subclass(
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype
        )

    def __init__(self, near: Tensor):
        self.near = near

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self):  # what code in Python sees; autograd, in C++, sees the CPU
        return GPU

    def tolist(self):
        return self.near.tolist()

    def cpu(self):
        return self.near.clone()

    def to(self, *args, **kwargs):
        device = kwargs.get("device", args[0] if args else None)
        if isinstance(device, str | torch.device) and not is_gpu(device):
            rest = {k: v for k, v in kwargs.items() if k != "device"}
            return self.near.clone().to(*args[1:], **rest)
        return super().to(*args, **kwargs)

    def numpy(self):
        raise TypeError("NumPy sees no GPU memory")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def is_gpu(device) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def run(func, args, kwargs):
    name = func.overloadpacket.__name__
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = [leaf for leaf in tensors if isinstance(leaf, Far)]
    given = kwargs.get("device")
    goal = is_gpu(given) if given is not None else bool(far)
    if name == "copy_":
        goal = isinstance(args[0], Far)
    judged = tree_leaves([a for n, a in enumerate(args) if INDEXED.get(name) != n])
    here = [t for t in judged if isinstance(t, Tensor) and not isinstance(t, Far) and t.ndim]
    if far and here and name not in COPIES:
        raise RuntimeError(f"{func}: tensors of two devices")
    generator = kwargs.get("generator")
    if goal and generator is not None and generator.device.type == "cpu":
        raise RuntimeError(f"{func}: a CPU generator cannot draw on the GPU")
    plain = tree_map_only(Far, lambda t: t.near, (args, dict(kwargs)))
    if given is not None:
        plain[1]["device"] = torch.device("cpu")
    if name == "_to_copy":
        plain[1].pop("pin_memory", None)
    with own_generator() if goal and torch.Tag.nondeterministic_seeded in func.tags else nullcontext():
        out = func(*plain[0], **plain[1])
    if name == "_to_copy" and goal != bool(far) and out is plain[0][0]:
        out = out.clone()
    if not goal:
        return out
    out = tree_map(lambda t: Far(t) if isinstance(t, Tensor) else t, out)
    return return_and_correct_aliasing(func, args, kwargs, out)


STATE = torch.Generator().manual_seed(0).get_state()  # of the GPU's generator


@contextmanager
def own_generator():
    global STATE
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(STATE)
    try:
        yield
    finally:
        STATE = torch.default_generator.get_state()
        torch.default_generator.set_state(before)


def seed_all(seed: int) -> None:
    global STATE
    STATE = torch.Generator().manual_seed(seed).get_state()


class Graph:
    """Stands in for `labkit.training.engines.captured.Graph`."""

    def __init__(self, step, fixed, inputs):
        self.step, self.fixed = step, fixed

    def __call__(self, *inputs):
        return self.step(*self.fixed, *inputs).clone()


def capture(step, examples):
    """Stands in for `labkit.training.engines.captured.capture`, whose trace would not see these tensors."""
    step(*(tensor.clone() for tensor in examples))
    then = copy.copy(step.__self__)  # as a trace is of the network as it was
    return getattr(then, step.__name__), ""


@contextmanager
def pretended():
    """A GPU is available, as "cuda"."""
    with ExitStack() as stack:
        for target, stand_in in (
            ("torch.cuda._lazy_init", lambda: None),
            ("torch.cuda.is_available", lambda: True),
            ("torch.cuda.device_count", lambda: 1),
            ("torch.cuda.get_device_name", lambda *_: "a pretended GPU"),
            ("torch.cuda.manual_seed_all", seed_all),
            ("torch.cuda.get_rng_state", lambda *_: STATE),
            ("torch.random.fork_rng", lambda *_, **__: nullcontext()),
            ("labkit.training.engines.network.Graph", Graph),
            ("labkit.training.engines.network.capture", capture),
        ):
            stack.enter_context(patch(target, stand_in))
        stack.enter_context(patch.dict("labkit.runs.experiment._CAPTURES", clear=True))
        stack.enter_context(Mode())
        yield
