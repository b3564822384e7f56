"""What a run is, down to the last value: the fields of its spec, defaults included, and the network they stand for.

The name of a run leaves defaults out, so that a field added later leaves old names as they are. A default, a network or
a method that is changed later would leave them too: so all values are written beside a run, and compared when it is
read or goes on (`labkit.runs.folders.RunFolder.agree`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor, nn

from labkit import data, models
from labkit.specs.base import to_dict
from labkit.specs.sparse import SparseSpec
from labkit.specs.tickets import PruneSpec, TicketSpec


def of_level(spec: TicketSpec | SparseSpec, level: int) -> dict[str, Any]:
    """What of a spec determines a run at a level of pruning: a dense network is the same whatever follows.

    Own data are the same wherever their files lie: a digest says what is in them.
    """
    if isinstance(spec, TicketSpec):
        spec = replace(spec, prune=replace(spec.prune, levels=level) if level else PruneSpec())
    values = to_dict(spec)
    if spec.init == spec.kit_init:
        values.pop("init", None)
    if data.is_own(spec.data.name):
        values["data"]["name"] = "own"
    return values


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


def resolved(
    spec: TicketSpec | SparseSpec, level: int, options: Mapping[str, Any], network: Mapping[str, Any]
) -> dict[str, Any]:
    """All values of a run at a level.

    Args:
        spec: of the experiment.
        level: of pruning.
        options: of the model, defaults included.
        network: its `architecture`.
    """
    values = asdict(replace(spec, model_options=dict(options)))
    if isinstance(spec, TicketSpec):
        del values["prune"]["levels"]  # of the experiment, not of the run
        if not level:
            del values["prune"]
    if data.is_own(spec.data.name):
        del values["data"]["name"]
    method = _moves(spec) if isinstance(spec, SparseSpec) else {}
    return plain({"spec": values, **({"method": method} if method else {}), "network": network})


def _moves(spec: SparseSpec) -> dict[str, Any]:
    """How masks move; what a method's title is, or what it costs, plays no part in a run."""
    row = spec.topology.row
    if row.masks != "moving":
        return {}
    found = {"grow": row.grow, "redistribute": row.redistribute, "dense_momentum": row.dense_momentum}
    return found | ({} if row.drop == "magnitude" else {"drop": row.drop})


def plain(values: Any) -> Any:
    """Values as JSON gives them back; what JSON does not know is told by its name or its type."""

    def told(value: Any) -> str:
        return getattr(value, "__qualname__", type(value).__qualname__)

    return json.loads(json.dumps(values, default=told))
