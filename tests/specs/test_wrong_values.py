"""Every field of every spec, given some thirty values: a wrong one is refused at once by name, a right one is taken."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import labkit as lk
from labkit import data, models
from labkit.runs.networks import Labelled
from labkit.specs import base, networks, sparse, tickets
from labkit.studies import metrics, tuning
from labkit.studies.branches import Runs

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
    "DataSpec.half": {"None"},
    "DataSpec.per_class": {"None", "30", "int64"},
    "DataSpec.shape": {"None"},
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


def kinds(root=base.Spec):
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


KINDS = sorted((k for k in kinds() if k.__module__.startswith("labkit.specs.")), key=lambda kind: kind.__name__)
FIELDS = [(kind, entry.name) for kind in KINDS for entry in fields(kind)]


def right(kind, name):
    """What is right for a field, wherever it was inherited from."""
    return set().union(*(RIGHT.get(f"{base.__name__}.{name}", ()) for base in kind.__mro__))


def test_all_specs_are_here():
    wanted = {networks.DataSpec, networks.TrainSpec, networks.NetworkSpec, tickets.PruneSpec, tickets.TicketSpec,
              sparse.TopologySpec, sparse.SparseSpec}  # fmt: skip
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


INNER = [(whole, entry.name) for whole in KINDS for entry in fields(whole) if isinstance(entry.default, base.Spec)]


@pytest.mark.parametrize(("whole", "part"), INNER, ids=[f"{whole.__name__}.{part}" for whole, part in INNER])
def test_a_wrong_value_in_a_file_is_refused_with_its_path(whole, part):
    for entry in fields(getattr(whole(), part)):
        with pytest.raises(ValueError, match=rf"\b{part}\.{entry.name}\b"):
            base.from_dict(whole, {part: {entry.name: object()}})
    for wrong in ([], {1: 2}, {"a": 1}, 3):
        with pytest.raises(ValueError, match=rf"\b{part}\b"):
            base.from_dict(whole, {part: wrong})


def test_a_field_without_a_check_is_found():
    @dataclass(frozen=True)
    class Loose(base.Spec):
        size: int = 3

    assert fault(Loose, "size", "'abc'").startswith("'abc': KeyError")


def test_numpy_numbers_give_the_hash_of_plain_ones():
    plain = networks.TrainSpec(lr=0.1, batch_size=60, optimizer="sgd", nesterov=False)
    scalars = networks.TrainSpec(
        lr=np.float64(0.1), batch_size=np.int64(60), optimizer=np.str_("sgd"), nesterov=np.bool_(False)
    )
    assert scalars == plain and base.to_yaml(scalars) == base.to_yaml(plain)
    assert type(scalars.optimizer) is str and type(scalars.batch_size) is int
    network = networks.NetworkSpec(model_options={"width": np.float64(0.5)})
    assert base.digest(base.to_dict(network)) == base.digest({"model_options": {"width": 0.5}})


def trunk(*levels):
    """Tickets at levels, as far as one looks at them before anything is trained."""
    members = {level: [Labelled(SimpleNamespace(seed=0), "ticket", level)] for level in levels}
    return Runs("ticket", {level: SimpleNamespace(members=found) for level, found in members.items()}, None, {})


TRUNK = trunk(0, 1)
TEXTS = {"'false'", "'0.1'", "'abc'", "'9...9it'"}
COUNTS, SHARES, ABOVE = {"30", "int64"}, {"float64", "0"}, {"30", "float64", "int64"}
MODELS = {
    "conv_2": {"classes": COUNTS, "width": ABOVE, "dropout": SHARES},
    "lenet_300_100": {"classes": COUNTS, "activation": set()},
    "resnet20": {"classes": COUNTS, "width": ABOVE},
    "resnet50": {"classes": COUNTS, "width": ABOVE, "zero_last_norm": SWITCH, "stem": set()},
    "vgg19": {"classes": COUNTS, "width": ABOVE},
    "wrn_22_2": {"classes": COUNTS, "width": ABOVE, "dropout": SHARES},
}
ARGUMENTS = {  # argument of a call -> the call, and what is right
    "find_tickets(spec)": (lambda v: lk.find_tickets(v, [0]), set()),
    "find_tickets(seeds)": (lambda v: lk.find_tickets(lk.TicketSpec(), v), {"[1]"}),
    "find_tickets(root)": (lambda v: lk.find_tickets(lk.TicketSpec(prune={"levels": 0}), [0], root=v),
                           {"None", "path", *TEXTS}),
    "branch(trunk)": (lambda v: lk.branch(v, "random_reinit"), set()),
    "branch(branch)": (lambda v: lk.branch(TRUNK, v), {"function"}),
    "branch(levels)": (lambda v: lk.branch(TRUNK, "random_reinit", levels=v), {"None", "[1]"}),
    "branch(per_seed)": (lambda v: lk.branch(TRUNK, "random_reinit", per_seed=v), COUNTS),
    "train_sparse(spec)": (lambda v: lk.train_sparse(v, [0]), set()),
    "train_sparse(seeds)": (lambda v: lk.train_sparse(lk.SparseSpec(), v), {"[1]"}),
    "train_sparse(masks_of)": (lambda v: lk.train_sparse(lk.SparseSpec(), [0], masks_of=v), {"None"}),
    "longer(times)": (lambda v: lk.longer(lk.SparseSpec(), v), ABOVE),
    "small_dense(density)": (lambda v: lk.small_dense(lk.SparseSpec("conv_2"), v), {"float64"}),
    "tune(trials)": (lambda v: tuning.tune(lk.SparseSpec(), [0], trials=v), COUNTS),
    "tune(seed)": (lambda v: tuning.tune(lk.SparseSpec(), [0], seed=v), COUNTS | {"0", "2**63"}),
    "tune(seeds)": (lambda v: tuning.tune(lk.SparseSpec(), v), {"[1]"}),
    "tune(space)": (lambda v: tuning.tune(lk.SparseSpec(), [0], space=v), {"None"}),
    "tune(root)": (lambda v: tuning.tune(lk.SparseSpec(), [0], root=v), {"None", "path", *TEXTS}),
    "Space(rate)": (lambda v: tuning.Space(rate=v), set()),
    "Space(every)": (lambda v: tuning.Space(every=v), set()),
    "at_fractions(fractions)": (lambda v: metrics.at_fractions(EVALUATIONS, v), {"[]", "empty array", "[1]",
                                                                                "array of one"}),
    "load(name)": (data.load, TEXTS),  # of names, it says which there are
    "load(normalisation)": (lambda v: data.load("digits", normalisation=v), set()),
    "load(shape)": (lambda v: data.load("digits", shape=v), {"None"}),
    "load(validation)": (lambda v: data.load("digits", validation=v), {"None", "0"} | COUNTS),
    "load(train)": (lambda v: data.load("digits", train=v), {"None"} | COUNTS),
    "load(half)": (lambda v: data.load("digits", half=v), {"None"}),
    "load(per_class)": (lambda v: data.load("digits", per_class=v), {"None"} | COUNTS),
    "load(resize)": (lambda v: data.load("digits", resize=v), set()),
} | {
    f"{model}({option})": (lambda v, m=model, o=option: models.build(m, {**({"width": 0.02} if "width" in MODELS[m]
                                                                           else {}), o: v}), allowed)
    for model, options in MODELS.items()
    for option, allowed in options.items()
}  # fmt: skip
EVALUATIONS = pd.DataFrame(
    {"branch": "ticket", "level": 0, "seed": 0, "copy": 0, "iteration": [0, 10], "validation_loss": [2.0, 1.0],
     "test_accuracy": [0.1, 0.9], "percent_remaining": 100.0, "diverged": False}
)  # fmt: skip


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_wrong_argument_is_refused_by_name(argument, runs):
    call, allowed = ARGUMENTS[argument]
    name, passed = argument.partition("(")[2].rstrip(")"), []
    for value in set(VALUES) - set(allowed):
        try:
            call(VALUES[value])
            passed.append(value)
        except ValueError as error:
            if not re.search(rf"\b{name}\b", str(error)):
                passed.append(f"{value}: {error}")
        except Exception as error:
            passed.append(f"{value}: {type(error).__name__} {error}")
    assert not passed and not runs.exists()


def test_a_search_that_has_no_level_says_so():
    with pytest.raises(ValueError, match=r"prune.levels is None: say how many rounds"):
        lk.find_tickets(lk.TicketSpec(), [0])
    with pytest.raises(ValueError, match=r"levels is \[\]: give at least one"):
        lk.branch(trunk(0), "random_reinit")
