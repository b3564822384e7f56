"""Where a ticket was found, if that was on another task than the one that it is of: as its provenance says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from labkit.data import is_own
from labkit.specs.networks import DataSpec

if TYPE_CHECKING:
    from labkit.runs.run import Run

SOURCE = "source"  # its name in a ticket's provenance


def origin(run: Run) -> dict[str, Any] | None:
    """The dense network of another experiment that weights or mask of a run come from, as plain values.

    Returns:
        model, data (name, half, per_class) and run (its hash); None if all is of the run's own experiment.
    """
    waiting, seen = [run], {run.hash}
    while waiting:
        one = waiting.pop()
        if one.experiment.spec != run.experiment.spec and not one.needs:
            spec = one.experiment.spec
            data = {"name": spec.data.name, "half": spec.data.half, "per_class": spec.data.per_class}
            return {"model": spec.model, "data": data, "run": one.hash}
        found = {other.hash: other for other, _ in one.needs if other.hash not in seen}
        seen |= set(found)
        waiting += found.values()
    return None


def told(about: Mapping[str, Any]) -> str | None:
    """What provenance says of where a ticket was found, in a line; None if it says nothing.

    >>> told({"source": {"model": "conv_2", "data": {"name": "cifar10", "half": "a"}, "run": "33088f2bab4355fa"}})
    'conv_2 on cifar10, half a (run 33088f2bab4355fa)'
    """
    said = about.get(SOURCE)
    if not isinstance(said, Mapping):
        return None
    data = said.get("data")
    return f"{said.get('model')} on {data_told(data if isinstance(data, Mapping) else {})} (run {said.get('run')})"


def data_told(data: Mapping[str, Any]) -> str:
    """Data in words: name, half, and how many images a class.

    >>> data_told({"name": "svhn", "half": None, "per_class": 10})
    'svhn, 10 images a class'
    """
    half, scarce = data.get("half"), data.get("per_class")
    found = [str(data.get("name"))]
    found += [f"half {half}"] if half is not None else []
    found += [f"{scarce} images a class"] if scarce is not None else []
    return ", ".join(found)


def data_called(spec: DataSpec) -> str:
    """What some data is called, for people who look through runs; of a path its last part alone.

    >>> data_called(DataSpec("cifar10", half="a")), data_called(DataSpec("./mine/leaves.npz"))
    ('cifar10, half a', 'leaves.npz')
    """
    return data_told(asdict(spec) | ({"name": PurePath(spec.name).name} if is_own(spec.name) else {}))
