"""Which training images are used, and which of them are held out: drawn once and for all, the same for every seed.

Positions are int64 tensors (n,) into what was given; nothing here looks at an image.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from labkit.ground.names import choose
from labkit.ground.randomness import generator

HALVES = ("a", "b")


def half(labels: Tensor, which: str, groups: Tensor | None = None) -> Tensor:
    """Positions of one of two disjoint halves of a set, rising; "a" and "b" together are the whole.

    Of each class a half, drawn once; of an odd number the image more goes to the halves in turn. Groups stay whole:
    from the largest to the smallest, each goes to the half that has fewer images of its classes so far, else to that
    which has fewer images.

    Args:
        labels: (N,), int64.
        which: "a" or "b".
        groups: (N,), whole numbers: images of one number (one patient, one scene) belong together.

    Raises:
        ValueError: for another half, or a single group.
    """
    choose("half", which, HALVES)
    second = _by_class(labels) if groups is None else _by_group(labels, groups)
    return (second == (which == "b")).nonzero().squeeze(1)


def _by_class(labels: Tensor) -> Tensor:
    """Whether each image is of the second half: bool (N,)."""
    second, odd = torch.zeros(len(labels), dtype=torch.bool), 0
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().squeeze(1)
        drawn = members[torch.randperm(len(members), generator=generator(label, "half"))]
        first = (len(members) + (odd + 1) % 2) // 2
        odd += len(members) % 2
        second[drawn[first:]] = True
    return second


def _by_group(labels: Tensor, groups: Tensor) -> Tensor:
    """Whether each image is of the second half: bool (N,)."""
    names, members = groups.long().unique(return_inverse=True)
    if len(names) < 2:
        raise ValueError("half: all training images are of one group, which cannot be parted")
    classes = int(labels.max()) + 1
    counts = torch.bincount(members * classes + labels, minlength=len(names) * classes).reshape(-1, classes)  # (G, K)
    second, ahead = torch.zeros(len(names), dtype=torch.bool), torch.zeros(classes, dtype=torch.long)
    for group in counts.sum(1).argsort(descending=True, stable=True):
        lead = int((ahead * counts[group]).sum())
        second[group] = lead > 0 or (not lead and int(ahead.sum()) > 0)
        ahead += -counts[group] if second[group] else counts[group]
    return second[members]


def held_out(labels: Tensor, validation: int | None, train: int | None, per_class: int | None) -> Mapping[str, Tensor]:
    """Positions that validate and positions that train.

    Args:
        labels: (N,), int64.
        validation: how many validate, 0 for none; None: 5,000, or a sixth of a small set.
        train: use only so many of the others; None: all.
        per_class: use only so many of each class of the others; None: all. Those of 10 are among those of 30.

    Returns:
        "validation" and "train" -> positions, those that train rising.

    Raises:
        ValueError: for sizes that the set cannot give, without the name of the set; labels stand for classes.
    """
    held = max(1, min(5000, len(labels) // 6)) if validation is None else validation
    available = len(labels) - held
    if held < 0 or available < 1 or (train or 1) > available or (train is not None and train < 1):
        raise ValueError(
            f"{len(labels)} training images cannot give {held} for validation and {train or 'any'} to train"
        )
    order = torch.randperm(len(labels), generator=generator(0, "validation"))
    others = order[held:]
    if per_class is not None:
        others = torch.cat([others[labels[others] == label][:per_class] for label in range(int(labels.max()) + 1)])
    return {"validation": order[:held], "train": others[: train or available].sort().values}
