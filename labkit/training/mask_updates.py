"""When masks change in training, and how: mask updates as the training loop asks for them."""

import torch
from torch import Tensor

from labkit.ground.randomness import generator
from labkit.ground.steps import Clock
from labkit.sparsity import topology
from labkit.sparsity.pruning import prune_global
from labkit.sparsity.schedules import constant, cosine, cubic
from labkit.specs.sparse import TopologySpec
from labkit.training.engines.door import View


def moments(every: int, begin: int, until: int) -> list[int]:
    """Steps t, counted from 0, that are updates: (t + 1) divisible by `every`, begin <= t < until.

    >>> moments(every=3, begin=0, until=9)
    [2, 5, 8]
    """
    return [step for step in range(every - 1, until, every) if step >= begin]


class Dynamics:
    """Mask updates of a run. An update takes the place of the optimiser step (Evci et al. 2020, Algorithm 1).

    Args:
        spec: the method and its schedule.
        clock: of the run.

    Raises:
        ValueError: if the schedule does not fit into the run.
    """

    def __init__(self, spec: TopologySpec, clock: Clock):
        self.spec = spec
        every, begin, until = (clock.iterations(moment) for moment in (spec.every, spec.begin, spec.until))
        if not 0 <= begin < until <= clock.run or every < 1:
            raise ValueError(
                f"mask updates from {spec.begin} to {spec.until}, every {spec.every}, do not fit {clock.run} iterations"
            )
        change = spec.row.masks in ("pruned", "moving")
        self.moments = moments(every, begin, until) if change else []
        if change and not self.moments:
            raise ValueError(
                f"{spec.method} changes masks every {spec.every}, and no such moment lies from {spec.begin} to "
                f"{spec.until} of {clock.run} iterations: its masks would stay as they are"
            )
        self._place = {step: position for position, step in enumerate(self.moments)}
        self.drop_fraction = cosine(spec.rate, until)
        self.target = constant(1.0)
        if spec.row.masks == "pruned":
            self.target = cubic(1.0, spec.density, begin, self.moments[-1])

    @property
    def dense_momentum(self) -> bool:
        """Whether the momentum of masked weights is kept."""
        return self.spec.row.dense_momentum

    def due(self, step: int) -> int | None:
        """Which update a step is, counted from 0; None if it is an ordinary step."""
        return self._place.get(step)

    def moved(self, view: View, step: int, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
        """How masks change at a step: layer -> (survived, grown), as of `topology.update`.

        Weights that stay are not touched, nor is their optimiser state.
        """
        if self.spec.row.masks == "pruned":
            sizes = [(int(mask.count_nonzero()), mask.numel()) for mask in view.masks.values()]
            size = sum(size for _, size in sizes)
            keep = min(sum(kept for kept, _ in sizes), round(self.target(step) * size))
            scores = {name: weight.abs() for name, weight in view.weights.items()}
            pruned = prune_global(view.masks, scores, keep)
            return {name: (mask, torch.zeros_like(mask)) for name, mask in pruned.items()}
        return topology.update(
            self.spec.row, self.drop_fraction(step), view.weights, view.masks, view.gradients, view.momenta,
            generator(seed, "grow", step), regrow=self.spec.regrow,
        )  # fmt: skip
