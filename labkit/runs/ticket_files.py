"""A ticket as one file: initial weights, mask and provenance. Plain tensors, no code, safe to take from a stranger."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labkit import models
from labkit.ground.lists import mapped, plain
from labkit.ground.names import choose, shown
from labkit.models.masked import mask_network, masks_of, unmasked
from labkit.runs import exports, origin, ticket_format
from labkit.sparsity import masks
from labkit.sparsity.masks import Masks


@dataclass(frozen=True)
class Ticket:
    """A sparse network to be trained: where its weights start, which of them exist, and where it comes from.

    Attributes:
        weights: state dict to start from; pruned weights are zero.
        mask: name -> bool, True where a weight exists.
        about: provenance: spec, seed, level, branch, rewind step, data, version; of a carried one its source.

    Raises:
        ValueError: for a mask that is not bool, not of its weights' shape or of no weights, if all are empty, or for
            weights that are not finite.
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
        for name, weight in self.weights.items():
            if not bool(torch.isfinite(weight).all()):
                raise ValueError(f"{str(name)[:80]} of the ticket is not finite: it holds NaN or infinity")

    @property
    def density(self) -> float:
        """Surviving share of the prunable weights, biases not counted; 1 without masks."""
        return masks.density(self.mask) if self.mask else 1.0

    def load_into(self, model: nn.Module) -> nn.Module:
        """Give a network the ticket's weights; it knows nothing of the mask, and training it revives what is pruned.

        To train a ticket in a loop of your own take `module`; here, `lk.train`.

        Raises:
            ValueError: if the network is not of the ticket's architecture; names the first parameter that differs.
        """
        self._check_fits(model)
        model.load_state_dict(dict(self.weights))
        return model

    def module(self, model: nn.Module | None = None) -> nn.Module:
        """A plain PyTorch network to train in a loop of your own: pruned weights stay zero under any optimiser.

        Masked weights are parametrisations (see `labkit.models.masked`): it can be copied, moved and saved as other
        networks can. `Ticket.of_module` makes a ticket of what was trained, `labkit.models.masked.unmasked` a
        network without masks.

        Args:
            model: to put weights and masks into; default: the kit's network that the ticket says it is of.

        Raises:
            ValueError: if the network is not of the ticket's architecture, or the ticket does not say which of the
                kit's networks it is of. Nothing that a ticket names is imported.
        """
        return mask_network(self.load_into(self._network() if model is None else model), self.mask)

    @classmethod
    def of_module(cls, module: nn.Module, about: Mapping[str, Any] | None = None) -> "Ticket":
        """The weights as they are now, and the masks, of a network that `module` gave.

        Raises:
            ValueError: if it has no masks.
        """
        if not (found := masks_of(module)):
            raise ValueError("the network has no masks: it is not of Ticket.module")
        weights = {name: tensor.detach().cpu().clone() for name, tensor in unmasked(module).state_dict().items()}
        return cls(weights, {name: mask.cpu().clone() for name, mask in found.items()}, dict(about or {}))

    def export(
        self, form: str, path: str | Path, *, model: nn.Module | None = None, shape: Sequence[int] | None = None
    ) -> int:
        """Write the ticket for other programs; returns the bytes of the file.

        Args:
            form: a name of `labkit.runs.exports.FORMS`: "state_dict", "prune" (names of `torch.nn.utils.prune`), "csr"
                or "onnx".
            path: ends in .pt (read with `torch.load(path, weights_only=True)`) or .safetensors; .onnx for ONNX.
            model: for "onnx", if the ticket is not of the kit's networks.
            shape: for "onnx", (channels, height, width) of an image; default the network's own `input_shape`.

        Raises:
            ValueError: for an unknown form or ending, or a network that does not fit.
            ImportError: for "onnx" without the packages of the extra `onnx`.
        """
        network = None
        if choose("form", form, exports.FORMS) == "onnx":
            network = self.load_into(self._network() if model is None else copy.deepcopy(model))
        return exports.write(form, Path(path), self.weights, self.mask, network, shape)

    def _network(self) -> nn.Module:
        said = self.about.get("spec")
        spec = said if isinstance(said, Mapping) else {}
        name = spec.get("model")
        if not isinstance(name, str) or name not in models.MODELS:
            raise ValueError(f"the ticket is not of one of the kit's networks (its spec names {shown(name)}), and "
                             "nothing is imported from a ticket: give the network, model=...")  # fmt: skip
        options = mapped("spec.model_options", spec.get("model_options", {}), of=plain, like="{'width': 0.5}")
        with torch.device("meta"):  # takes no memory
            self._check_fits(models.build(name, options))
        return models.build(name, options)

    def _check_fits(self, model: nn.Module) -> None:
        own = model.state_dict()
        if missing := sorted(set(own) ^ set(self.weights)):
            raise ValueError(f"this ticket is for another model: {missing[0]} is in only one of the two")
        for name, weight in self.weights.items():
            for theirs, mine in ((tuple(weight.shape), tuple(own[name].shape)), (weight.dtype, own[name].dtype)):
                if theirs != mine:
                    said = f"{name} is {theirs} in the ticket, {mine} in the model"
                    raise ValueError(f"this ticket is for another model: {said}")

    def save(self, path: str | Path) -> Path:
        """Write the ticket; only surviving weights take room.

        Raises:
            ValueError: for provenance that is not plain values, or names of weights that no network has.
            OSError: if it cannot be written.
        """
        ticket_format.write(Path(path), self.weights, self.mask, self.about)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, most: int = ticket_format.MOST_BYTES) -> "Ticket":
        """Read a ticket, from anybody: names, types, sizes and digests are checked before it takes memory.

        Args:
            path: of the file.
            most: bytes that it may take in memory, pruned weights included.

        Raises:
            FileNotFoundError: if there is no such file.
            OSError: if the system does not let it be read.
            ValueError: if it is damaged, is no ticket, would take more than `most` bytes, or is wrong in itself.
        """
        weights, mask, about = ticket_format.read(Path(path), most)
        try:
            return cls(weights, mask, about)
        except ValueError as error:
            raise ticket_format.named(Path(path), error) from error

    def describe(self) -> str:
        """What the ticket is, for people: provenance, then survivors and density a layer."""
        about = {key: value for key, value in self.about.items() if not isinstance(value, Mapping)}
        lines = ["ticket: " + ", ".join(_printable(f"{key} {value}") for key, value in about.items())]
        if (found := origin.told(self.about)) is not None:
            lines.append(f"  found on {_printable(found)}")
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


def _printable(text: str) -> str:
    return text if text.isprintable() and len(text) <= 200 else shown(text)
