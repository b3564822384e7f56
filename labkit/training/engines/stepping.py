"""Engines that go step by step: the captured step where a network asks for it, else the plain one."""

import copy
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from labkit.data import AUGMENTATIONS, BatchOrder, DataSet
from labkit.ground.device import CPU, precision
from labkit.ground.names import choose
from labkit.ground.randomness import AMBIENT, ambient, derive, generator
from labkit.models import capturable, inspection
from labkit.sparsity.schedules import constant, piecewise, warmup
from labkit.specs.networks import TrainSpec
from labkit.training.engines.door import Canonical, Settled, View, parted
from labkit.training.engines.network import Captures, Network
from labkit.training.evaluation import evaluate
from labkit.training.optimizers import momentum

UNREAD_STEPS = {"cpu": 1, "cuda": 500}  # whose losses may wait on the device: reading one stops the GPU


@dataclass
class _Slot:
    network: Network
    order: BatchOrder
    seed: int
    step: int
    losses: list[float] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    bad: int | None = None
    waiting: list[Tensor] = field(default_factory=list)


class Stepping:
    """Trains networks of one shape step by step (see `door.Engine`).

    Args:
        model: builds one network.
        data: the data set; moved to the device.
        spec: how to train.
        device: where.
        dynamic, dense_momentum, captures: as of `Network`.

    Raises:
        ValueError: for an unknown optimiser or augmentation.
    """

    def __init__(
        self, model: Callable[[], nn.Module], data: DataSet, spec: TrainSpec, device: torch.device = CPU, *,
        dynamic: bool = False, dense_momentum: bool = False, captures: Captures | None = None,
    ):  # fmt: skip
        self.spec, self.device, self.data = spec, device, data.to(device)
        clock = spec.clock(data.size("train"))
        drops = [clock.iterations(drop) for drop in spec.lr_drops]
        schedule = piecewise(spec.lr, drops, spec.lr_drop_factor) if drops else constant(spec.lr)
        self.lr = warmup(schedule, clock.iterations(spec.lr_warmup))
        self.augment = AUGMENTATIONS[choose("augmentation", spec.augment, AUGMENTATIONS)]
        self._build, self._dynamic, self._dense_momentum = model, dynamic, dense_momentum
        self._captures: Captures = {} if captures is None else captures
        self._slots: dict[int, _Slot] = {}
        self._idle: list[Network] = []
        self._models = [model()]  # looked at, then the first network's
        # one look tells of the kit's networks and of those that ask to be captured; others may begin to draw later
        self.draws = not capturable(self._models[0]) or _draws(self._models[0], data)
        self.alone = self.draws or device.type == "cuda"
        layers = inspection.layers(self._models[0], self.data.shape, unreached=True).values()
        self.work = spec.batch_size * sum(layer.macs for layer in layers)
        self.linear = all(len(layer.shape) == 2 for layer in layers)

    def how(self, slot: int) -> tuple[str, str]:
        """See `door.Engine`."""
        network = self._slots[slot].network
        return ("captured", "") if network.captured else ("plain", network.refused)

    def put(self, slot: int, tensors: Canonical, seed: int, at: int) -> None:
        """See `door.Engine`."""
        state, masks = parted(tensors)
        masks = {name: mask.bool() for name, mask in masks.items()}
        network = self._network(state, masks)
        network.load(tensors)
        order = BatchOrder(self.data.size("train"), self.spec.batch_size, seed, self.device)
        self._slots[slot] = _Slot(network, order, seed, at)

    def _network(self, state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Network:
        for network in self._idle:
            if network.masks.keys() == masks.keys():
                self._idle.remove(network)
                return network
        model = self._models.pop() if self._models else self._build()
        if any(model is slot.network.model for slot in self._slots.values()):
            raise ValueError("the model's function gives the same network twice: each call must build one of its own")
        return Network(
            model, state, masks, self.spec, self.device,
            dynamic=self._dynamic, dense_momentum=self._dense_momentum, captures=self._captures,
        )  # fmt: skip

    def free(self, slot: int) -> None:
        """See `door.Engine`; a network that may count in Python is not used again."""
        network = self._slots.pop(slot).network
        if capturable(network.model):
            self._idle.append(network)

    def advance(self, slot: int, until: int) -> None:
        """See `door.Engine`."""
        at, most = self._slots[slot], UNREAD_STEPS[self.device.type]
        while at.step < until and at.bad is None:
            with self._drawing(at):
                at.waiting.append(at.network.step(*self.batch(at.order, at.seed, at.step), self.lr(at.step)))
            at.step += 1
            if len(at.waiting) >= most:
                self._read(at)

    @contextmanager
    def _drawing(self, at: _Slot) -> Iterator[None]:
        """What a step draws comes from its seed, and nobody else draws meanwhile."""
        if not self.draws:
            yield
            return
        beside = threading.current_thread() is not threading.main_thread()  # which may draw from it before and after
        with AMBIENT, torch.random.fork_rng(devices=(), enabled=beside):
            torch.manual_seed(derive(at.seed, "layers", at.step))
            yield

    def batch(self, order: BatchOrder, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of a step: the same whenever they are asked for."""
        if self.spec.augment == "none":
            return self.data.inputs("train", order[step])
        rng = generator(seed, "augment", step)
        return self.data.inputs("train", order[step], lambda images: self.augment(images, rng))

    @staticmethod
    def _read(at: _Slot) -> None:
        """Bring losses and right answers from the device; where one is not finite, what comes after does not count."""
        waiting, at.waiting = at.waiting, []
        first = at.step - len(waiting)
        for step, (loss, right) in enumerate(torch.stack(waiting).tolist() if waiting else [], first):
            if not math.isfinite(loss):
                at.bad = at.step = step
                return
            at.losses.append(loss)
            at.right.append(int(right))

    def settle(self, slot: int) -> Settled:
        """See `door.Engine`."""
        at = self._slots[slot]
        self._read(at)
        losses, at.losses = at.losses, []
        right, at.right = at.right, []
        return Settled(at.step, losses, right, at.bad)

    def gradients(self, slot: int) -> View:
        """See `door.Engine`."""
        at = self._slots[slot]
        with self._drawing(at):
            result, gradients = at.network.gradients(*self.batch(at.order, at.seed, at.step))
        at.waiting.append(result)
        at.step += 1
        self._read(at)
        network = at.network
        weights = {name: network.state[name] for name in network.masks}
        return View(weights, network.masks, gradients, momentum(network.slots))

    def rewire(self, slot: int, moved: Mapping[str, tuple[Tensor, Tensor]], *, reset_regrown: bool = True) -> None:
        """See `door.Engine`."""
        self._slots[slot].network.rewire(moved, reset_regrown=reset_regrown)

    def evaluate(self, slot: int, split: str) -> tuple[float, float]:
        """See `door.Engine`."""
        with precision(self.spec.precision, self.device):
            return evaluate(self._slots[slot].network.model, self.data, split)

    def kept(self, slot: int) -> list[int]:
        """See `door.Engine`."""
        return [int(mask.count_nonzero()) for mask in self._slots[slot].network.masks.values()]

    def take(self, slot: int) -> dict[str, Tensor]:
        """See `door.Engine`."""
        tensors = self._slots[slot].network.tensors()
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _draws(model: nn.Module, data: DataSet) -> bool:
    """Whether a training step of the network draws random numbers (dropout and the like)."""
    with ambient(), torch.no_grad():
        before = torch.get_rng_state()
        copy.deepcopy(model).train()(data.inputs("train", slice(0, 2))[0].cpu())  # where the model was built
        return not torch.equal(before, torch.get_rng_state())
