"""Every field of every spec, given some thirty values: a wrong one is refused at once by name, a right one is taken."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from labkit import sparse_specs, specs, ticket_specs

VALUES = {
    "None": None,
    "True": True,
    "'false'": "false",
    "'0.1'": "0.1",
    "'abc'": "abc",
    "''": "",
    "30": 30,
    "-1": -1,
    "0": 0,
    "1e308": 1e308,
    "nan": float("nan"),
    "inf": float("inf"),
    "2**63": 2**63,
    "10**30": 10**30,
    "10**5000": 10**5000,  # has no repr
    "[]": [],
    "{}": {},
    "[1]": [1],
    "{'a': 1}": {"a": 1},
    "{1: 'a'}": {1: "a"},
    "object": object(),
    "float64": np.float64(0.1),
    "int64": np.int64(60),
    "bool_": np.bool_(True),
    "array of one": np.array([0.1]),
    "empty array": np.array([]),
    "array without dimensions": np.array(3),
    "tensor": torch.tensor(3),
    "bytes": b"abc",
    "set": {1},
    "path": Path("abc"),
    "function": len,
    "'9...9it'": "9" * 400 + "it",
}

SHARE, NUMBER, SWITCH = {"float64"}, {"30", "float64", "int64"}, {"True", "bool_"}
RIGHT = {  # all others are wrong
    "DataSpec.name": {"'0.1'"},  # has a suffix: a file
    "DataSpec.validation": {"None", "30", "0", "int64"},
    "DataSpec.train": {"None", "30", "int64"},
    "TrainSpec.lr": NUMBER,
    "TrainSpec.batch_size": {"30", "int64"},
    "TrainSpec.momentum": SHARE | {"0"},
    "TrainSpec.nesterov": SWITCH,
    "TrainSpec.weight_decay": NUMBER | {"0"},
    "TrainSpec.lr_drops": {"[]", "empty array"},
    "TrainSpec.lr_drop_factor": NUMBER,
    "TrainSpec.label_smoothing": SHARE | {"0"},
    "NetworkSpec.model_options": {"{}", "{'a': 1}"},
    "NetworkSpec.data": {"{}", "'0.1'"},
    "NetworkSpec.train": {"{}"},
    "PruneSpec.rate": SHARE,
    "PruneSpec.conv_rate": SHARE | {"None", "0"},
    "PruneSpec.output_rate": SHARE | {"None", "0"},
    "PruneSpec.layer_rates": {"{}"},
    "PruneSpec.levels": {"None", "30", "0", "int64"},
    "PruneSpec.iterative": SWITCH,
    "TicketSpec.prune": {"{}"},
    "TopologySpec.density": SHARE,
    "TopologySpec.rate": SHARE,
    "TopologySpec.regrow": SWITCH,
    "TopologySpec.reset_regrown": SWITCH,
    "SparseSpec.topology": {"{}"},
}


def kinds(root=specs.Spec):
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


KINDS = sorted((k for k in kinds() if k.__module__.startswith("labkit.")), key=lambda kind: kind.__name__)
FIELDS = [(kind, entry.name) for kind in KINDS for entry in fields(kind)]


def right(kind, name):
    """What is right for a field, wherever it was inherited from."""
    return set().union(*(RIGHT.get(f"{base.__name__}.{name}", ()) for base in kind.__mro__))


def test_all_specs_are_here():
    wanted = {specs.DataSpec, specs.TrainSpec, specs.NetworkSpec, ticket_specs.PruneSpec, ticket_specs.TicketSpec,
              sparse_specs.TopologySpec, sparse_specs.SparseSpec}  # fmt: skip
    assert wanted <= set(KINDS)
    named = {f"{kind.__name__}.{name}" for kind, name in FIELDS}
    assert set(RIGHT) <= named and set().union(*RIGHT.values()) <= set(VALUES)


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=[f"{kind.__name__}.{name}" for kind, name in FIELDS])
@pytest.mark.parametrize("value", VALUES)
def test_a_wrong_value_is_refused_by_name_when_a_spec_is_made(kind, name, value):
    if value in right(kind, name):
        assert type(getattr(kind(**{name: VALUES[value]}), name)).__module__ not in ("numpy", "torch")
        return
    with pytest.raises(ValueError, match=rf"\b{name}\b") as caught:
        kind(**{name: VALUES[value]})
    assert len(str(caught.value)) < 500
