"""A run is named by all that determines it, and read again only where every value is what it was."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

import labkit as lk
from labkit import data, models
from labkit.models import lenet
from labkit.runs.experiment import Experiment
from labkit.runs.folder import RunFolder
from labkit.runs.identity import difference
from labkit.runs.own_code import code_digest
from labkit.runs.revisions import REVISIONS
from labkit.sparsity.methods import METHODS
from labkit.specs.networks import TrainSpec
from labkit.studies.sparse_training import sparse_run
from labkit.studies.tickets import ticket_runs
from tests.conftest import finished, small_spec


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A folder with the runs of a search of one level, and of RigL."""
    root = tmp_path_factory.mktemp("runs")
    lk.find_tickets(small_spec(levels=1, duration="20it"), [0], root=root)
    lk.train_sparse(rigl(), [0], root=root)
    return root


@pytest.fixture
def root(computed, tmp_path):
    """A copy of it."""
    return shutil.copytree(computed, tmp_path / "finished")


def rigl(**changes):
    return lk.SparseSpec(train=lk.TrainSpec(duration="20it"), topology=lk.TopologySpec(**{"every": "5it"} | changes))


def search(root, **train):
    return lk.find_tickets(small_spec(levels=1, duration="20it", train=train), [0], root=root)


def names(spec):
    """The hashes of the runs of a spec, seed 0."""
    experiment = Experiment(spec)
    if isinstance(spec, lk.SparseSpec):
        return [sparse_run(experiment, 0).hash]
    return [run.hash for run in ticket_runs(experiment, [0]).values()]


LENGTH = {"train": {"duration": "1ep", "batch_size": 100}}
SGD = {"optimizer": "sgd", "lr": 0.1}
SAME = [  # specs that mean the same training
    ({"train": {"duration": "1ep"}}, {"train": {"duration": "20it"}}),
    ({"train": {"duration": "20it", "lr": 2}}, {"train": {"duration": "20it", "lr": 2.0}}),
    ({"train": {"duration": "20it"}}, {"train": {"duration": "20it", "momentum": 0.5}}),  # of Adam
    ({"train": {"duration": "20it"}}, {"train": {"duration": "20it", "lr_drop_factor": 0.5}}),  # no drops
    ({"train": {"duration": "20it", "lr_drops": ["0.5run"]}}, {"train": {"duration": "20it", "lr_drops": ["10it"]}}),
    (
        {"train": {"duration": "20it", "lr_drops": ["10it", "5it"]}},
        {"train": {"duration": "20it", "lr_drops": ["5it", "10it", "30it"]}},
    ),
    ({"train": {"duration": "20it"}}, {"train": {"duration": "20it", "evaluate_every": "7it"}}),
    ({}, {"model_options": {"activation": "relu", "classes": 10}}),
    ({}, {"init": "glorot_normal"}),
    ({}, {"data": {"validation": 239}}),
    ({"prune": {"levels": 1}}, {"prune": {"levels": 1, "conv_rate": 0.5}}),  # no convolutions
    ({"prune": {"levels": 1}}, {"prune": {"levels": 1, "layer_rates": {"fc1.weight": 0.2}}}),
    ({"prune": {"levels": 1}}, {"prune": {"levels": 1, "iterative": False}}),
    (
        {"model": "conv_2", "model_options": {"width": 1}, "prune": {"levels": 0}},
        {"model": "conv_2", "model_options": {"width": 1.0}, "prune": {"levels": 0}},
    ),
]
OTHER = [
    {"train": {"duration": "21it"}}, {"train": {"lr": 0.01}}, {"train": SGD}, {"train": SGD | {"momentum": 0.9}},
    {"train": SGD | {"momentum": 0.9, "nesterov": True}}, {"train": {"batch_size": 59}},
    {"train": {"weight_decay": 1e-4}}, {"train": {"lr_warmup": "5it"}}, {"train": {"augment": "crop_flip"}},
    {"train": {"label_smoothing": 0.1}}, {"train": {"precision": "bfloat16"}}, {"init": "own"},
    {"model_options": {"activation": "sigmoid"}}, {"data": {"normalisation": "unit"}}, {"data": {"train": 1000}},
    {"rewind": "5it"}, {"prune": {"levels": 1, "rate": 0.3}}, {"prune": {"levels": 1, "score": "random"}},
    {"prune": {"levels": 1, "scope": "global"}}, {"prune": {"levels": 1, "output_rate": 0.1}},
]  # fmt: skip


@pytest.mark.parametrize("pair", SAME)
def test_specs_that_mean_the_same_training_name_the_same_runs(pair):
    one, other = (names(lk.TicketSpec(**{"prune": {"levels": 1}} | fields)) for fields in pair)
    assert one == other


def test_what_changes_the_training_changes_the_name():
    base = {"prune": {"levels": 1}, "train": {"duration": "20it"}}
    found = [names(lk.TicketSpec(**base))[1]]
    for change in OTHER:
        merged = {**base, **change, "train": {**base["train"], **change.get("train", {})}}
        found.append(names(lk.TicketSpec(**merged))[1])
    assert len(set(found)) == len(OTHER) + 1


@pytest.mark.parametrize(
    ("method", "field", "value", "same"),
    [
        ("static", "rate", 0.5, True), ("static", "every", "3it", True), ("rigl", "rate", 0.5, False),
        ("rigl", "every", "4it", False), ("rigl", "regrow", False, False), ("rigl", "begin", "4it", True),
        ("rigl", "reset_regrown", False, False),
        ("rigl", "density", 0.2, False), ("rigl", "allocation", "erk", False), ("gradual", "allocation", "erk", True),
        ("gradual", "rate", 0.5, True), ("gradual", "density", 0.2, False), ("dense", "density", 0.2, True),
    ],
)  # fmt: skip
def test_fields_of_the_topology_count_where_the_method_uses_them(method, field, value, same):
    assert (names(rigl(method=method)) == names(rigl(method=method, **{field: value}))) == same


def test_weights_that_come_back_count_where_they_are_not_to_but_places_run_out():
    """With `regrow=False` dropped weights grow again all the same where nothing else is left."""
    packed = {"density": 0.9, "rate": 0.6, "regrow": False}
    assert names(rigl(**packed)) != names(rigl(**packed, reset_regrown=False))


def test_the_dense_network_of_a_search_and_of_a_table_is_one_run():
    train = lk.TrainSpec(duration="20it")
    dense = lk.SparseSpec(train=train, init="glorot_normal", topology={"method": "dense"})
    assert names(dense) == names(lk.TicketSpec(train=train, prune={"levels": 0}))


def test_names_of_runs_do_not_change_unnoticed():
    """These name what lies in people's folders: a change here means that their runs are computed again."""
    tickets = lk.TicketSpec(train=lk.TrainSpec(duration="20it"), prune=lk.PruneSpec(levels=1))
    assert names(tickets) == ["4bf111a057b90bc2", "cbf86b085d68e22d"]
    assert names(rigl()) == ["db2ff06e72d468ca"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("model", "lenet_300_100"), ("optimizer", "adam"), ("init", "glorot_normal"), ("score", "magnitude")],
)
def test_a_revision_of_a_name_is_another_run(monkeypatch, kind, name):
    spec = lk.TicketSpec(train=lk.TrainSpec(duration="20it"), prune=lk.PruneSpec(levels=1))
    before = names(spec)[1]
    monkeypatch.setitem(REVISIONS, (kind, name), 2)
    assert names(spec)[1] != before


def test_a_changed_default_is_another_run(root, monkeypatch):
    old, before = search(root), finished(root)
    monkeypatch.setattr(TrainSpec.__dataclass_fields__["lr"], "default", 0.01)
    new = lk.find_tickets(
        lk.TicketSpec(train={"duration": "20it", "lr": 0.01}, prune={"levels": 1, "output_rate": 0.1}), [0], root=root
    )
    assert not set(new.runs[0].hashes) & set(old.runs[0].hashes) and finished(root).items() > before.items()


def test_a_changed_default_of_the_network_is_another_run(root, monkeypatch):
    old = search(root)
    monkeypatch.setattr(lenet.LeNet300100.__init__, "__defaults__", ("sigmoid", 10))
    new = search(root)
    assert not set(new.runs[0].hashes) & set(old.runs[0].hashes) and not new.metrics().equals(old.metrics())


def leaky(self, images):
    hidden = nn.functional.leaky_relu(self.fc1(images.flatten(1)), 0.1)
    return self.fc3(self.act(self.fc2(hidden)))


def he_normal(model, rng):
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, generator=rng)


ALL_PRUNABLE = models.prunable
CHANGES = {
    "a module": (lenet.ACTIVATIONS, "relu", nn.GELU, r"network.modules .*ReLU.*GELU"),
    "what forward does": (lenet.LeNet300100, "forward", leaky, r"network.logits"),
    "the initialisation": (models.INITS, "glorot_normal", he_normal, r"network.logits"),
    "what is pruned": (
        models,
        "prunable",
        lambda model: ALL_PRUNABLE(model)[:2],
        "network.prunable .fc3.weight",
    ),
}


@pytest.mark.filterwarnings("ignore:.*will not be pruned")
@pytest.mark.parametrize("change", CHANGES)
def test_a_network_that_was_changed_without_a_revision_does_not_return_the_old_numbers(root, monkeypatch, change):
    where, name, value, message = CHANGES[change]
    (monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr)(where, name, value)
    with pytest.raises(ValueError, match=message + r".*[Mm]ove or delete the folder, or set LABKIT_RUNS"):
        search(root)


def test_a_method_that_was_changed_without_a_revision_does_not_return_the_old_numbers(root, monkeypatch):
    lk.train_sparse(rigl(), [0], root=root)
    monkeypatch.setitem(METHODS, "rigl", METHODS["rigl_sg"])
    with pytest.raises(ValueError, match="with method.redistribute 'none', and it is 'gradient' now"):
        lk.train_sparse(rigl(), [0], root=root)


def test_a_changed_normalisation_is_another_run(monkeypatch):
    before = names(small_spec(data={"normalisation": "unit"}))
    monkeypatch.setitem(data.NORMALISATIONS, "unit", lambda images: (torch.tensor([1 / 256]), torch.tensor([0.0])))
    assert not set(names(small_spec(data={"normalisation": "unit"}))) & set(before)


def test_a_run_that_was_begun_by_what_has_changed_does_not_go_on(root, monkeypatch):
    dense = small_spec(levels=0, duration="20it")
    run = lk.find_tickets(dense, [0], root=root).runs[0].members[0].run
    folder = RunFolder(run, root)
    (folder.path / "run.safetensors").unlink()
    folder.write_checkpoint({"x": torch.ones(1)}, {})
    monkeypatch.setitem(lenet.ACTIVATIONS, "relu", nn.GELU)
    with pytest.raises(ValueError, match=r"begun with network.modules .*ReLU"):
        lk.find_tickets(dense, [0], root=root)


def test_all_values_are_recorded_with_a_run(root):
    found = search(root)
    spec = found.ticket(0, 1).about["spec"]
    assert spec["model_options"] == {"activation": "relu", "classes": 10} and spec["train"]["lr"] == 1.2e-3
    asked = small_spec(levels=1, duration="20it", model_options=spec["model_options"], init="glorot_normal")
    assert asked == lk.TicketSpec(**spec)
    recipe = found.runs[1].members[0].run.identity["recipe"]
    assert recipe["options"] == {"activation": "relu", "classes": 10} and recipe["train"]["lr"] == 1.2e-3


def test_an_option_that_a_network_was_given_later_is_left_out_at_its_neutral_value():
    def options(**given):
        spec = lk.TicketSpec("resnet50", {"width": 0.0625, **given}, prune={"levels": 0}, train={"duration": "20it"})
        return lk.Experiment(spec).recipe["options"]

    assert options() == options(stem="cifar") == {"width": 0.0625, "classes": 10, "zero_last_norm": False}
    assert options(stem="imagenet") == {**options(), "stem": "imagenet"}


def test_which_data_are_used_is_part_of_a_run_and_neutral_values_are_not():
    plain = names(small_spec(levels=0))
    assert names(small_spec(levels=0, data=lk.DataSpec(resize="bilinear", half=None, shape=(1, 28, 28)))) == plain
    others = [lk.DataSpec(half="a"), lk.DataSpec(half="b"), lk.DataSpec(per_class=30), lk.DataSpec(resize="pad"),
              lk.DataSpec(validation=0)]  # fmt: skip
    assert len({*plain, *(name for data in others for name in names(small_spec(levels=0, data=data)))}) == 6


def test_own_code_that_has_no_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="that a module file holds by that name"):
        code_digest(lambda: None)
    assert code_digest(lk.find_tickets) == code_digest(lk.find_tickets) != code_digest(lk.branch)


def test_more_levels_have_the_same_first_runs():
    short, long = small_spec(levels=1), replace(small_spec(), prune=lk.PruneSpec(output_rate=0.1, levels=3))
    assert names(long)[:2] == names(short)


def test_logits_are_compared_as_measured_numbers_and_nothing_else_is():
    def record(value, name="logits"):
        return {"network": {name: [4.0, value, float(1)]}}

    assert difference(record(0.5), record(0.503)) is None, "machines round differently"
    assert difference(record(0.5), record(0.505)) == ("network.logits", 0.5, 0.505)
    assert difference(record(0.5, "rates"), record(0.503, "rates")) == ("network.rates", 0.5, 0.503)
    assert difference({"network": {"tensors": ["a"]}}, {"network": {"tensors": ["a", "b"]}}) == (
        "network.tensors", None, "b",
    )  # fmt: skip
    assert difference({"old": 1}, {"new": 2}) is None, "a field of another version does not count"
