"""The step as it is written down: a function of flat tensors, which is run as it is or captured."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from labkit.ground.names import choose
from labkit.models import prunable
from labkit.sparsity import masks as mask_sets
from labkit.specs.networks import TrainSpec
from labkit.training.optimizers import optimizer

Tree = dict[str, Tensor]


class PlainStep:
    """A step on state, masks as floats, optimiser state, learning rate, inputs and labels, all flat and in this order.

    Args:
        model: computes the logits; its own tensors are not looked at.
        parameters: names of what is trained.
        spec: names the optimiser, its settings and the loss.
        states: names of the state, in order.
        slots: those of the optimiser's state, slot -> names.
        dense_momentum: masked weights have gradients and optimiser state, and only the weights are masked.

    Attributes:
        masked: names of the masks, in order.
    """

    def __init__(
        self, model: nn.Module, parameters: Sequence[str], spec: TrainSpec, states: Sequence[str],
        slots: Mapping[str, Sequence[str]], dense_momentum: bool,
    ):  # fmt: skip
        self.model, self.parameters, self.spec = model, parameters, spec
        self.states, self.slots, self.dense_momentum = states, slots, dense_momentum
        self.masked: list[str] = []
        self.update = optimizer(spec)[0]
        decayed = set(prunable(model)) if spec.weight_decay else set()  # never a bias or a norm
        self._groups = [(spec.weight_decay, [n for n in parameters if n in decayed]),
                        (0.0, [n for n in parameters if n not in decayed])]  # fmt: skip

    def step(self, *flat: Tensor) -> Tensor:
        """Change state and optimiser state in place; the loss and the right answers, from before."""
        states, floats, slots, lr = self._unflat(flat[:-2])
        result, *slopes = self.gradients(*flat)
        slope = dict(zip(self.parameters, slopes, strict=True))
        with torch.no_grad():
            if not self.dense_momentum:
                mask_sets.multiply([slope[name] for name in floats], list(floats.values()))
            for decay, names in self._groups:
                if names:
                    mine = {slot: [tree[name] for name in names] for slot, tree in slots.items()}
                    self.update([states[n] for n in names], [slope[n] for n in names], mine, lr, decay, self.spec)
            if self.dense_momentum:
                mask_sets.multiply([states[name] for name in floats], list(floats.values()))
        return result

    def gradients(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """What `step` gives, then the gradient of every parameter, zero for those that the loss leaves out."""
        *tensors, inputs, labels = flat
        states = self._unflat(tensors)[0]
        weights = {name: states[name].detach().requires_grad_() for name in self.parameters}
        named = {**states, **weights}
        with torch.enable_grad():
            logits = torch.func.functional_call(self.model, named, (inputs,))
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.spec.label_smoothing)
            slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        with torch.no_grad():
            for name, state in states.items():
                if name not in weights and named[name] is not state:  # bound anew, not changed in place
                    state.copy_(named[name])
            return torch.stack([loss.detach(), (logits.argmax(1) == labels).sum().to(loss.dtype)]), *slopes

    def _unflat(self, flat: Sequence[Tensor]) -> tuple[Tree, Tree, dict[str, Tree], Tensor]:
        left = iter(flat)
        states = {name: next(left) for name in self.states}
        floats = {name: next(left) for name in self.masked}
        slots = {slot: {name: next(left) for name in names} for slot, names in self.slots.items()}
        return states, floats, slots, next(left)


def check_fits(
    model: nn.Module, parameters: Sequence[str], state: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> None:
    """See that a state and masks are of a network.

    Raises:
        ValueError: naming the first that is not; or tied parameters.
    """
    expected = model.state_dict()
    places = [tensor.data_ptr() for tensor in expected.values() if tensor.numel()]
    if len(set(places)) < len(places):
        raise ValueError("the network ties parameters (two names, one tensor), which the kit cannot keep tied")
    if set(expected) != set(state):
        raise ValueError(f"the state holds {sorted(state)}; the network has {sorted(expected)}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; the network's is {tuple(expected[name].shape)}")
    for name, mask in masks.items():
        choose("masked parameter", name, parameters)
        if mask.shape != state[name].shape or mask.dtype != torch.bool:
            raise ValueError(f"mask of {name} must be bool of shape {tuple(state[name].shape)}")
