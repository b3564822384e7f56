"""The one training loop, over a population.

Replicates are independent, so each advances on its own: a worker takes the replicate that is furthest behind, trains
it to its next evaluation and gives it back. A population of one works in the caller's thread; several train side by
side in threads, which divide the kernel threads among them. Networks that draw in their steps go one after another, as
what they draw comes from one generator, and so do large convolutional networks, whose activations crowd each other out
of the caches. Measured on 2 cores with LeNet-300-100 this beat stacked (vmapped) execution twice. What a replicate
computes depends, by rounding, on the number of kernel threads that it gets (`Training.crew`: of cores, population and
network), and on nothing else.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from threading import Event

import torch
from torch import Tensor, nn

from labkit.data import AUGMENTATIONS, BatchOrder, DataSet
from labkit.ground.device import precision
from labkit.ground.names import choose
from labkit.ground.randomness import derive, generator
from labkit.models import capturable, inspection
from labkit.sparsity.schedules import constant, piecewise, warmup
from labkit.specs.networks import TrainSpec
from labkit.training.engines.workers import Workers, workers
from labkit.training.evaluation import evaluate
from labkit.training.history import Record
from labkit.training.mask_updates import Dynamics, kept
from labkit.training.population import Population

UNREAD_STEPS = {"cpu": 1, "cuda": 500}  # whose losses may wait on the device: reading one stops the GPU
# multiply-accumulates of a batch, forward: below the first more than two kernel threads do not pay a network of linear
# layers; above the second a replicate with two threads is faster than two replicates with one each
SMALL_STEP, LARGE_STEP = 64_000_000, 2_000_000_000
CHECKPOINT_SECONDS = 20.0
SLICE_SECONDS = 0.25  # after which a worker gives its replicate back, so that progress is told and checkpoints are due

Save = Callable[[Mapping[str, Tensor]], None]


class Training:
    """One run of a population: from step `start` to the end of `spec.duration`.

    Args:
        population: the networks; trained in place.
        data: the data set; moved to the population's device.
        spec: how to train.
        seeds: one a replicate; batches (and dropout, if any) are drawn from it.
        start: the first step; schedules and data order begin there too.
        snapshot_at: keep a copy of the states as they are at this step (the rewinding point).
        dynamics: how masks change; the population must be `dynamic` if they do.

    Attributes:
        record: steps done, losses, evaluations, counts of active weights.

    Raises:
        ValueError: if the numbers do not fit together.
    """

    def __init__(
        self, population: Population, data: DataSet, spec: TrainSpec, seeds: Sequence[int],
        *, start: int = 0, snapshot_at: int | None = None, dynamics: Dynamics | None = None,
    ):  # fmt: skip
        self.population, self.spec, self.seeds = population, spec, list(seeds)
        self.data = data = data.to(population.device)
        clock = spec.clock(data.size("train"))
        self.start, self.total = start, clock.run
        if len(self.seeds) != population.size:
            raise ValueError(f"{population.size} replicates need as many seeds, not {len(self.seeds)}")
        if not 0 <= start < self.total or not start <= (start if snapshot_at is None else snapshot_at) <= self.total:
            raise ValueError(f"start {start} and snapshot {snapshot_at} must lie within the {self.total} iterations")
        drops = [clock.iterations(drop) for drop in spec.lr_drops]
        schedule = piecewise(spec.lr, drops, spec.lr_drop_factor) if drops else constant(spec.lr)
        self.lr = warmup(schedule, clock.iterations(spec.lr_warmup))
        self.orders = [BatchOrder(data.size("train"), spec.batch_size, seed, population.device) for seed in self.seeds]
        self.augment = AUGMENTATIONS[choose("augmentation", spec.augment, AUGMENTATIONS)]
        self.dynamics = dynamics
        updates = len(dynamics.moments) if dynamics else 0
        points = [*range(start, self.total, max(1, clock.iterations(spec.evaluate_every))), self.total]
        self.record = Record(population.size, points, spec.batch_size, updates, len(population.masks))
        for replicate in range(population.size):
            self.record.kept[replicate] = torch.tensor(kept(population, replicate), dtype=torch.int64)
        self.snapshot_at = snapshot_at
        self.snapshot = {} if snapshot_at is None else {name: s.clone() for name, s in population.states.items()}
        self._stop = Event()
        # one look tells of the kit's networks and of those that ask to be captured; others may begin to draw later
        self._draws = not capturable(population.models[0]) or _draws(population.models[0], data)

    def tensors(self) -> dict[str, Tensor]:
        """All that a later process needs to go on bit for bit."""
        found = self.population.tensors() | {f"snapshot/{name}": state for name, state in self.snapshot.items()}
        return found | self.record.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.population.load(tensors)
        for name, state in self.snapshot.items():
            state.copy_(tensors[f"snapshot/{name}"])
        self.record.load(tensors)

    def steps_left(self) -> int:
        """Replicate-iterations still to do."""
        return sum(self.total - self.record.step[r] for r in self.record.unfinished)

    def crew(self) -> tuple[int, int]:
        """How many workers train at once, and how many kernel threads each has.

        At most as many workers as cores, of large networks one: they are bound by memory, which the threads of one
        network share. A GPU works through its queue with one; networks that draw in their steps share one generator.
        """
        self.population.prepare(*self.batch(0, self.start))
        cores = torch.get_num_threads()
        layers = inspection.layers(self.population.models[0], self.data.shape, unreached=True)
        work = self.spec.batch_size * sum(layer.macs for layer in layers.values())
        alone = self._draws or self.population.device.type == "cuda"
        number = 1 if alone or work > LARGE_STEP else min(self.population.size, cores)
        small = work < SMALL_STEP and all(len(layer.shape) == 2 for layer in layers.values())
        return number, max(1, min(cores // number, 2 if small else cores))

    def run(
        self,
        save: Save | None = None,
        progress: Callable[[int], None] | None = None,
        on_divergence: Callable[[int, int], None] | None = None,
    ) -> None:
        """Train all replicates to the end.

        Args:
            save: called every `CHECKPOINT_SECONDS`, and when interrupted, with `tensors()`.
            progress: called a few times a second with the number of replicate-iterations left.
            on_divergence: called with a replicate and the step at which its loss was not finite.

        A replicate whose loss is not finite stops there (`record.diverged` holds the step); the others go on.
        `KeyboardInterrupt` (or `SystemExit`, of a program that handles SIGTERM so) stops all replicates after their
        step, saves, and is raised again; any other exception stops them too, and leaves the last checkpoint as it is.
        """
        cores, (number, threads) = torch.get_num_threads(), self.crew()
        self._stop.clear()
        gpu = self.population.device.type == "cuda"
        try:
            with (
                torch.random.fork_rng(devices=[self.population.device] if gpu else []),
                workers(number, threads, self._advance, self._stop.set) as pool,
            ):
                self._loop(pool, number, save, progress, on_divergence)
        finally:
            torch.set_num_threads(cores)

    def _loop(
        self,
        pool: Workers,
        number: int,
        save: Save | None,
        progress: Callable[[int], None] | None,
        on_divergence: Callable[[int, int], None] | None,
    ) -> None:
        busy: dict[Future[None], int] = {}
        record = self.record
        saved = time.monotonic()
        try:
            while record.unfinished or busy:
                due = save is not None and time.monotonic() - saved > CHECKPOINT_SECONDS
                if due:
                    self._stop.set()
                for replicate in [] if due else record.unfinished:
                    if len(busy) < number and replicate not in busy.values():
                        busy[pool.submit(replicate)] = replicate
                for future in wait(busy, return_when=FIRST_COMPLETED).done:
                    future.result()
                    replicate = busy.pop(future)
                    if record.diverged[replicate] >= 0 and on_divergence:
                        on_divergence(replicate, record.diverged[replicate])
                if progress:
                    progress(self.steps_left())
                if due and not busy and save:
                    save(self.tensors())
                    saved = time.monotonic()
                    self._stop.clear()
        except BaseException as error:
            self._stop.set()
            pool.shutdown(wait=True)  # every replicate ends the step it is in
            if (
                save
                and isinstance(error, KeyboardInterrupt | SystemExit)
                and not any(future.exception() for future in busy)
            ):
                save(self.tensors())
            raise

    def _advance(self, replicate: int) -> None:
        """Train one replicate to its next evaluation, until told to stop, or for a while."""
        until = time.monotonic() + SLICE_SECONDS
        record, most = self.record, UNREAD_STEPS[self.population.device.type]
        if record.step[replicate] == self.start:
            self._arrive(replicate)
        while not self._stop.is_set() and record.goes_on(replicate):
            record.add_step(replicate, self._train(replicate, record.step[replicate]), most)
            if self._arrive(replicate) or time.monotonic() > until:
                break
        record.read(replicate)  # a checkpoint may be due

    def _train(self, replicate: int, step: int) -> Tensor:
        """One step of one replicate, or the mask update that takes its place; loss and right answers from before."""
        if self._draws:
            torch.manual_seed(derive(self.seeds[replicate], "layers", step))
        inputs, labels = self.batch(replicate, step)
        update = self.dynamics.due(step) if self.dynamics else None
        if self.dynamics is None or update is None:
            return self.population.step(replicate, inputs, labels, self.lr(step))
        result = self.dynamics.update(self.population, replicate, step, (inputs, labels), self.seeds[replicate])
        self.record.kept[replicate, update + 1 :] = torch.tensor(kept(self.population, replicate))
        return result

    def batch(self, replicate: int, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of a replicate's step: the same whenever they are asked for."""
        index = self.orders[replicate][step]
        if self.spec.augment == "none":
            return self.data.inputs("train", index)
        rng = generator(self.seeds[replicate], "augment", step)
        return self.data.inputs("train", index, lambda images: self.augment(images, rng))

    def _arrive(self, replicate: int) -> bool:
        """Do what is due at the replicate's step; True if that was an evaluation."""
        record = self.record
        if record.step[replicate] == self.snapshot_at:
            for name, state in self.snapshot.items():
                state[replicate] = self.population.states[name][replicate]
        if not record.at_evaluation(replicate):
            return False
        record.read(replicate)
        if record.diverged[replicate] < 0:
            record.add_evaluation(replicate, self.evaluate(replicate))
        return True

    def evaluate(self, replicate: int) -> list[float]:
        """Loss and accuracy on validation data, then on test data, of a replicate as it is."""
        model = self.population.models[replicate]
        with precision(self.spec.precision, self.population.device):
            return [value for split in ("validation", "test") for value in evaluate(model, self.data, split)]


def _draws(model: nn.Module, data: DataSet) -> bool:
    """Whether a training step of the network draws random numbers (dropout and the like)."""
    where = data.scale.device

    def states() -> list[Tensor]:
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(where)] if where.type == "cuda" else [])]

    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []), torch.no_grad():
        before = states()
        copy.deepcopy(model).train()(data.inputs("train", slice(0, 2))[0])
        return not all(map(torch.equal, before, states()))
