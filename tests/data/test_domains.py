"""Domains: photographs, coarse labels, sets that torchvision reads, and images brought to another size."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from sklearn.datasets import load_sample_image

import labkit as lk
from labkit import data
from labkit.data import downloads, files
from labkit.data.shapes import fit
from labkit.data.superclasses import SUPERCLASSES, coarse


def test_photos_are_patches_of_two_photographs_and_no_two_overlap():
    found = data.arrays("photos")
    assert found.classes == ("china", "flower")
    assert {key: tuple(tensor.shape) for key, tensor in found.tensors.items()} == {
        "train_images": (1536, 3, 16, 16), "train_labels": (1536,), "train_group": (1536,),
        "test_images": (384, 3, 16, 16), "test_labels": (384,),
    }  # fmt: skip
    for label, name in enumerate(("china.jpg", "flower.jpg")):
        photograph = load_sample_image(name)[21:405]  # 6 x 64 of 427 rows, from the middle
        places = {
            photograph[y : y + 16, x : x + 16].transpose(2, 0, 1).tobytes(): (y, x)
            for y in range(0, 384, 16)
            for x in range(0, 640, 16)
        }
        patches = {
            split: [image.numpy().tobytes()
                    for image in found.tensors[f"{split}_images"][found.tensors[f"{split}_labels"] == label]]
            for split in ("train", "test")
        }  # fmt: skip
        assert sorted(patches["train"] + patches["test"]) == sorted(
            photograph[y : y + 16, x : x + 16].transpose(2, 0, 1).tobytes()
            for y in range(0, 384, 16)
            for x in range(0, 640, 16)
        ), "each place once"
        squares = {split: {(y // 64, x // 64) for y, x in map(places.get, some)} for split, some in patches.items()}
        assert len(squares["test"]) == 12, "whole squares of 64 x 64 pixels are for the test"


def test_a_group_of_photos_is_a_square():
    found = data.arrays("photos").tensors
    names, counts = found["train_group"].unique(return_counts=True)
    assert len(names) == 96 and set(counts.tolist()) == {16}
    assert [len(set(found["train_labels"][found["train_group"] == name].tolist())) for name in names] == [1] * 96


def test_coarse_labels_are_those_of_the_classes():
    assert len(SUPERCLASSES) == 20 and list(SUPERCLASSES) == sorted(SUPERCLASSES)
    fine = [name for names in SUPERCLASSES.values() for name in names.split()]
    assert len(fine) == len(set(fine)) == 100
    labels = torch.arange(100)
    images = torch.zeros(100, 3, 4, 4, dtype=torch.uint8)
    arrays = files.Arrays({"train_images": images, "train_labels": labels, "test_images": images[:9],
                           "test_labels": labels[:9]}, tuple(sorted(fine)))  # fmt: skip
    found = coarse(arrays)
    assert torch.bincount(found.tensors["train_labels"]).tolist() == [5] * 20
    assert found.classes[found.tensors["test_labels"][0]] == "fruit_and_vegetables", "apple"
    assert found.classes[found.tensors["test_labels"][8]] == "vehicles_1", "bicycle"
    with pytest.raises(ValueError, match="not those of CIFAR-100: '0' is only in one of them"):
        coarse(files.Arrays(arrays.tensors, tuple(map(str, range(100)))))


def test_coarse_labels_are_those_that_cifar_100_was_published_with(real_data):
    path = real_data / "cifar100.safetensors"
    if not path.exists():
        pytest.skip(f"no cifar100.safetensors in {real_data}")
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        if "fine2coarse" not in file.keys():  # noqa: SIM118
            pytest.skip(f"{path} does not hold the coarse labels")
        published = file.get_tensor("fine2coarse").long()
    fine, found = data.arrays("cifar100"), data.arrays("cifar100_coarse")
    assert list(fine.classes) == sorted(fine.classes)
    for split in ("train", "test"):
        labels = fine.tensors[f"{split}_labels"].long()
        assert torch.equal(found.tensors[f"{split}_labels"].long(), published[labels])
        assert torch.equal(found.tensors[f"{split}_images"], fine.tensors[f"{split}_images"])


def test_svhn_is_read_from_files_of_its_format(tmp_path, monkeypatch):
    from torchvision.datasets import SVHN

    rng, written = np.random.default_rng(0), {}

    def place(loader):
        n = {"train": 50, "test": 20}[loader.split]
        images = rng.integers(0, 256, (32, 32, 3, n)).astype(np.uint8)  # height, width, colour, image
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]  # a zero is written 10
        scipy.io.savemat(Path(loader.root) / loader.filename, {"X": images, "y": labels})
        written[loader.split] = images

    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    monkeypatch.setattr(SVHN, "download", place)
    monkeypatch.setattr(SVHN, "split_list", {name: [*entry[:2], None] for name, entry in SVHN.split_list.items()})
    found = data.arrays("svhn")
    for split, images in written.items():
        n = images.shape[3]
        assert np.array_equal(found.tensors[f"{split}_images"].numpy(), images.transpose(3, 2, 0, 1))
        assert found.tensors[f"{split}_labels"].tolist() == [(k % 10 + 1) % 10 for k in range(n)], "a 10 is the digit 0"
    assert found.classes == tuple("0123456789") and sorted(written) == ["test", "train"]
    assert (tmp_path / "svhn.safetensors").exists()


def test_pcam_is_read_from_files_of_its_format_by_its_centre(tmp_path, monkeypatch):
    from torchvision.datasets import PCAM

    rng, written = np.random.default_rng(0), {}

    def place(loader):
        n = {"train": 25, "test": 8}[loader._split]
        images = rng.integers(0, 256, (n, 96, 96, 3)).astype(np.uint8)
        loader._base_folder.mkdir(exist_ok=True)
        for part, key in (("images", "x"), ("targets", "y")):
            with h5py.File(loader._base_folder / loader._FILES[loader._split][part][0], "w") as file:
                values = images if key == "x" else (np.arange(n) % 2).astype(np.uint8).reshape(n, 1, 1, 1)
                file.create_dataset(key, data=values, compression="gzip")
        written[loader._split] = images

    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    monkeypatch.setattr(PCAM, "_download", place)
    monkeypatch.setattr(downloads, "AT_ONCE", 7)  # several parts, the last of them short
    found = data.arrays("pcam")
    assert found.classes == ("no tumour", "tumour")
    for split, images in written.items():
        centre = images[:, 32:64, 32:64].transpose(0, 3, 1, 2)
        assert np.array_equal(found.tensors[f"{split}_images"].numpy(), centre)
        assert found.tensors[f"{split}_labels"].tolist() == [k % 2 for k in range(len(images))]
    assert data.load("pcam").shape == (3, 32, 32), "and kept"


def test_a_set_without_a_download_says_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no download of it") as caught:
        data.load("colon_nuclei")
    assert str(tmp_path / "colon_nuclei.safetensors") in str(caught.value) and "train_patient" in str(caught.value)


def test_padding_keeps_pixels_and_puts_black_around_them():  # pitfall: another-image
    images = torch.arange(1, 2 * 9 + 1, dtype=torch.uint8).reshape(2, 1, 3, 3)
    found = fit(images, (1, 6, 5), "pad")
    assert found.dtype == torch.uint8 and torch.equal(found[:, :, 1:4, 1:4], images), "the row more is below"
    assert int(found.sum()) == int(images.sum())
    rgb = fit(images, (3, 4, 4), "pad")
    assert rgb.shape == (2, 3, 4, 4) and torch.equal(rgb[:, 0], rgb[:, 2]) and torch.equal(rgb[:, :1, :3, :3], images)
    assert torch.equal(fit(rgb, (1, 4, 4), "pad"), rgb[:, :1]), "grey in colour is that grey"
    with pytest.raises(ValueError, match="resize is 'pad', and images of 3x3 are larger than 2x5: write 'bilinear'"):
        fit(images, (1, 2, 5), "pad")
    with pytest.raises(ValueError, match="unknown resize 'crop': .*There are: bilinear, pad"):
        fit(images, (1, 6, 6), "crop")


@pytest.mark.parametrize("resize", data.RESIZES)
@pytest.mark.parametrize("name", ["digits", "photos"])
@pytest.mark.parametrize("model", ["lenet_300_100", "vgg19"])
def test_a_network_sees_one_size_at_training_and_at_test(name, model, resize):  # pitfall: another-image
    options = {} if model == "lenet_300_100" else {"width": 0.05}
    spec = lk.TicketSpec(model, options, lk.DataSpec(name, resize=resize, validation=20), prune={"levels": 0})
    found = lk.Experiment(spec).data
    wanted = {"lenet_300_100": (1, 28, 28), "vgg19": (3, 32, 32)}[model]
    assert {tuple(images.shape[1:]) for images in found.images.values()} == {wanted}
    again = data.load(name, shape=wanted, resize=resize, validation=20)
    assert found.digest == again.digest, "what was done to images is known by the images"
    for split, images in found.images.items():
        assert torch.equal(images, fit(data.load(name, validation=20).images[split], wanted, resize))


def test_fashion_of_28_pixels_is_padded_to_32_in_both(real_data):  # pitfall: another-image
    found = data.load("mnist", shape=(3, 32, 32), resize="pad", validation=0)
    assert {tuple(images.shape[1:]) for images in found.images.values()} == {(3, 32, 32)}
    for split in ("train", "test"):
        assert torch.equal(
            found.images[split][:50, :1, 2:30, 2:30], data.arrays("mnist").tensors[f"{split}_images"][:50]
        )
        assert int(found.images[split][:, :, :2].max()) == 0


def test_a_shape_of_its_own_is_for_networks_that_take_any():
    spec = lk.TicketSpec("vgg19", {"width": 0.05}, lk.DataSpec("photos", shape=(3, 16, 16)), prune={"levels": 0})
    small, large = lk.Experiment(spec), lk.Experiment(lk.TicketSpec("vgg19", {"width": 0.05}, lk.DataSpec("photos")))
    assert small.data.shape == (3, 16, 16) and large.data.shape == (3, 32, 32)
    first = small.prunable[0]
    assert 4 * small.layers[first].positions == large.layers[first].positions == 1024, "FLOPs are those of the images"
    with pytest.raises(ValueError, match=r"'lenet_300_100' does not take \(1, 8, 8\) images \(it is made for \(1, 28"):
        lk.Experiment(lk.TicketSpec(data=lk.DataSpec(shape=(1, 8, 8))))
