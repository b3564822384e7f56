"""A trained network pruned once, by any criterion to any density: what it still knows, and the ticket that is left."""

from collections.abc import Mapping

import torch
from torch import Tensor

from labkit.runs.evidence import evidence
from labkit.runs.experiment import Experiment
from labkit.runs.ticket_files import Ticket
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks
from labkit.sparsity.pruning import prune_to
from labkit.sparsity.scores import score
from labkit.training.evaluation import evaluate


class PrunedOnce:
    """A trained network that is pruned once, from its trained weights, without training after it.

    Args:
        experiment: of the network.
        trained: its state dict after training.
        initial: its state dict before.
        seed: what a criterion draws, and the examples that it looks at, are of it.
    """

    def __init__(
        self, experiment: Experiment, trained: Mapping[str, Tensor], initial: Mapping[str, Tensor], seed: int = 0
    ):
        self.experiment, self.trained, self.initial, self.seed = experiment, dict(trained), dict(initial), seed
        self._scores: dict[str, dict[str, Tensor]] = {}
        self._network = experiment.model()

    def masks(self, criterion: str, scope: str, density: float) -> Masks:
        """What survives; the scores of a criterion are computed once.

        Args:
            criterion: a name of `labkit.sparsity.scores.SCORES`.
            scope, density: as of `labkit.sparsity.pruning.prune_to`.

        Raises:
            ValueError: for an unknown name or a density out of range.
        """
        if criterion not in self._scores:
            self._scores[criterion] = score(criterion, evidence(self.experiment, self.trained, self.seed, 0))
        return prune_to(self._scores[criterion], density, scope)

    def accuracy(self, masks: Masks) -> float:
        """Share of the test images that the trained weights under these masks have right."""
        state = {name: tensor.clone() for name, tensor in self.trained.items()}
        mask_sets.apply(masks, state)
        self._network.load_state_dict(state)
        return evaluate(self._network, self.experiment.data, "test")[1]

    def ticket(self, masks: Masks) -> Ticket:
        """What survives, at its values before training.

        Raises:
            ValueError: if nothing does.
        """
        state = {name: torch.clone(tensor) for name, tensor in self.initial.items()}
        mask_sets.apply(masks, state)
        return Ticket(state, masks, {"model": self.experiment.spec.model, "seed": self.seed, "rewind_step": 0})
