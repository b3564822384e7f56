"""Every field of every spec, given some thirty values: a wrong one is refused at once by name, a right one is taken."""

import re
from dataclasses import dataclass, fields
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


def fault(kind, name, value):
    """What is not as it should be when a field is given a value; "" if all is."""
    try:
        given = getattr(kind(**{name: VALUES[value]}), name)
    except ValueError as error:
        if value in right(kind, name):
            return f"{value} is right, and refused: {error}"
        told = re.search(rf"\b{name}\b", str(error)) and len(str(error)) < 500
        return "" if told else f"{value}: does not say the field, or too much: {error}"
    except Exception as error:
        return f"{value}: {type(error).__name__} {error}"
    if value not in right(kind, name):
        return f"{value} is wrong, and taken"
    return f"{value} is not made plain" if type(given).__module__ in ("numpy", "torch") else ""


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=[f"{kind.__name__}.{name}" for kind, name in FIELDS])
def test_a_wrong_value_is_refused_by_name_when_a_spec_is_made(kind, name):
    assert not [found for value in VALUES if (found := fault(kind, name, value))]


INNER = [(whole, entry.name) for whole in KINDS for entry in fields(whole) if isinstance(entry.default, specs.Spec)]


@pytest.mark.parametrize(("whole", "part"), INNER, ids=[f"{whole.__name__}.{part}" for whole, part in INNER])
def test_a_wrong_value_in_a_file_is_refused_with_its_path(whole, part):
    for entry in fields(getattr(whole(), part)):
        with pytest.raises(ValueError, match=rf"\b{part}\.{entry.name}\b"):
            specs.from_dict(whole, {part: {entry.name: object()}})
    for wrong in ([], {1: 2}, {"a": 1}, 3):
        with pytest.raises(ValueError, match=rf"\b{part}\b"):
            specs.from_dict(whole, {part: wrong})


def test_a_field_without_a_check_is_found():
    @dataclass(frozen=True)
    class Loose(specs.Spec):
        size: int = 3

    assert fault(Loose, "size", "'abc'").startswith("'abc': KeyError")


def test_numpy_numbers_give_the_hash_of_plain_ones():
    plain = specs.TrainSpec(lr=0.1, batch_size=60, optimizer="sgd", nesterov=False)
    scalars = specs.TrainSpec(
        lr=np.float64(0.1), batch_size=np.int64(60), optimizer=np.str_("sgd"), nesterov=np.bool_(False)
    )
    assert scalars == plain and specs.to_yaml(scalars) == specs.to_yaml(plain)
    assert type(scalars.optimizer) is str and type(scalars.batch_size) is int
    network = specs.NetworkSpec(model_options={"width": np.float64(0.5)})
    assert specs.digest(specs.to_dict(network)) == specs.digest({"model_options": {"width": 0.5}})
