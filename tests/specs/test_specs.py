import copy
import inspect
import pickle

import pytest
import yaml

from labkit.specs.base import digest, from_dict, to_dict, to_yaml
from labkit.specs.networks import DataSpec, TrainSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.specs.tickets import PruneSpec, TicketSpec


def test_defaults_do_not_count_so_that_new_fields_leave_old_hashes():
    assert to_dict(TicketSpec()) == {} and digest(to_dict(TicketSpec())) == digest({})
    spec = TicketSpec(data="mnist", prune=PruneSpec(levels=3), train=TrainSpec(lr_drops=("10it",)))
    assert to_dict(spec) == {"data": {"name": "mnist"}, "train": {"lr_drops": ["10it"]}, "prune": {"levels": 3}}
    assert "levels: 3" in to_yaml(spec)


def test_what_data_are_used_is_part_of_a_spec_and_comes_back_from_a_file():
    spec = TicketSpec(data=DataSpec("cifar10", half="a", per_class=30, validation=0, resize="pad", shape=(3, 32, 32)))
    plain = {"name": "cifar10", "validation": 0, "half": "a", "per_class": 30, "resize": "pad", "shape": [3, 32, 32]}
    assert to_dict(spec) == {"data": plain} and from_dict(TicketSpec, to_dict(spec)) == spec
    assert to_dict(DataSpec(half=None, per_class=None, resize="bilinear", shape=None)) == {}, (
        "neutral values leave none"
    )


PROTOCOLS = {  # of ticket transfer: model, options, init, epochs, drops -> iterations and drops on 50,000 images
    "vgg19": ({}, "glorot_normal", 160, (80, 120), 15_625, [7812, 11_719]),
    "resnet50": ({"stem": "imagenet"}, "kaiming_normal", 90, (50, 65, 80), 8789, [4883, 6348, 7812]),
}
OPTIMISERS = {"sgd": {"lr": 0.1, "momentum": 0.9}, "adam": {"lr": 3e-4}}


@pytest.mark.parametrize("optimizer", OPTIMISERS)
@pytest.mark.parametrize("model", PROTOCOLS)
def test_a_spec_can_say_the_protocol_of_ticket_transfer(model, optimizer):
    options, init, epochs, drops, iterations, at = PROTOCOLS[model]
    train = TrainSpec(
        f"{epochs}ep", optimizer, batch_size=512, weight_decay=1e-4, augment="crop_flip",
        lr_drops=[f"{drop}ep" for drop in drops], **OPTIMISERS[optimizer],
    )  # fmt: skip
    data = DataSpec("cifar10", "half", validation=0)
    prune = PruneSpec(scope="global", levels=30, layer_rates={"classifier.weight": 0})
    spec = TicketSpec(model, options, data, train, init, prune, rewind="1ep")
    assert from_dict(TicketSpec, yaml.safe_load(to_yaml(spec))) == spec
    clock = spec.train.clock(50_000)
    assert clock.run == iterations and [clock.iterations(drop) for drop in spec.train.lr_drops] == at
    assert spec.train.lr_drop_factor == 0.1 and clock.iterations(spec.rewind) == 98
    assert round(100 * (1 - (1 - spec.prune.rate) ** spec.prune.levels), 2) == 99.88, "pruned, after 31 points"


def test_round_trip_and_hash_is_of_the_meaning():
    spec = TicketSpec(data=DataSpec("mnist"), train=TrainSpec(lr=1), prune=PruneSpec(output_rate=0.1))
    assert from_dict(TicketSpec, to_dict(spec)) == spec
    assert digest(to_dict(spec)) == digest(
        to_dict(TicketSpec(data="mnist", train={"lr": 1.0}, prune={"output_rate": 0.1}))
    )
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1})


def test_specs_can_be_keys():
    assert len({TicketSpec(), TicketSpec(), TicketSpec(data="mnist"), PruneSpec(), TrainSpec()}) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneSpec(rate=20), r"rate is 20.*if 20 percent is meant, write 0.2"),
        (lambda: PruneSpec(rate=0.0), "rate is 0"),
        (lambda: PruneSpec(output_rate=1.0), "output_rate is 1"),
        (lambda: PruneSpec(levels=2.5), "levels is 2.5"),
        (lambda: PruneSpec(score="magnitud"), "did you mean 'magnitude'"),
        (lambda: PruneSpec(scope="layers"), "did you mean 'layer'"),
        (lambda: TrainSpec(lr="1e-3"), "lr is '1e-3'.*YAML needs 1.0e-3"),
        (lambda: TrainSpec(lr=-1), "lr is -1"),
        (lambda: TrainSpec(duration="500"), "write a number with its unit"),
        (lambda: TrainSpec(duration="0it"), "duration"),
        (lambda: TrainSpec(batch_size=0), "batch_size is 0"),
        (lambda: TrainSpec(momentum=90), "momentum is 90"),
        (
            lambda: TicketSpec(train={"learning_rate": 1}),
            "unknown field of train .TrainSpec. 'learning_rate': did you mean 'lr'",
        ),
        (lambda: TicketSpec(rewind="1"), "rewind is '1'"),
        (lambda: TicketSpec(data=3), "data is 3"),
        (lambda: DataSpec(name=3), "name is 3"),
        (lambda: DataSpec(train=300.0), "train is 300.0"),
        (lambda: DataSpec(validation=-1), "validation is -1"),
        (lambda: DataSpec(half="c"), "unknown half 'c': .*There are: a, b"),
        (lambda: DataSpec(train=300, per_class=30), "train is 300 and per_class is 30: give one of them"),
        (lambda: DataSpec(shape=(2, 8, 8)), r"shape is \(2, 8, 8\): write 1 or 3 channels, height and width"),
        (lambda: TicketSpec(data={"resize": "padding"}), "unknown data.resize 'padding': did you mean 'pad'"),
        (lambda: TrainSpec(lr=float("nan")), "lr is nan"),
        (lambda: TrainSpec(nesterov="no"), "nesterov is 'no'"),
        (lambda: TrainSpec(lr_drops="0.5run"), "lr_drops is '0.5run': write a list, such as"),
        (lambda: PruneSpec(scope="global", output_rate=0.1), 'with scope "global"'),
        (lambda: PruneSpec(layer_rates={"a": 30}), r"layer_rates\['a'\] is 30"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


HASHES = {  # a right spec keeps its hash, and with it its results
    "44136fa355b3678a": TicketSpec(),
    "c7409a002c330212": TicketSpec(
        data="mnist",
        train=TrainSpec(duration="50000it", lr=1.2e-3, batch_size=60, evaluate_every="100it"),
        prune=PruneSpec(rate=0.2, output_rate=0.1, levels=18),
    ),
    "2260267024e0a474": TicketSpec(
        model="vgg19",
        model_options={"width": 0.25},
        data=DataSpec("cifar10", validation=5000),
        train=TrainSpec(
            "112000it", "sgd", lr=0.1, batch_size=64, momentum=0.9, weight_decay=1e-4,
            lr_drops=["56000it", "84000it"], lr_warmup="10000it", augment="crop_flip",
        ),
        prune=PruneSpec(scope="global", output_rate=0.0, levels=5),
        rewind="500it",
    ),
    "d8c8a6c82f0c35a2": TicketSpec(
        model="resnet20",
        prune=PruneSpec(
            score="obd", scope="global", layer_rates={"classifier.weight": 0.0}, levels=10, iterative=False
        ),
    ),
    "0686a70895a6baa8": SparseSpec(  # says its init, which counts; folders leave it out where it is the default
        model="wrn_22_2",
        model_options={"dropout": 0.3},
        data=DataSpec("cifar10", "unit", 0, 40000),
        init="own",
        train=TrainSpec(
            "250ep", "sgd", 0.1, 128, 0.9, True, 5e-4, ("0.3run", "0.6run"), 0.2, "5ep", "reflect_crop_flip", 0.1,
            "tf32", "1ep",
        ),
        topology=TopologySpec("rigl", 0.1, "erk", 0.3, "100it", until="65918it", regrow=False),
    ),
    "27594d0b7103e6f6": SparseSpec(
        train=TrainSpec(optimizer="sgd", momentum=0.9), topology={"method": "snfs", "density": 1, "every": "0.5ep"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("expected", HASHES)
def test_hashes_of_right_specs_do_not_change(expected):
    assert digest(to_dict(HASHES[expected])) == expected


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (TicketSpec, {"rate": 0.2}, r"'rate' is a field of PruneSpec, write prune=PruneSpec\(rate=0.2\)"),
        (SparseSpec, {"rate": 0.2}, r"write topology=TopologySpec\(rate=0.2\)"),
        (TicketSpec, {"batchsize": 60}, r"write train=TrainSpec\(batch_size=60\)"),
        (TicketSpec, {"dat": "mnist"}, "unknown field of TicketSpec 'dat': did you mean 'data'"),
        (PruneSpec, {"layers": 3}, "unknown field of PruneSpec 'layers'"),
    ],
)
def test_a_wrong_keyword_gets_the_right_one_and_where_it_belongs(kind, given, message):
    for make in (lambda: kind(**given), lambda: from_dict(kind, given)):
        with pytest.raises(ValueError, match=message):
            make()


def test_what_editors_show_of_a_spec_is_its_fields_and_defaults():
    shown = str(inspect.signature(PruneSpec))
    assert shown.startswith(
        "(score: str = 'magnitude', scope: str = 'layer', rate: float = 0.2, conv_rate: float | None"
    )


def test_specs_can_be_copied_and_sent():
    spec = TicketSpec(prune={"layer_rates": {"fc1.weight": 0.3}}, train={"lr_drops": ["10it"]})
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec
