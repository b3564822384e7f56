"""Finished networks of sparse training: their densities, FLOPs and accuracies as masks changed."""

from dataclasses import dataclass

import pandas as pd

from labkit.runs.experiment import Experiment
from labkit.runs.networks import Networks
from labkit.sparsity import flops
from labkit.sparsity.masks import Masks
from labkit.specs.sparse import SparseSpec
from labkit.training.history import HISTORY


@dataclass(frozen=True)
class SparseRun:
    """Finished networks of sparse training, one a seed.

    Attributes:
        networks: as they lie in their folders.
        experiment: the checked spec.
        prior: training FLOPs of the networks that their masks come from, a mean over seeds, in those of a dense run of
            the same length (0 if masks were drawn).
    """

    networks: Networks
    experiment: Experiment
    prior: float = 0.0

    @property
    def spec(self) -> SparseSpec:
        """What was run."""
        return self.experiment.spec

    @property
    def seeds(self) -> list[int]:
        """One a network."""
        return self.networks.seeds

    def metrics(self) -> pd.DataFrame:
        """One row an evaluation: seed, iteration, losses and accuracies; branch is the method."""
        return self.networks.metrics()

    def ends(self) -> pd.DataFrame:
        """The last evaluation of each network, one row a seed; of one that diverged all numbers are NaN."""
        last = self.metrics().groupby("seed", sort=False).tail(1)
        return last.assign(**{name: last[name].where(~last["diverged"]) for name in HISTORY if name in last})

    @property
    def first(self) -> int:
        """The step at which training began: 0 but for a ticket that goes on from where it was rewound to."""
        return self.networks.members[0].run.first

    @property
    def pruned(self) -> bool:
        """Whether masks come of pruning along the way: a run that takes them has this one's cost too."""
        return self.spec.topology.row.masks == "pruned"

    @property
    def masked(self) -> list[str]:
        """Layers that have a mask; none of a dense network."""
        row = self.spec.topology.row
        return [] if row.masks == "none" else list(self.networks.folders[0].end_mask())

    def densities(self) -> pd.DataFrame:
        """Active weights as masks changed: seed, step (updates done before it), layer, kept, size."""
        columns = ["seed", "step", "layer", "kept", "size"]
        moments = self.experiment.dynamics.moments if self.experiment.dynamics else []
        steps, layers, sizes = [self.first, *(step + 1 for step in moments)], self.masked, self.experiment.sizes
        return pd.DataFrame(
            [
                (seed, step, layer, int(kept), sizes[layer])
                for seed, folder in zip(self.seeds, self.networks.folders, strict=True)
                for step, row in zip(steps, folder.record().kept.tolist(), strict=True)
                if step > self.first or step == steps[0]  # what was due before that was not done
                for layer, kept in zip(layers, row, strict=False)
            ],
            columns=columns,
        )

    def inference_flops(self) -> pd.DataFrame:
        """Inference FLOPs as masks changed, in those of the dense network: seed, step, ratio."""
        layers, rows = self.experiment.layers, []
        dense = flops.inference(layers)
        for (seed, step), part in self.densities().groupby(["seed", "step"]):
            density = dict(zip(part["layer"], part["kept"] / part["size"], strict=True))
            rows.append({"seed": seed, "step": step, "ratio": flops.inference(layers, density) / dense})
        if not rows:  # no masks
            rows = [{"seed": seed, "step": self.first, "ratio": 1.0} for seed in self.seeds]
        return pd.DataFrame(rows)

    def test_flops(self) -> float:
        """Inference FLOPs at the end, in those of the dense network; mean over seeds."""
        table = self.inference_flops()
        return float(table[table["step"] == table["step"].max()]["ratio"].mean())

    def train_flops(self, iterations: int | None = None) -> float:
        """Training FLOPs in those of a dense run of `iterations` (default: this run's steps), its prior run included.

        By the method's rule (`labkit.sparsity.flops.training`), following the masks as they changed; mean over seeds.
        """
        total, topology = self.experiment.iterations, self.spec.topology
        every = self.experiment.clock.iterations(topology.every)
        found = []
        for _, part in self.inference_flops().groupby("seed"):
            ends = [*part["step"].tolist()[1:], total]
            spans = [end - begin for begin, end in zip(part["step"], ends, strict=True)]
            sparse = flops.mean(part["ratio"], spans)
            found.append(flops.training(topology.row.flops, sparse, 1.0, every) / 3)
        scale = (total - self.first) / (iterations or total - self.first)
        return self.prior + scale * sum(found) / len(found)

    def final_masks(self) -> Masks:
        """Stacked masks after training; none of dense networks."""
        return self.networks.final_masks() if self.masked else {}

    def __repr__(self) -> str:
        topology = self.spec.topology
        return f"SparseRun({topology.method}, density {topology.density:g}, seeds {self.seeds})"
