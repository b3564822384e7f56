"""Halves of data sets and scarce data: disjoint, stratified, nested, drawn once; test sets stay whole."""

import numpy as np
import pytest
import torch

from labkit import data
from labkit.data import splits


def rows(images):
    """Each image as bytes."""
    return [image.numpy().tobytes() for image in images]


def stripes(counts):
    """Labels with so many images of each class, mixed."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def own(folder, labels, **more):
    """The path of a data set whose training images are all different: image n holds n in its first two bytes."""
    images = np.zeros((len(labels), 1, 4, 4), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(labels)) // 256, np.arange(len(labels)) % 256
    test = np.arange(int(labels.max()) + 1)
    arrays = {"train_images": images, "train_labels": labels.numpy(), "test_images": images[: len(test)],
              "test_labels": test}  # fmt: skip
    np.savez(folder / "own.npz", **arrays, **more)
    return str(folder / "own.npz")


def numbers(images):
    """Which images of `own` these are."""
    return (images[:, 0, 0, 0].long() * 256 + images[:, 0, 0, 1]).tolist()


def test_halves_are_disjoint_stratified_and_together_the_whole():  # pitfall: halves-that-overlap
    labels = stripes([10, 7, 5, 6, 3])
    a, b = (splits.half(labels, which) for which in "ab")
    assert sorted([*a.tolist(), *b.tolist()]) == list(range(31)) and a.tolist() == sorted(a.tolist())
    assert torch.bincount(labels[a]).tolist() == [5, 4, 2, 3, 2], "of odd numbers the image more goes to each in turn"
    assert torch.bincount(labels[b]).tolist() == [5, 3, 3, 3, 1]
    assert torch.equal(splits.half(labels, "a"), a), "drawn once"
    assert a.tolist() != list(range(0, 31, 2)) and not torch.equal(a, torch.arange(16)), "and drawn"
    with pytest.raises(ValueError, match="unknown half 'c': .*There are: a, b"):
        splits.half(labels, "c")


def test_groups_stay_whole_and_halves_are_balanced():  # pitfall: halves-that-overlap
    rng = torch.Generator().manual_seed(1)
    groups = torch.randint(0, 20, (600,), generator=rng)
    labels = (groups + torch.randint(0, 2, (600,), generator=rng)) % 3
    a, b = (splits.half(labels, which, groups) for which in "ab")
    assert not set(groups[a].tolist()) & set(groups[b].tolist()) and len(a) + len(b) == 600
    counts = [torch.bincount(labels[half], minlength=3) for half in (a, b)]
    assert (counts[0] - counts[1]).abs().max() < 30, "of some 200 a class and 30 a group"
    with pytest.raises(ValueError, match="all training images are of one group"):
        splits.half(labels, "a", torch.zeros(600, dtype=torch.uint8))


def test_what_is_drawn_stays_what_it_was():
    drawn = {"5e575c85a451fa7e": {"half": "a"}, "500afba87fa01a52": {"half": "b", "per_class": 10, "validation": 0}}
    for digest, given in drawn.items():
        assert data.load("digits", **given).digest.startswith(digest), "runs of the past are found by it"


def test_groups_by_hand():
    groups = torch.tensor([5] * 4 + [3] * 3 + [9] * 2 + [1])
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 1, 1, 1, 0])
    # 5 goes to a; 3 to b, which has fewer of both classes; a then leads by one of class 0: 9, of class 1 alone, goes to
    # b, which has fewer images, and so does 1, of class 0, as b has fewer of those
    assert splits.half(labels, "a", groups).tolist() == [0, 1, 2, 3]
    assert splits.half(labels, "b", groups).tolist() == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_halves_of_embedded_data_share_no_image_and_all_of_the_test(name):
    whole = data.load(name, validation=0)
    a, b = (data.load(name, validation=0, half=half) for half in "ab")
    assert sorted(rows(whole.images["train"])) == sorted(rows(a.images["train"]) + rows(b.images["train"]))
    assert torch.equal(a.images["test"], whole.images["test"]) and torch.equal(b.images["test"], whole.images["test"])
    assert len({whole.digest, a.digest, b.digest}) == 3, "runs on them have names of their own"
    counts = [torch.bincount(half.labels["train"]) for half in (a, b)]
    assert (counts[0] - counts[1]).abs().max() <= (1 if name == "digits" else 0)


def test_the_validation_set_comes_out_of_the_half():
    a, b = (data.load("digits", half=half, validation=100) for half in "ab")
    assert [a.size(split) for split in ("train", "validation", "test")] == [619, 100, 360]
    used = [rows(found.images[split]) for found in (a, b) for split in ("train", "validation")]
    assert sum(map(len, used)) == 1437 and len(set().union(*used)) > 1420, "a few digits are drawn alike"


@pytest.mark.parametrize("key", ["train_group", "train_patient"])
def test_a_file_may_tell_which_images_belong_together(tmp_path, key):
    patients = np.arange(120) // 10
    labels = stripes([40, 40, 40])
    path = own(tmp_path, labels, **{key: patients.astype(np.uint8)})
    halves = [numbers(data.load(path, half=half, validation=0).images["train"]) for half in "ab"]
    assert sorted(halves[0] + halves[1]) == list(range(120))
    assert not set(patients[halves[0]]) & set(patients[halves[1]])
    assert data.load(path).digest == data.load(own(tmp_path, labels)).digest, "without halves they play no part"
    for wrong in (np.zeros(7, int), np.zeros(120)):
        with pytest.raises(ValueError, match=rf"{key} must be integers of shape \(120,\), one an image"):
            data.load(own(tmp_path, labels, **{key: wrong}))


def test_a_half_that_lacks_a_class_is_named(tmp_path):
    labels = stripes([30, 30, 30])
    path = own(tmp_path, labels, train_group=(labels == 2).numpy())
    with pytest.raises(ValueError, match="own.npz, half 'a': .*none is left to train of class '2'"):
        data.load(path, half="a", validation=0)


@pytest.mark.parametrize("held", [0, None, 60])
@pytest.mark.parametrize("half", [None, "b"])
def test_scarce_data_are_nested_and_equal_by_class(tmp_path, held, half):
    path = own(tmp_path, stripes([200, 300, 150]))
    found = [data.load(path, per_class=n, validation=held, half=half) for n in (3, 10, 30)]
    assert [torch.bincount(one.labels["train"]).tolist() for one in found] == [[3] * 3, [10] * 3, [30] * 3]
    few, more, most = (set(numbers(one.images["train"])) for one in found)
    assert few < more < most, "the 3 are among the 10, the 10 among the 30"
    validating = {tuple(numbers(one.images["validation"])) for one in found}
    assert len(validating) == 1 and not set(*validating) & most


def test_scarce_data_that_a_class_cannot_give_are_refused_by_its_name(tmp_path):
    path = own(tmp_path, stripes([50, 20, 50]), classes=np.array(["ant", "bee", "cat"]))
    assert data.load(path, per_class=20, validation=0).size("train") == 60
    with pytest.raises(ValueError, match="per_class is 21, and class 'bee' has 20 training images$"):
        data.load(path, per_class=21, validation=0)
    with pytest.raises(ValueError, match=r"half 'a': per_class is 11, and class 'bee' has 10 training images$"):
        data.load(path, per_class=11, validation=0, half="a")
    with pytest.raises(ValueError, match=r"per_class is 20, and class 'bee' has 1\d training .* the 40 held out"):
        data.load(path, per_class=20, validation=40)
    with pytest.raises(ValueError, match="train is 30 and per_class is 10: give one of them"):
        data.load(path, per_class=10, train=30)


def test_scarce_data_are_normalised_by_what_is_seen_of_them(tmp_path):
    found = data.load("digits", per_class=5, validation=0)
    inputs, _ = found.inputs("train", slice(None))
    assert inputs.mean().abs() < 1e-5 and abs(inputs.std(correction=0) - 1) < 1e-5


def test_halves_of_cifar_10_are_those_of_the_protocol(real_data):  # pitfall: halves-that-overlap
    if not (real_data / "cifar10.safetensors").exists():
        pytest.skip(f"no cifar10.safetensors in {real_data}")
    a, b = (data.load("cifar10", half=half, validation=0) for half in "ab")
    for half in (a, b):
        assert torch.bincount(half.labels["train"]).tolist() == [2500] * 10 and half.size("test") == 10_000
    assert not set(rows(a.images["train"])) & set(rows(b.images["train"]))


def test_halves_of_nuclei_share_no_patient(real_data):
    if not (real_data / "colon_nuclei.safetensors").exists():
        pytest.skip(f"no colon_nuclei.safetensors in {real_data}")
    halves = [data.load("colon_nuclei", half=half, validation=0) for half in "ab"]
    assert sum(half.size("train") for half in halves) == 7818
    assert halves[0].classes == ("fibroblast", "inflammatory", "epithelial", "others")
    patients = data.arrays("colon_nuclei").tensors["train_group"]
    labels = data.arrays("colon_nuclei").tensors["train_labels"].long()
    kept = [set(patients[splits.half(labels, half, patients)].tolist()) for half in "ab"]
    assert not kept[0] & kept[1] and len(kept[0] | kept[1]) == 48
    counts = [torch.bincount(half.labels["train"]) for half in halves]
    assert ((counts[0] - counts[1]).abs() / counts[0]).max() < 0.1
