"""A population: R networks of one architecture whose parameters, masks, buffers and optimiser state are stacked.

Every tensor carries a leading replicate dimension; each replicate is an ordinary `nn.Module` whose parameters are
views into the stack, so a step of one replicate is a plain PyTorch step and whole-population operations (masks,
pruning, saving) are single tensor operations.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from labkit import masks as mask_sets
from labkit.kernels import accelerate
from labkit.masks import Masks
from labkit.models import prunable
from labkit.names import choose
from labkit.optimizers import optimizer
from labkit.specs import TrainSpec


class Population:
    """R networks, their masks and their optimisers, made afresh for one training run.

    Args:
        model: builds one network.
        states: stacked state dict, name -> (R, *shape); the population keeps its own copy.
        masks: stacked masks of some of the parameters, name -> bool (R, *shape); absent means dense.
        spec: names the optimiser and its settings.

    Raises:
        ValueError: for an unknown optimiser, or masks and states that do not fit the network.
    """

    def __init__(
        self, model: Callable[[], nn.Module], states: Mapping[str, Tensor], masks: Mapping[str, Tensor], spec: TrainSpec
    ):
        self.spec = spec
        self.update, slots = optimizer(spec)
        self.states = {name: state.clone() for name, state in states.items()}
        self.size = len(next(iter(self.states.values())))
        self.models = [accelerate(model()) for _ in range(self.size)]
        self.parameters = [name for name, parameter in self.models[0].named_parameters() if parameter.requires_grad]
        self._fits(masks)
        for index, network in enumerate(self.models):
            network.load_state_dict(_replicate(self.states, index), assign=True)
        self.slots: dict[str, dict[str, Tensor]] = {
            slot: {
                name: torch.zeros(self.size) if slot == "step" else torch.zeros_like(self.states[name])
                for name in self.parameters
            }
            for slot in slots
        }
        decayed = prunable(self.models[0]) if spec.weight_decay else []  # never a bias or a norm
        groups = [(spec.weight_decay, [n for n in self.parameters if n in decayed]),
                  (0.0, [n for n in self.parameters if n not in decayed])]  # fmt: skip
        self._groups = [[self._group(i, names, decay) for decay, names in groups if names] for i in range(self.size)]
        self.masks: Masks = {}
        self.set_masks(masks)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Replace the masks, and zero what they mask: weights and optimiser state."""
        self.masks = dict(masks)
        pruned = {name: mask for name, mask in self.masks.items() if not bool(mask.all())}
        trees = [self.states, *(tree for slot, tree in self.slots.items() if slot != "step")]
        mask_sets.apply(pruned, *trees)
        # float masks multiply several times faster than bool ones
        floats = {name: mask.to(self.states[name].dtype) for name, mask in pruned.items()}
        self._masked = [
            (
                [_replicate(tree, index)[name] for tree in trees for name in floats],
                [mask[index] for _ in trees for mask in floats.values()],
            )
            for index in range(self.size)
        ]

    def step(self, index: int, inputs: Tensor, labels: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """One optimiser step of one replicate.

        Returns:
            Before the step: the loss (mean cross-entropy, nats) and how many examples of the batch were right.

        Masked weights and their optimiser state are exactly zero afterwards, whatever momentum or decay did.
        """
        groups = self._groups[index]
        logits = self.models[index](inputs)
        loss = nn.functional.cross_entropy(logits, labels)
        gradients = iter(torch.autograd.grad(loss, [weight for weights, _, _ in groups for weight in weights]))
        with torch.no_grad():
            for weights, slots, decay in groups:
                self.update(weights, [next(gradients) for _ in weights], slots, lr, decay, self.spec)
            mask_sets.multiply(*self._masked[index])
            return loss.detach(), (logits.argmax(1) == labels).sum()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes in training, by name: states, masks, optimiser state. Live, not copies."""
        found = {f"state/{name}": state for name, state in self.states.items()}
        found |= {f"mask/{name}": mask for name, mask in self.masks.items()}
        return found | {f"{slot}/{name}": tensor for slot, tree in self.slots.items() for name, tensor in tree.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave, masks included."""
        masks = {name: tensors[f"mask/{name}"].bool() for name in self.masks}
        for key, live in self.tensors().items():
            live.copy_(tensors[key])
        self.set_masks(masks)

    def _group(
        self, index: int, names: Sequence[str], decay: float
    ) -> tuple[list[Tensor], dict[str, list[Tensor]], float]:
        weights = dict(self.models[index].named_parameters())
        slots = {slot: _replicate(tree, index) for slot, tree in self.slots.items()}
        return [weights[n] for n in names], {slot: [tree[n] for n in names] for slot, tree in slots.items()}, decay

    def _fits(self, masks: Mapping[str, Tensor]) -> None:
        expected = self.models[0].state_dict()
        places = [tensor.data_ptr() for tensor in expected.values() if tensor.numel()]
        if len(set(places)) < len(places):
            raise ValueError("the network ties parameters (two names, one tensor), which a population cannot keep tied")
        if set(expected) != set(self.states):
            raise ValueError(f"states hold {sorted(self.states)}; the network has {sorted(expected)}")
        for name, state in self.states.items():
            if state.shape[1:] != expected[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(state.shape[1:])}; the network's is {tuple(expected[name].shape)}"
                )
        for name, mask in masks.items():
            choose("masked parameter", name, self.parameters)
            if mask.shape != self.states[name].shape or mask.dtype != torch.bool:
                raise ValueError(f"mask of {name} must be bool of shape {tuple(self.states[name].shape)}")


def _replicate(tree: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    # .data: a view with a version counter of its own, so that updating one replicate does not invalidate the
    # backward pass of another
    return {name: tensor[index].data for name, tensor in tree.items()}
