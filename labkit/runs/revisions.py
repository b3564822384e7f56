"""What some runs have come to do otherwise since `experiment.FORMAT`: old folders of these do not pass for new ones."""

from torch import nn

from labkit.specs.sparse import SparseSpec
from labkit.specs.tickets import TICKET, TicketSpec


def of_model(model: nn.Module) -> list[str]:
    """Of the runs of a network, in words that become part of their identity; none of the kit's own."""
    kinds = (nn.MultiheadAttention, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    found = any(isinstance(layer, kinds) for layer in model.modules())
    return ["attention and transposed convolutions are pruned"] if found else []


def of_branch(spec: TicketSpec | SparseSpec, branch: str) -> list[str]:
    """Of the runs of a branch; none for most, whose hashes stay as they are."""
    if isinstance(spec, TicketSpec):
        return [] if branch == TICKET else ["new weights at each level"]
    if spec.topology.row.looks_at("momentum") and spec.train.optimizer == "adam":
        return ["momentum of Adam over its root mean square"]
    return []
