"""A ticket as one file: initial weights, mask and provenance. Plain tensors, no code, safe to take from a stranger."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labkit.ground import tensor_files
from labkit.ground.names import choose
from labkit.sparsity import masks
from labkit.sparsity.masks import Masks
from labkit.sparsity.packing import pack_network, unpack_network

KIND = "labkit ticket 2"


@dataclass(frozen=True)
class Ticket:
    """A sparse network to be trained: where its weights start, which of them exist, and where it comes from.

    Attributes:
        weights: state dict to start from; pruned weights are zero.
        mask: name -> bool, True where a weight exists.
        about: provenance: spec, seed, level, branch, rewind step, data, version.

    Raises:
        ValueError: for a mask that is not bool, not of its weights' shape or of no weights, or if all are empty.
    """

    weights: Mapping[str, Tensor]
    mask: Masks
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, mask in self.mask.items():
            shape = tuple(self.weights[choose("masked layer", name, self.weights)].shape)
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != shape:
                said = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
                raise ValueError(f"the mask of {name} is {said}: it must be torch.bool {shape}")
        if self.mask and not any(bool(mask.any()) for mask in self.mask.values()):
            raise ValueError("the masks of the ticket keep no weight at all")

    @property
    def density(self) -> float:
        """Surviving share of the prunable weights, biases not counted; 1 without masks."""
        return masks.density(self.mask) if self.mask else 1.0

    def load_into(self, model: nn.Module) -> nn.Module:
        """Give a network the ticket's weights.

        Raises:
            ValueError: if the network is not of the ticket's architecture; names the first parameter that differs.
        """
        own = model.state_dict()
        if missing := sorted(set(own) ^ set(self.weights)):
            raise ValueError(f"this ticket is for another model: {missing[0]} is in only one of the two")
        for name, weight in self.weights.items():
            for theirs, mine in ((tuple(weight.shape), tuple(own[name].shape)), (weight.dtype, own[name].dtype)):
                if theirs != mine:
                    said = f"{name} is {theirs} in the ticket, {mine} in the model"
                    raise ValueError(f"this ticket is for another model: {said}")
        model.load_state_dict(dict(self.weights))
        return model

    def save(self, path: str | Path) -> Path:
        """Write the ticket; only surviving weights take room."""
        path = Path(path)
        tensor_files.write(path, pack_network(self.weights, self.mask), {"kind": KIND, **self.about})
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Ticket":
        """Read a ticket.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or is no ticket.
        """
        packed, about = tensor_files.read(Path(path))
        if about.pop("kind", None) != KIND:
            raise ValueError(f"{path} is no ticket: it does not say '{KIND}'")
        try:
            return cls(*unpack_network(packed), about)
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    def describe(self) -> str:
        """What the ticket is, for people: provenance, then survivors and density a layer."""
        about = {key: value for key, value in self.about.items() if not isinstance(value, Mapping)}
        lines = ["ticket: " + ", ".join(f"{key} {value}" for key, value in about.items())]
        for name, mask in self.mask.items():
            kept = int(mask.sum())
            lines.append(f"  {name:24} {kept:>9,} of {mask.numel():>9,}  density {kept / max(1, mask.numel()):.4f}")
        kept, size = sum(masks.counts(self.mask).values()), sum(mask.numel() for mask in self.mask.values())
        lines.append(f"  {'all':24} {kept:>9,} of {size:>9,}  density {self.density:.4f}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Ticket(density {self.density:.4f}, {len(self.mask)} masked layers)"

    def equals(self, other: "Ticket") -> bool:
        """Whether weights and masks are the same, bit for bit."""
        return all(
            set(mine) == set(theirs) and all(torch.equal(mine[name], theirs[name]) for name in mine)
            for mine, theirs in ((self.weights, other.weights), (self.mask, other.mask))
        )
