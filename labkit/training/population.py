"""A population: R networks of one architecture whose parameters, masks, buffers and optimiser state are stacked.

Every tensor carries a leading replicate dimension; each replicate is an ordinary `nn.Module` whose parameters are
views into the stack, so a step of one replicate is a plain PyTorch step and whole-population operations (masks,
pruning, saving) are single tensor operations.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labkit.ground.device import CPU, precision
from labkit.ground.names import choose
from labkit.models import capturable, prunable
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks
from labkit.specs.networks import TrainSpec
from labkit.training.engines.captured import Graph, StepFunction, capture
from labkit.training.engines.kernels import accelerate
from labkit.training.optimizers import optimizer

Captures = dict[Any, StepFunction | None]


class Population:
    """R networks, their masks and their optimisers, made afresh for one training run.

    Args:
        model: builds one network.
        states: stacked state dict, name -> (R, *shape); the population keeps its own copy.
        masks: stacked masks of some of the parameters, name -> bool (R, *shape); absent means dense.
        spec: names the optimiser, its settings, and the precision.
        device: where the networks train; convolutions are kept channels-last, which is faster on CPUs and GPUs.
        dynamic: masks will change in training (`rewire`).
        dense_momentum: keep the optimiser state of masked weights, fed by their gradients; only weights are masked.
        captures: where captured steps are kept for the next population of the same network and spec.

    Raises:
        ValueError: for an unknown optimiser, or masks and states that do not fit the network.
    """

    def __init__(
        self, model: Callable[[], nn.Module], states: Mapping[str, Tensor], masks: Mapping[str, Tensor],
        spec: TrainSpec, device: torch.device = CPU, *, dynamic: bool = False, dense_momentum: bool = False,
        captures: Captures | None = None,
    ):  # fmt: skip
        self.spec, self.device, self.dynamic, self.dense_momentum = spec, device, dynamic, dense_momentum
        self.update, slots = optimizer(spec)
        self.states = {name: self._place(state) for name, state in states.items()}
        self.size = len(next(iter(self.states.values())))
        self.models = [accelerate(model()) for _ in range(self.size)]
        if len(set(map(id, self.models))) < self.size:
            raise ValueError("the model's function gives the same network twice: each call must build one of its own")
        self.parameters = [name for name, parameter in self.models[0].named_parameters() if parameter.requires_grad]
        self._fits(masks)
        for index, network in enumerate(self.models):
            network.load_state_dict(_replicate(self.states, index), assign=True)
        self.slots: dict[str, dict[str, Tensor]] = {
            slot: {
                name: self._place(torch.zeros(self.size)) if slot == "step" else torch.zeros_like(self.states[name])
                for name in self.parameters
            }
            for slot in slots
        }
        decayed = set(prunable(self.models[0])) if spec.weight_decay else set()  # never a bias or a norm
        self._groups = [(spec.weight_decay, [n for n in self.parameters if n in decayed]),
                        (0.0, [n for n in self.parameters if n not in decayed])]  # fmt: skip
        self._lr, self._lr_now = torch.zeros(self.size, device=device), [0.0] * self.size
        self._floats: dict[str, Tensor] = {}
        self._captured: StepFunction | None = None
        self._captured_gradients: StepFunction | None = None
        self._prepared = False
        self._captures: Captures = {} if captures is None else captures
        self._graphs: dict[int, Graph] = {}
        self.masks: Masks = {}
        self.set_masks(masks)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Replace the masks, and zero what they mask: weights and optimiser state."""
        self.masks = {name: self._place(mask) for name, mask in masks.items()}
        pruned = {name: mask for name, mask in self.masks.items() if self.dynamic or not bool(mask.all())}
        mask_sets.apply(pruned, self.states, *self._masked_slots())
        # float masks multiply several times faster than bool ones
        floats = {name: mask.to(self.states[name].dtype) for name, mask in pruned.items()}
        if floats.keys() == self._floats.keys():
            for name, mask in floats.items():
                self._floats[name].copy_(mask)  # in place: the captured step goes on with them
        else:
            self._floats, self._prepared, self._graphs = floats, False, {}
        self._arguments = [self._flat(index) for index in range(self.size)]

    def _masked_slots(self) -> list[dict[str, Tensor]]:
        return [] if self.dense_momentum else [tree for slot, tree in self.slots.items() if slot != "step"]

    def rewire(self, index: int, moved: Mapping[str, tuple[Tensor, Tensor]], *, reset_regrown: bool = True) -> None:
        """Change masks of one replicate, in place: grown weights start at zero, and so does their optimiser state.

        Args:
            index: which replicate; the population must be `dynamic`.
            moved: layer -> (survived, grown), disjoint; their union is the new mask.
            reset_regrown: whether weights that were dropped and grown again start at zero too.
        """
        for name, (survived, grown) in moved.items():
            mask = self.masks[name][index]
            stays = survived if reset_regrown else survived | (grown & mask)
            for tree in (self.states, *self._masked_slots()):
                tree[name][index].masked_fill_(~stays, 0.0)
            mask.copy_(survived | grown)
            self._floats[name][index].copy_(mask)

    def step(self, index: int, inputs: Tensor, labels: Tensor, lr: float) -> Tensor:
        """One optimiser step of one replicate.

        Returns:
            Two numbers, from before the step: the loss (mean cross-entropy, nats) and how many examples of the batch
            were right.

        Gradients of masked weights are zeroed before the update; as those weights and their optimiser state are zero
        to begin with (`set_masks`), momentum and decay leave them exactly zero. A weight that the loss leaves out in
        this step (stochastic depth) has a gradient of zero: momentum and decay move it, as they do in `torch.optim`
        where gradients are zeros (not where they are None).
        """
        arguments = self._arguments[index]
        if lr != self._lr_now[index]:
            self._lr[index] = self._lr_now[index] = lr
        self.prepare(inputs, labels)
        with torch.no_grad(), precision(self.spec.precision, self.device):
            if self.device.type == "cuda" and self._captured is not None:
                if index not in self._graphs:
                    self._graphs[index] = Graph(self._captured, arguments, (inputs, labels))
                return self._graphs[index](inputs, labels)
            if self._captured is None:
                return self._plain(self.models[index], *arguments, inputs, labels)
            return self._captured(*arguments, inputs, labels)

    def prepare(self, inputs: Tensor, labels: Tensor) -> None:
        """Capture the step for batches of this shape, unless that was done; nothing is trained.

        Only of a network that asks for it (`models.capturable`); others run their plain step.
        """
        if self._prepared or not capturable(self.models[0]):
            return
        given = [*self._arguments[0], inputs, labels]
        with precision(self.spec.precision, self.device):
            self._captured = self._capture(self._plain, given)
            if self.dynamic:
                self._captured_gradients = self._capture(self._gradients, given)
        self._prepared = True

    def _capture(self, step: StepFunction, given: Sequence[Tensor]) -> StepFunction | None:
        shapes = tuple((tuple(tensor.shape), tensor.stride(), tensor.dtype) for tensor in given)
        key = (step.__name__, self.dense_momentum, tuple(self._floats), shapes)
        if key not in self._captures:
            self._captures[key] = capture(partial(step, self.models[0]), given)
        return self._captures[key]

    def gradients(self, index: int, inputs: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What `step` returns, and the gradients of all weights, masked ones too; weights stay as they are.

        Batch norm statistics move on and dropout draws, as in a step.
        """
        self.prepare(inputs, labels)
        arguments = [*self._arguments[index], inputs, labels]
        with torch.no_grad(), precision(self.spec.precision, self.device):
            if self._captured_gradients is None:
                found = self._gradients(self.models[index], *arguments)
            else:
                found = self._captured_gradients(*arguments)
        return found[0], dict(zip(self.parameters, found[1:], strict=True))

    @property
    def captured(self) -> bool:
        """Whether the prepared step is a captured one, which runs no autograd."""
        return self._captured is not None

    def _place(self, stacked: Tensor) -> Tensor:
        if stacked.ndim == 5:  # (R, out, in, height, width): each replicate channels-last
            stacked = stacked.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        return stacked.to(self.device, copy=True)

    def _flat(self, index: int) -> list[Tensor]:
        trees = (self.states, self._floats, *self.slots.values())
        return [tensor for tree in trees for tensor in _replicate(tree, index).values()] + [self._lr[index]]

    def _plain(self, model: nn.Module, *flat: Tensor) -> Tensor:
        """The step as it is written down, on what `_flat` gives, the inputs and the labels."""
        states, floats, slots, lr = self._unflat(flat[:-2])
        result, *slopes = self._gradients(model, *flat)
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

    def _unflat(
        self, flat: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, dict[str, Tensor]], Tensor]:
        left = iter(flat)
        states = {name: next(left) for name in self.states}
        floats = {name: next(left) for name in self._floats}
        return (
            states,
            floats,
            {slot: {name: next(left) for name in tree} for slot, tree in self.slots.items()},
            next(left),
        )

    def _gradients(self, model: nn.Module, *flat: Tensor) -> tuple[Tensor, ...]:
        """The two numbers of `step`, then the gradient of every parameter, zero for those that the loss leaves out."""
        *tensors, inputs, labels = flat
        states = self._unflat(tensors)[0]
        weights = {name: states[name].detach().requires_grad_() for name in self.parameters}
        named = {**states, **weights}
        with torch.enable_grad():
            logits = torch.func.functional_call(model, named, (inputs,))
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.spec.label_smoothing)
            slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        with torch.no_grad():
            for name, state in states.items():
                if name not in weights and named[name] is not state:  # bound anew, not changed in place
                    state.copy_(named[name])
            return torch.stack([loss.detach(), (logits.argmax(1) == labels).sum().to(loss.dtype)]), *slopes

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
