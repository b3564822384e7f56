"""One network with its masks and its optimiser's state: a step, plain or captured, its gradients, its rewiring."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labkit.ground.device import CPU, precision
from labkit.ground.randomness import AMBIENT
from labkit.models import capturable
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks
from labkit.specs.networks import TrainSpec
from labkit.training.engines.captured import Graph, StepFunction, capture
from labkit.training.engines.door import canonical
from labkit.training.engines.kernels import accelerate
from labkit.training.engines.plain import PlainStep, check_fits
from labkit.training.optimizers import optimizer

Captures = dict[Any, tuple[StepFunction | None, str]]
Tree = dict[str, Tensor]


class Network:
    """A network that trains under masks.

    Args:
        model: built for this network alone.
        state: its state dict; the network keeps a copy.
        masks: of some of its parameters, name -> bool; absent means dense.
        spec: names the optimiser, its settings, and the precision.
        device: where it trains; convolutions are kept channels-last, which is faster on CPUs and GPUs.
        dynamic: masks will change in training (`rewire`).
        dense_momentum: keep the optimiser state of masked weights, fed by their gradients; only weights are masked.
        captures: where captured steps are kept for the next network of the same shape and spec.

    Raises:
        ValueError: for masks and states that do not fit the network, or tied parameters.
    """

    def __init__(
        self, model: nn.Module, state: Mapping[str, Tensor], masks: Mapping[str, Tensor], spec: TrainSpec,
        device: torch.device = CPU, *, dynamic: bool = False, dense_momentum: bool = False,
        captures: Captures | None = None,
    ):  # fmt: skip
        self.spec, self.device, self.dynamic, self.dense_momentum = spec, device, dynamic, dense_momentum
        self.model = accelerate(model)
        self.parameters = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        check_fits(model, self.parameters, state, masks)
        self.state: Tree = {name: self._place(state[name]) for name in model.state_dict()}
        model.load_state_dict(self.state, assign=True)
        self.slots: dict[str, Tree] = {
            slot: {
                name: torch.zeros((), device=device) if slot == "step" else torch.zeros_like(self.state[name])
                for name in self.parameters
            }
            for slot in optimizer(spec)[1]
        }
        self._plain = PlainStep(self.model, self.parameters, spec, list(self.state),
                                {slot: list(tree) for slot, tree in self.slots.items()}, dense_momentum)  # fmt: skip
        self._lr, self._lr_now = torch.zeros((), device=device), 0.0
        self._floats: Tree = {}
        self._captured: StepFunction | None = None
        self._captured_gradients: StepFunction | None = None
        self._prepared, self.refused = False, ""
        self._captures: Captures = {} if captures is None else captures
        self._graph: Graph | None = None
        self.masks: Masks = {}
        self.set_masks(masks)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Replace the masks, and zero what they mask: weights and optimiser state.

        Layers are kept in the network's own order, whatever that of `masks`: what is drawn for them follows it.
        """
        self.masks = {name: self._place(masks[name]) for name in self.parameters if name in masks}
        pruned = {name: mask for name, mask in self.masks.items() if self.dynamic or not bool(mask.all())}
        mask_sets.apply(pruned, self.state, *self._masked_slots())
        # float masks multiply several times faster than bool ones
        floats = {name: mask.to(self.state[name].dtype) for name, mask in pruned.items()}
        if floats.keys() == self._floats.keys():
            for name, mask in floats.items():
                self._floats[name].copy_(mask)  # in place: the captured step goes on with them
        else:
            self._floats, self._prepared, self._graph = floats, False, None
            self._plain.masked = list(floats)
        self._arguments = [t for tree in (self.state, self._floats, *self.slots.values()) for t in tree.values()]
        self._arguments.append(self._lr)

    def _masked_slots(self) -> list[Tree]:
        return [] if self.dense_momentum else [tree for slot, tree in self.slots.items() if slot != "step"]

    def rewire(self, moved: Mapping[str, tuple[Tensor, Tensor]], *, reset_regrown: bool = True) -> None:
        """Change masks in place: grown weights start at zero, and so does their optimiser state.

        Args:
            moved: layer -> (survived, grown), disjoint; their union is the new mask. The network must be `dynamic`.
            reset_regrown: whether weights that were dropped and grown again start at zero too.
        """
        for name, (survived, grown) in moved.items():
            mask = self.masks[name]
            stays = survived if reset_regrown else survived | (grown & mask)
            for tree in (self.state, *self._masked_slots()):
                tree[name].masked_fill_(~stays, 0.0)
            mask.copy_(survived | grown)
            self._floats[name].copy_(mask)

    def step(self, inputs: Tensor, labels: Tensor, lr: float) -> Tensor:
        """One optimiser step.

        Returns:
            Two numbers, from before the step: the loss (mean cross-entropy, nats) and how many examples of the batch
            were right.

        Gradients of masked weights are zeroed before the update; as those weights and their optimiser state are zero
        to begin with (`set_masks`), momentum and decay leave them exactly zero. A weight that the loss leaves out in
        this step (stochastic depth) has a gradient of zero: momentum and decay move it, as they do in `torch.optim`
        where gradients are zeros (not where they are None).
        """
        if lr != self._lr_now:
            self._lr.fill_(lr)
            self._lr_now = lr
        self.prepare(inputs, labels)
        with torch.no_grad(), precision(self.spec.precision, self.device):
            if self._captured is None:
                return self._plain.step(*self._arguments, inputs, labels)
            if self.device.type == "cuda":
                if self._graph is None:
                    self._graph = Graph(self._captured, self._arguments, (inputs, labels))
                return self._graph(inputs, labels)
            return self._captured(*self._arguments, inputs, labels)

    def prepare(self, inputs: Tensor, labels: Tensor) -> None:
        """Capture the step for batches of this shape, unless that was done; nothing is trained.

        Only of a network that asks for it (`models.capturable`); others run their plain step.
        """
        if self._prepared:
            return
        self._prepared = True
        if not capturable(self.model):
            self.refused = "it does not ask for it (`capturable = True`)"
            return
        given = [*self._arguments, inputs, labels]
        with precision(self.spec.precision, self.device):
            self._captured, self.refused = self._capture(self._plain.step, given)
            if self.dynamic:
                self._captured_gradients, _ = self._capture(self._plain.gradients, given)

    def _capture(self, step: StepFunction, given: Sequence[Tensor]) -> tuple[StepFunction | None, str]:
        shapes = tuple((tuple(tensor.shape), tensor.stride(), tensor.dtype) for tensor in given)
        key = (step.__name__, self.dense_momentum, tuple(self._floats), shapes)
        with AMBIENT:  # tracing changes torch.nn.Module, too, for the whole process
            if key not in self._captures:
                self._captures[key] = capture(step, given)
            return self._captures[key]

    def gradients(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tree]:
        """What `step` returns, and the gradients of all weights, masked ones too; weights stay as they are.

        Batch norm statistics move on and dropout draws, as in a step.
        """
        self.prepare(inputs, labels)
        arguments = [*self._arguments, inputs, labels]
        with torch.no_grad(), precision(self.spec.precision, self.device):
            found = (self._captured_gradients or self._plain.gradients)(*arguments)
        return found[0], dict(zip(self.parameters, found[1:], strict=True))

    @property
    def captured(self) -> bool:
        """Whether the prepared step is a captured one, which runs no autograd."""
        return self._captured is not None

    def _place(self, tensor: Tensor) -> Tensor:
        if tensor.ndim == 4:  # of a convolution
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor.to(self.device, copy=True)

    def tensors(self) -> Tree:
        """Everything that changes in training, canonical (see `door`). Live, not copies."""
        found = canonical(self.state, self.masks)
        return found | {f"{slot}/{name}": tensor for slot, tree in self.slots.items() for name, tensor in tree.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave; an optimiser's state that is not there is zero."""
        masks = {name: tensors[f"mask/{name}"].bool() for name in self.masks}
        with torch.no_grad():
            for key, live in self.tensors().items():
                if key in tensors:
                    live.copy_(tensors[key])
                else:
                    live.zero_()
        self.set_masks(masks)
