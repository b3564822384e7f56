"""What mask updates dropped and grew, written down and read again: masks at any update, and how long connections live.

A connection is a place in the masks of all layers, one behind the other. The places that an update drops are written
as the gaps between them: the gap to the next place, less one, as a byte, with a byte of 255 before it for every 255
that it is longer. That takes a byte a place, and one more for every 255 places in all; those that it grows, likewise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from labkit.sparsity.masks import Masks

MOST_BYTES = 4 * 2**20  # of a run; what comes after is not written down
Update = tuple[Tensor, Tensor]  # places that were dropped and that were grown; those in both were grown again


def pack_places(places: Tensor) -> Tensor:
    """Places, rising, as gaps.

    Args:
        places: int64 (n,).

    Returns:
        uint8 (at least n,).

    >>> pack_places(torch.tensor([2, 3, 300])).tolist()
    [2, 0, 255, 41]
    """
    gaps = torch.diff(places, prepend=torch.tensor([-1])) - 1
    ends = torch.cumsum(gaps // 255 + 1, 0)
    packed = torch.full((int(ends[-1]) if len(ends) else 0,), 255, dtype=torch.uint8)
    packed[ends - 1] = (gaps % 255).to(torch.uint8)
    return packed


def unpack_places(packed: Tensor) -> Tensor:
    """The inverse of `pack_places`: int64.

    >>> unpack_places(torch.tensor([2, 0, 255, 41], dtype=torch.uint8)).tolist()
    [2, 3, 300]
    """
    reached = torch.cumsum(packed.long(), 0)[packed < 255]
    return reached + torch.arange(len(reached))


@dataclass
class Moves:
    """What the mask updates of a run dropped and grew, as far as it was written down.

    Attributes:
        packed: of each update what `pack_places` gave for those dropped, and for those grown.
        full: whether there was more than `most` bytes hold; updates from there on are not here.
        most: bytes.
    """

    packed: list[Update] = field(default_factory=list)
    full: bool = False
    most: int = field(default_factory=lambda: MOST_BYTES)

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def bytes(self) -> int:
        """That it takes."""
        return sum(len(part) for update in self.packed for part in update)

    def add(self, masks: Mapping[str, Tensor], moved: Mapping[str, Update]) -> None:
        """Write an update down, unless there is no room for it.

        Args:
            masks: before it, of all layers.
            moved: layer -> (survived, grown), as of `labkit.sparsity.topology.update`.
        """
        if self.full:
            return
        dropped = {name: mask & ~moved[name][0] if name in moved else torch.zeros_like(mask)
                   for name, mask in masks.items()}  # fmt: skip
        grown = {name: moved[name][1] if name in moved else torch.zeros_like(mask) for name, mask in masks.items()}
        update = (pack_places(places(dropped)), pack_places(places(grown)))
        if self.bytes + sum(map(len, update)) > self.most:
            self.full = True
        else:
            self.packed.append(update)

    def __iter__(self) -> Iterator[Update]:
        """Each update."""
        for dropped, grown in self.packed:
            yield unpack_places(dropped), unpack_places(grown)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name, for files."""
        parts = [part for update in self.packed for part in update]
        return {"moves/bytes": torch.cat(parts) if parts else torch.zeros(0, dtype=torch.uint8),
                "moves/lengths": torch.tensor([len(part) for part in parts], dtype=torch.int64),
                "moves/state": torch.tensor([int(self.full), self.most])}  # fmt: skip

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Moves":
        """What `tensors` gave, as it was.

        Raises:
            ValueError: if its parts do not fit together.
        """
        lengths, (full, most) = tensors["moves/lengths"].tolist(), tensors["moves/state"].tolist()
        if len(lengths) % 2 or min(lengths, default=0) < 0 or sum(lengths) != len(tensors["moves/bytes"]):
            raise ValueError("what is written down of mask updates does not fit together")
        parts = torch.split(tensors["moves/bytes"], lengths)
        return cls(list(zip(parts[::2], parts[1::2], strict=True)), bool(full), most)


def places(masks: Mapping[str, Tensor]) -> Tensor:
    """Where masks are on, of all layers, one behind the other: int64, on the CPU."""
    found, before = [torch.zeros(0, dtype=torch.int64)], 0
    for mask in masks.values():
        found.append(mask.reshape(-1).nonzero()[:, 0].cpu() + before)
        before += mask.numel()
    return torch.cat(found)


def flat(masks: Mapping[str, Tensor]) -> Tensor:
    """Masks of all layers, one behind the other: bool."""
    return torch.cat([torch.zeros(0, dtype=torch.bool), *(mask.reshape(-1) for mask in masks.values())])


def parted(connections: Tensor, like: Mapping[str, Tensor]) -> Masks:
    """The inverse of `flat`, for any values of connections: layer -> (as the masks of `like`)."""
    parts = torch.split(connections, [mask.numel() for mask in like.values()])
    return {name: part.reshape(like[name].shape) for name, part in zip(like, parts, strict=True)}


def masks_after(start: Mapping[str, Tensor], moves: Moves, updates: int) -> Masks:
    """Masks after so many updates: of those before, without what was dropped, with what was grown.

    Args:
        start: masks before the first.
        moves: what updates did.
        updates: how many, from 0 to `len(moves)`.

    Raises:
        ValueError: if so many are not written down.
    """
    if not 0 <= updates <= len(moves):
        raise ValueError(f"{updates} updates are asked for, and {len(moves)} are written down")
    connections = flat(start)
    for _, (dropped, grown) in zip(range(updates), moves, strict=False):
        connections[dropped] = False
        connections[grown] = True
    return parted(connections, start)


def lives(start: Mapping[str, Tensor], moves: Moves) -> Tensor:
    """The life of every connection that was ever active, one row a life.

    A connection that is dropped and grown again lives twice, also where one update does both.

    Returns:
        int64 (lives, 3): place, the update after which it was active (0: from the start), and the update that dropped
        it, counted from 1; 0 if none of those written down did.
    """
    born = torch.where(flat(start), 0, -1)
    found = []
    for number, (dropped, grown) in enumerate(moves, start=1):
        found.append(torch.stack([dropped, born[dropped], torch.full_like(dropped, number)], 1))
        born[dropped] = -1
        born[grown] = number
    alive = (born >= 0).nonzero()[:, 0]
    return torch.cat([*found, torch.stack([alive, born[alive], torch.zeros_like(alive)], 1)])
