"""What a run is, as plain values: all that determines its trajectory, resolved, and nothing else.

Lengths and moments are in iterations, numbers are floats, data are named by what is in them. A field at its *neutral*
value (the one at which it does nothing: no momentum, no warm-up) is left out, so that a field that is added later
leaves old names as they are; so are fields that nothing uses (the momentum of Adam). Registered names carry a revision
(`labkit.runs.revisions`). What is only written down along the way (evaluations, snapshots) is no part of it.

What names stand for is compared besides, when a run is read (`behaviour`): a network or a method that was changed
without a revision does not return the old numbers.
"""

import json
import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from torch import Tensor, nn

from labkit import models
from labkit.ground.steps import Clock
from labkit.runs.revisions import named
from labkit.specs.networks import TrainSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.specs.tickets import TicketSpec
from labkit.training.mask_updates import Dynamics

NEUTRAL: Mapping[str, Any] = {
    "momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "label_smoothing": 0.0, "augment": "none",
    "precision": "float32",
}  # fmt: skip
NEUTRAL_OPTIONS: Mapping[str, Mapping[str, Any]] = {"resnet50": {"stem": "cifar"}}  # of networks, by name


def recipe(
    spec: TicketSpec | SparseSpec, model: str, options: Mapping[str, Any], data: str, clock: Clock,
    dynamics: Dynamics | None,
) -> dict[str, Any]:  # fmt: skip
    """How a network of a spec trains.

    Args:
        spec: of the experiment.
        model: its name; of own code a digest.
        options: of the model, defaults included.
        data: digest of all that training and evaluation see.
        clock: of the run.
        dynamics: how masks change, if they do.
    """
    neutral = NEUTRAL_OPTIONS.get(model, {})
    used = {name: value for name, value in options.items() if name not in neutral or value != neutral[name]}
    found = {
        "model": named("model", model), "options": used, "data": data[:16],
        "train": _training(spec.train, clock),
    }  # fmt: skip
    if dynamics and dynamics.moments:
        found["topology"] = _topology(dynamics, clock)
    return plain(found)


def _training(spec: TrainSpec, clock: Clock) -> dict[str, Any]:
    drops = sorted(step for step in map(clock.iterations, spec.lr_drops) if step < clock.run)
    warm = clock.iterations(spec.lr_warmup)
    used = {name: getattr(spec, name) for name in NEUTRAL}
    if spec.optimizer == "adam":
        used |= {"momentum": NEUTRAL["momentum"], "nesterov": NEUTRAL["nesterov"]}
    used = {name: value for name, value in used.items() if value != NEUTRAL[name]}
    if "augment" in used:
        used["augment"] = named("augmentation", spec.augment)
    return {
        "iterations": clock.run, "batch_size": spec.batch_size, "lr": float(spec.lr),
        "optimizer": named("optimizer", spec.optimizer), **used,
        **({"lr_drops": drops, "lr_drop_factor": float(spec.lr_drop_factor)} if drops else {}),
        **({"lr_warmup": warm} if warm else {}),
    }  # fmt: skip


def _topology(dynamics: Dynamics, clock: Clock) -> dict[str, Any]:
    spec = dynamics.spec
    name = named("method", spec.method)
    updates = [dynamics.moments[0], clock.iterations(spec.every), len(dynamics.moments)]  # first, distance, number
    if spec.row.masks == "pruned":
        return {"method": name, "density": float(spec.density), "begin": clock.iterations(spec.begin),
                "updates": updates}  # fmt: skip
    found = {"method": name, "rate": float(spec.rate), "until": clock.iterations(spec.until), "updates": updates}
    if not spec.regrow:
        found["regrow"] = False
    if not spec.reset_regrown:  # where places run out, dropped weights come back all the same
        found["reset_regrown"] = False
    return found


def architecture(network: nn.Module, logits: Tensor | None) -> dict[str, Any]:
    """A network as plain values: what is pruned, its tensors, its modules, and what it makes of some examples.

    Args:
        network: of the spec.
        logits: (examples, classes) of a freshly initialised network; None if they may differ from call to call.
    """
    known = {} if logits is None else {"logits": [float(f"{logit:.5g}") for logit in logits.flatten().tolist()]}
    return {
        "prunable": models.prunable(network),
        "tensors": [f"{name} {tuple(tensor.shape)}" for name, tensor in network.state_dict().items()],
        "modules": re.sub(" at 0x[0-9a-f]+", "", repr(network)).splitlines(),
        **known,
    }


def behaviour(spec: TicketSpec | SparseSpec, network: Mapping[str, Any]) -> dict[str, Any]:
    """What the names of a spec stand for: the network (its `architecture`), and how masks move."""
    moves = _moves(spec.topology) if isinstance(spec, SparseSpec) else {}
    return plain({"network": network, **({"method": moves} if moves else {})})


def _moves(spec: TopologySpec) -> dict[str, Any]:
    """How masks move; what a method's title is, or what it costs, plays no part in a run."""
    row = spec.row
    if row.masks != "moving":
        return {}
    found = {"grow": row.grow, "redistribute": row.redistribute, "dense_momentum": row.dense_momentum}
    return found | ({} if row.drop == "magnitude" else {"drop": row.drop})


def difference(recorded: Any, asked: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first value that differs between two records: (name, recorded, asked), or None.

    What only one of them has does not count: it is of another version. Logits may differ by a thousandth of the
    largest, since machines round differently.

    >>> difference({"method": {"grow": "random"}}, {"method": {"grow": "gradient", "new": 1}})
    ('method.grow', 'random', 'gradient')
    """
    if isinstance(recorded, Mapping) and isinstance(asked, Mapping):
        common = [key for key in asked if key in recorded]
        inner = (difference(recorded[key], asked[key], f"{name}.{key}".lstrip(".")) for key in common)
        return next((found for found in inner if found is not None), None)
    if recorded == asked:
        return None
    if isinstance(recorded, list) and isinstance(asked, list):
        pairs = [(old, new) for old, new in zip_longest(recorded, asked) if old != new]
        if name.endswith("network.logits"):
            pairs = [(old, new) for old, new in pairs if abs(old - new) > 1e-3 * max(map(abs, asked))]
        return (name, *pairs[0]) if pairs else None
    return name, recorded, asked


def plain(values: Any) -> Any:
    """Values as JSON gives them back; what JSON does not know is told by its name or its type."""

    def told(value: Any) -> str:
        return getattr(value, "__qualname__", type(value).__qualname__)

    return json.loads(json.dumps(values, default=told))
