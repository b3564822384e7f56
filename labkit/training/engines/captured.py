"""A training step captured once as a flat list of tensor operations, which then runs without autograd or modules.

The operations are the ones that the step would run anyway, in the same order and bit for bit with the same results
(float32 results: `benchmarks/exactness.py` measures how exact those are); what is saved is the book-keeping between
them, a third of the time of a small network's step. No compiler is needed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from labkit.ground.randomness import ambient

NAMES_ONLY = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)  # another name for the same tensor
TRANSPOSED = torch.ops.aten.t.default

StepFunction = Callable[..., Any]


def capture(step: StepFunction, examples: Sequence[Tensor]) -> tuple[StepFunction | None, str]:
    """The step as a flat list of operations; where it cannot be captured, None and the reason.

    Args:
        step: takes tensors, may change them in place, returns tensors. A step that branches on the contents of tensors
            is recognised and refused. One that branches on anything else, counts in Python or draws random numbers
            outside PyTorch is not: it is looked at once, and what it did then is what the list will always do.
        examples: arguments of the shapes that it will be given; they are not changed.
    """
    with ambient(devices=None):
        try:
            return _trace(step, examples).forward, ""
        except Exception as error:  # whatever is wrong with the step itself shows when it runs
            return None, f"{type(error).__name__}: {error}".splitlines()[0]


class Graph:
    """A captured step as a CUDA graph: one launch a step instead of one an operation.

    Args:
        step: what `capture` gave.
        fixed: its first arguments, which stay where they are; changed in place between steps, they are seen.
        inputs: the others, of the shapes that calls will give.
    """

    def __init__(self, step: StepFunction, fixed: Sequence[Tensor], inputs: Sequence[Tensor]):
        self._inputs = [tensor.clone() for tensor in inputs]
        trial = [tensor.clone() for tensor in (*fixed, *inputs)]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        # libraries set themselves up outside the graph, on copies, and what is drawn there is not missed later
        with torch.random.fork_rng(devices=[trial[0].device]), torch.cuda.stream(aside):
            for _ in range(3):
                step(*trial)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = step(*fixed, *self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the step on these inputs; what it returns is a copy."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._result.clone()


def _trace(step: StepFunction, examples: Sequence[Tensor]) -> GraphModule:
    traced = make_fx(step)(*(tensor.clone() for tensor in examples))
    for node in list(traced.graph.nodes):
        if node.op == "call_function" and (same := _same_as(node)) is not None:
            node.replace_all_uses_with(same)
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _same_as(node: Node) -> Any:
    """The earlier node whose tensor this one only names again, if it does."""
    given = node.args[0] if node.args else None
    if node.target in NAMES_ONLY:
        return given
    twice = node.target == TRANSPOSED and isinstance(given, Node) and given.target == TRANSPOSED
    return given.args[0] if twice else None  # type: ignore[union-attr]
