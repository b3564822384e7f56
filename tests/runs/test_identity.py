"""A run is read again only where every value is what it was: defaults, the network and methods included."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

import labkit as lk
from labkit import data, models
from labkit.models import lenet
from labkit.runs.experiment import Experiment
from labkit.runs.folders import RunFolder, difference
from labkit.sparsity.methods import METHODS
from labkit.specs.networks import TrainSpec
from tests.conftest import small_spec


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the runs of a search of one level, and of RigL."""
    root = tmp_path_factory.mktemp("runs")
    lk.find_tickets(small_spec(levels=1, duration="20it"), [0], root=root)
    lk.train_sparse(rigl(), [0], root=root)
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "finished")


def rigl():
    return lk.SparseSpec(train=lk.TrainSpec(duration="20it"), topology=lk.TopologySpec(every="5it"))


def search(root, **train):
    return lk.find_tickets(small_spec(levels=1, duration="20it", train=train), [0], root=root)


def forget(root):
    """Leave in the folders what older versions wrote there."""
    for path in root.glob("*/resolved.json"):
        path.unlink()


def change_default(monkeypatch, name, value):
    """A field of `TrainSpec` has another default: a spec at that value leaves it out of its hash."""
    monkeypatch.setattr(TrainSpec.__dataclass_fields__[name], "default", value)
    return {name: value}


def test_a_changed_default_does_not_return_the_old_numbers(root, tmp_path, monkeypatch):
    old = search(root)
    train = change_default(monkeypatch, "lr", 0.01)
    message = r"computed with train.lr 0.0012, and 0.01 is asked for.*[Mm]ove or delete the folder, or set LABKIT_RUNS"
    with pytest.raises(ValueError, match=message) as caught:
        search(root, **train)
    assert str(old.runs[0].folder.path) in str(caught.value) and old.runs[0].folder.done(), "nothing is lost"
    new = search(tmp_path / "other", **train)
    assert new.runs[0].folder.hash == old.runs[0].folder.hash and not new.metrics().equals(old.metrics())


def test_a_changed_default_of_the_network_does_not_return_the_old_numbers(root, tmp_path, monkeypatch):
    old = search(root)
    monkeypatch.setattr(lenet.LeNet300100.__init__, "__defaults__", ("sigmoid", 10))
    with pytest.raises(ValueError, match="with model_options.activation 'relu', and 'sigmoid' is asked for"):
        search(root)
    new = search(tmp_path / "other")
    assert new.runs[0].folder.hash == old.runs[0].folder.hash and not new.metrics().equals(old.metrics())


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
def test_a_changed_network_does_not_return_the_old_numbers(root, monkeypatch, change):
    where, name, value, message = CHANGES[change]
    (monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr)(where, name, value)
    with pytest.raises(ValueError, match=message):
        search(root)


def test_a_changed_method_does_not_return_the_old_numbers(root, monkeypatch):
    lk.train_sparse(rigl(), [0], root=root)
    monkeypatch.setitem(METHODS, "rigl", METHODS["rigl_sg"])
    with pytest.raises(ValueError, match="with method.redistribute 'none', and 'gradient' is asked for"):
        lk.train_sparse(rigl(), [0], root=root)


def test_a_changed_normalisation_is_another_run(root, monkeypatch):
    def name():
        spec = small_spec(data={"normalisation": "unit"})
        return Experiment(spec, root).folder(0, "ticket", [0]).hash

    before = name()
    monkeypatch.setitem(data.NORMALISATIONS, "unit", lambda images: (torch.tensor([1 / 256]), torch.tensor([0.0])))
    assert name() != before


def test_a_run_with_the_masks_of_another_is_compared_with_that_too(root):
    experiment = Experiment(rigl(), root)

    def folder(lr):
        source = RunFolder({"a": 1}, root, {"spec": {"train": {"lr": lr}}})
        return experiment.folder(0, "static, final masks of a", [0], source=source)

    with folder(0.1).lock():
        folder(0.1).finish([], {})
    with pytest.raises(ValueError, match="source.spec.train.lr 0.1, and 0.2"):
        folder(0.2).agree()


def test_runs_of_older_versions_are_read_and_their_specs_compared(root, tmp_path, monkeypatch):
    old = search(root).metrics()
    forget(root)
    assert search(root).metrics().equals(old), "what they recorded agrees"
    more = replace(small_spec(duration="20it"), prune=lk.PruneSpec(output_rate=0.1, levels=2))
    assert lk.find_tickets(more, [0], root=root).levels == [0, 1, 2], "a longer search has the same first levels"
    with pytest.raises(ValueError, match="with train.lr 0.0012, and 0.01 is asked for"):
        search(root, **change_default(monkeypatch, "lr", 0.01))


def test_all_values_are_recorded_with_a_run(root):
    spec = search(root).ticket(0, 1).about["spec"]
    assert spec["model_options"] == {"activation": "relu", "classes": 10} and spec["train"]["lr"] == 1.2e-3
    asked = small_spec(levels=1, duration="20it", model_options=spec["model_options"], init="glorot_normal")
    assert asked == lk.TicketSpec(**spec)


def test_a_run_that_was_begun_goes_on_only_with_its_own_values():
    begun = RunFolder({"a": 1}, resolved={"spec": {"lr": 0.1}})
    other = RunFolder({"a": 1}, resolved={"spec": {"lr": 0.2}})
    with begun.lock():
        pass
    with other.lock():  # nothing was computed yet
        other.write_tensors("checkpoint", {"x": torch.ones(1)})
    other.agree()
    for ask in (begun.agree, begun.lock().__enter__):
        with pytest.raises(ValueError, match="with lr 0.2, and 0.1 is asked for"):
            ask()
    (begun.path / "resolved.json").unlink()
    with pytest.warns(UserWarning, match="begun by a version that did not record all values"), begun.lock():
        pass


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
