from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from labkit import data
from labkit.data import files
from labkit.data.dataset import BatchOrder
from labkit.data.folders import write_folder
from labkit.data.preparation import pixel_statistics
from labkit.data.shapes import fit
from labkit.ground.randomness import generator


def arrays(train=60, test=12, shape=(1, 8, 8), classes=3):
    rng = torch.Generator().manual_seed(0)

    def images(n):
        return torch.randint(0, 256, (n, *shape), generator=rng, dtype=torch.uint8)

    def labels(n):
        return torch.randint(0, classes, (n,), generator=rng)

    return {
        "train_images": images(train),
        "train_labels": labels(train),
        "test_images": images(test),
        "test_labels": labels(test),
    }


def test_digits_are_real_fixed_and_resized(digits):
    assert [digits.size(split) for split in ("train", "validation", "test")] == [1198, 239, 360]
    assert digits.images["train"].shape[1:] == (1, 28, 28) and digits.images["train"].dtype == torch.uint8
    assert digits.digest == data.load("digits", shape=(1, 28, 28)).digest
    assert data.load("digits").digest.startswith("e8107ee6eb7fca70"), "runs of the past are found by it"
    rows = {bytes(image.numpy().tobytes()) for split in digits.images.values() for image in split}
    assert len(rows) > 1780, "the splits share no examples (a few digits are drawn alike)"


def test_normalisations(digits):
    inputs, _ = digits.inputs("train", slice(None))
    whole = torch.cat([inputs, digits.inputs("validation", slice(None))[0]])
    assert whole.mean().abs() < 1e-3 and abs(whole.std() - 1) < 1e-3
    expected = {"unit": (0, 1), "half": (-1, 1), "lecun": (-0.1, 1.175), "none": (0, 255)}
    for name, (low, high) in expected.items():
        inputs, _ = data.load("digits", normalisation=name).inputs("train", slice(None))
        assert inputs.min() == pytest.approx(low, abs=1e-6) and inputs.max() == pytest.approx(high, abs=1e-5)
    with pytest.raises(ValueError, match=r"unknown normalisation 'datset': did you mean 'dataset'"):
        data.load("digits", normalisation="datset")


def test_pixel_statistics_agree_with_torch():
    images = arrays(shape=(3, 8, 8))["train_images"]
    mean, std = pixel_statistics(images)
    scaled = images.double().div(255).permute(1, 0, 2, 3).reshape(3, -1)
    assert torch.allclose(mean.double(), scaled.mean(1)) and torch.allclose(std.double(), scaled.std(1, correction=0))


def test_mnist_has_its_published_statistics_and_split(real_data):
    mnist = data.load("mnist")
    assert [mnist.size(split) for split in ("train", "validation", "test")] == [55_000, 5_000, 10_000]
    mean, std = -mnist.shift / mnist.scale / 255, 1 / mnist.scale / 255
    assert float(mean) == pytest.approx(0.1307, abs=5e-5) and float(std) == pytest.approx(0.3081, abs=5e-5)


def test_an_epoch_sees_every_example_once_and_drops_none():  # pitfalls: half-a-rewind, short-last-batch
    order = BatchOrder(size=100, batch=30, seed=1)
    stream = torch.cat([order[step] for step in range(10)])
    for epoch in range(3):
        assert sorted(stream[100 * epoch : 100 * (epoch + 1)].tolist()) == list(range(100))
    assert not torch.equal(stream[:100], stream[100:200])
    again = BatchOrder(size=100, batch=30, seed=1)
    assert torch.equal(again[7], order[7]), "any step without the ones before"
    assert not torch.equal(BatchOrder(100, 30, seed=2)[0], order[0])
    assert len(BatchOrder(size=20, batch=50, seed=0)[3]) == 50


def test_own_npz_safetensors_and_folder_agree(tmp_path):
    found = arrays(shape=(3, 8, 8))
    np.savez(tmp_path / "own.npz", **{key: value.numpy() for key, value in found.items()})
    files.write(tmp_path / "own.safetensors", files.Arrays(found, ("0", "1", "2")))
    for split in ("train", "test"):
        for n, (image, label) in enumerate(zip(found[f"{split}_images"], found[f"{split}_labels"], strict=True)):
            folder = tmp_path / "own" / split / str(int(label))
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{n:03}.png")
    sets = [data.load(str(tmp_path / name)) for name in ("own.npz", "own.safetensors", "own")]
    assert sets[0].digest == sets[1].digest
    assert sets[2].images["test"].shape == (12, 3, 8, 8) and sets[2].classes == ("0", "1", "2")
    ones = [sorted(bytes(image.numpy().tobytes()) for image in found.images["test"]) for found in sets]
    assert ones[0] == ones[2]


def test_grey_becomes_rgb_and_back():  # pitfall: another-image
    grey = arrays()["train_images"]
    rgb = fit(grey, (3, 8, 8))
    assert rgb.shape == (60, 3, 8, 8) and torch.equal(fit(rgb, (1, 8, 8)), grey)
    assert fit(grey, (1, 28, 28)).shape == (60, 1, 28, 28)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": torch.zeros(60, 1, 8, 8)}, "train_images is torch.float32; it must be uint8"),
        ({"train_labels": torch.zeros(59, dtype=torch.long)}, r"train_labels must be integers of shape \(60,\)"),
        ({"train_labels": torch.full((60,), 7)}, "train_labels must lie in 0 to 2; it holds 7"),
        ({"test_images": torch.zeros(12, 2, 8, 8, dtype=torch.uint8)}, "must be .N, 1 or 3, H, W"),
        ({"train_images": None}, "needs the arrays train_images"),
        ({"test_images": torch.zeros(0, 1, 8, 8, dtype=torch.uint8), "test_labels": torch.zeros(0).long()}, "is empty"),
    ],
)
def test_own_data_of_the_wrong_kind(tmp_path, change, message):
    found = {key: value for key, value in (arrays() | change).items() if value is not None}
    files.write(tmp_path / "own.safetensors", files.Arrays(found, ("0", "1", "2")))
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "own.safetensors"))


def npz(folder, **changes):
    """The path of an .npz of 60 and 12 images of three classes, without class names, with these arrays changed."""
    found = {key: value.numpy() for key, value in arrays().items()}
    found |= {"train_labels": np.arange(60) % 3, "test_labels": np.arange(12) % 3}
    np.savez(folder / "own.npz", **(found | changes))
    return str(folder / "own.npz")


def labels(stray, dtype=np.int64):
    """Sixty labels of three classes, one of which is another."""
    found = (np.arange(60) % 3).astype(dtype)
    found[7] = stray
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": labels(7)}, r"8 classes, .*no training example of '3', '4', '5', '6': .*rarest label is 7"),
        ({"test_labels": np.arange(12) % 8}, "test_labels must lie in 0 to 2; it holds 7"),
        ({"train_labels": labels(-1)}, "must lie in 0 to 59, .*; it holds -1"),
        ({"train_labels": labels(2**31)}, "each class needs one of the 60 examples; it holds 2147483648"),
        ({"train_labels": labels(2**63 + 5, np.uint64)}, "it holds 9223372036854775813"),
        ({"train_labels": labels(1, np.float64)}, "is torch.float64 .*labels.astype.* of whole floats"),
        (
            {"train_labels": np.eye(3, dtype=int)[labels(1)]},
            r"\(60, 3\); take labels.argmax\(1\) of one-hot rows",
        ),
        ({"train_labels": labels(1).astype(str)}, "train_labels is <U.*; it must be integers; number the classes"),
        ({"classes": ["ant", "bee", "cat", "dog"]}, "4 classes, but no training example of 'dog'"),
        ({"train_images": np.zeros((60, 1, 0, 8), np.uint8)}, r"is empty: its shape is \(60, 1, 0, 8\)"),
        ({"test_images": np.zeros((12, 1, 9, 8), np.uint8)}, "training and test images differ in size"),
        ({"classes": ["ant", "bee", "ant"]}, "two classes are named 'ant'"),
        ({"train_labels": labels(0) * 0, "test_labels": np.zeros(12, int)}, r"all images are of one class \('0'\)"),
    ],
)
def test_labels_and_images_that_cannot_be_trained_on_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        data.load(npz(tmp_path, **changes))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", ">i4", "uint64"])
def test_labels_of_any_whole_type_are_the_same_labels(tmp_path, dtype):
    two = {"train_labels": np.arange(60) % 2, "test_labels": np.arange(12) % 2}
    plain = data.load(npz(tmp_path, **two))
    found = data.load(npz(tmp_path, **{key: value.astype(dtype) for key, value in two.items()}))
    assert found.digest == plain.digest and found.labels["train"].dtype == torch.int64


def test_channels_may_come_first_or_last_and_must_be_clear(tmp_path):
    first = {key: value.numpy() for key, value in arrays(shape=(3, 8, 6)).items() if "images" in key}
    last = {key: value.transpose(0, 2, 3, 1) for key, value in first.items()}
    assert data.load(npz(tmp_path, **first)).digest == data.load(npz(tmp_path, **last)).digest
    grey = {key: value.numpy()[..., None][:, 0] for key, value in arrays().items() if "images" in key}
    assert data.load(npz(tmp_path, **grey)).digest == data.load(npz(tmp_path)).digest
    for shape in ((1, 8, 1), (3, 8, 3), (3, 3, 3)):
        with pytest.raises(ValueError, match=r"may be \(N, C, H, W\) or \(N, H, W, C\)"):
            data.load(npz(tmp_path, **{key: value.numpy() for key, value in arrays(shape=shape).items()}))
    dots = {key: value[:, :, :1, :1] for key, value in arrays().items() if "images" in key}
    assert data.load(npz(tmp_path, **dots)).shape == (1, 1, 1)


def test_a_class_that_is_held_out_whole_is_named(tmp_path):
    order = torch.randperm(60, generator=generator(0, "validation")).tolist()
    lonely = np.zeros(60, int)
    lonely[order[3]], lonely[order[30]] = 1, 2
    path = npz(tmp_path, train_labels=lonely)
    with pytest.raises(ValueError, match="with 10 images held out for validation, none is left to train of class '1'"):
        data.load(path)
    assert data.load(path, validation=3).size("train") == 57
    with pytest.raises(ValueError, match="3 images held out .* and 2 taken to train, none is left to train of class"):
        data.load(path, validation=3, train=2)


def test_test_images_of_another_size_are_refused_even_where_the_model_has_them_resized(tmp_path):
    path = npz(tmp_path, test_images=np.zeros((12, 1, 9, 8), np.uint8))
    with pytest.raises(ValueError, match=r"differ in size or colour: \(1, 8, 8\) and \(1, 9, 8\)"):
        data.load(path, shape=(1, 28, 28))


def image_folder(root):
    """Twelve images of each of two classes, no two alike, nor like those of `test` where it is that."""
    for first, name in enumerate(("cat", "dog"), start=2 * (root.name.lower() == "test")):
        (root / name).mkdir(parents=True)
        for n in range(12):
            Image.fromarray(np.full((8, 8), 12 * first + n, np.uint8)).save(root / name / f"{n}.png")
    return root


def test_hidden_folders_and_files_are_no_classes_and_no_images(tmp_path):
    plain = data.load(str(image_folder(tmp_path / "plain")))
    own = image_folder(tmp_path / "own")
    for litter in (".git", ".ipynb_checkpoints", "__MACOSX"):
        (own / litter).mkdir()
    (own / ".linked").symlink_to(own / "cat")
    (own / "cat" / "._0.png").write_bytes(b"left by another system")
    (own / "cat" / "notes.txt").write_text("no image")
    (own / "dog" / "5.png").rename(own / "dog" / "5.PNG")
    (own / "dog" / "6.png").rename(own / ".git" / "6.png")
    (own / "dog" / "6.png").symlink_to(own / ".git" / "6.png")
    assert data.load(str(own)).digest == plain.digest


def test_train_and_test_may_be_written_large_and_what_lies_beside_them_is_told(tmp_path):
    for part in ("train", "test"):
        image_folder(tmp_path / "small" / part)
        image_folder(tmp_path / "large" / part.title())
    plain = data.load(str(tmp_path / "small"))
    assert plain.classes == ("cat", "dog") and data.load(str(tmp_path / "large")).digest == plain.digest
    image_folder(tmp_path / "small" / "val")
    with pytest.warns(UserWarning, match="only train/ and test/ are read, not val/"):
        assert data.load(str(tmp_path / "small")).digest == plain.digest


def test_a_class_may_be_called_train(tmp_path):
    own = image_folder(tmp_path)
    (own / "cat").rename(own / "train")
    assert data.load(str(own)).classes == ("dog", "train")


def test_names_of_classes_and_arrays_are_read_as_they_are_meant(tmp_path):
    own = data.load(npz(tmp_path, classes=np.array([b"ant", b"bee", b"cat"])))
    assert own.classes == ("ant", "bee", "cat")
    np.savez(tmp_path / "other.npz", x_train=np.zeros(3))
    with pytest.raises(ValueError, match=r"needs the arrays train_images, .*it has \['x_train'\]"):
        data.load(str(tmp_path / "other.npz"))
    with pytest.raises(ValueError, match=r"\(60, 1\); take labels.reshape\(-1\)"):
        data.load(npz(tmp_path, train_labels=labels(0)[:, None]))
    for classes in ('"cat"', "null", "7", "[1]", "["):
        save_file({k: v.contiguous() for k, v in arrays().items()}, tmp_path / "own.safetensors", {"classes": classes})
        with pytest.raises(ValueError, match="its metadata `classes` is .*: it must be a JSON list of names"):
            data.load(str(tmp_path / "own.safetensors"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda own: (own / "eel").mkdir(), "eel holds no image"),
        (lambda own: (own / "cat" / "0.png").rename(own / "0.png"), r"holds images beside its classes \(0.png\)"),
        (lambda own: (own / "cat" / "more").mkdir(), "cat is a class and holds a folder, more"),
        (
            lambda own: Image.new("RGBA", (8, 6)).save(own / "cat" / "0.png"),
            "0.png .*some of its pixels are transparent",
        ),
        (lambda own: (own / "eel").symlink_to(own / "cat"), "eel is a link"),
        (lambda own: (own / "eel").symlink_to(own), "eel is a link"),
        (lambda own: (own / "eel").symlink_to(own / "gone"), "eel is a link"),
        (lambda own: (own / "cat" / "0.png").write_bytes((own / "cat" / "0.png").read_bytes()[:45]), "0.png cannot be"),
        (lambda own: Image.new("RGB", (8, 8)).save(own / "cat" / "x.png"), r"differ .*x.png is \(8, 8, 3\)"),
        (lambda own: Image.new("I", (8, 8)).save(own / "cat" / "x.tif"), "x.tif cannot be read .*32-bit"),
        (lambda own: [file.unlink() for file in own.glob("*/?.png")], "no class has 6 images"),
    ],
)
def test_what_is_wrong_in_a_folder_of_images_is_named(tmp_path, spoil, message):
    spoil(own := image_folder(tmp_path / "own"))
    with pytest.raises(ValueError, match=message):
        data.load(str(own))


def test_train_and_test_folders_hold_the_same_classes(tmp_path):
    for split in ("train", "test"):
        image_folder(tmp_path / "own" / split)
    assert data.load(str(tmp_path / "own")).size("test") == 24
    (tmp_path / "own" / "test" / "dog").rename(tmp_path / "own" / "test" / "fox")
    with pytest.raises(ValueError, match="must hold the same classes; 'dog' is in train/ alone"):
        data.load(str(tmp_path / "own"))


def test_an_npz_whose_header_names_more_than_there_is(tmp_path):
    header = BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 1, 8, 8)}
    np.lib.format.write_array_header_1_0(header, about)
    path = npz(tmp_path)
    with ZipFile(path) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    with ZipFile(path, "w") as lying:
        for name, content in (members | {"train_images.npy": header.getvalue() + bytes(1000)}).items():
            lying.writestr(name, content)
    with pytest.raises(ValueError, match="cannot be read as an .npz of plain arrays"):
        data.load(path)


def test_truncated_file(tmp_path, monkeypatch):
    path = tmp_path / "mnist.safetensors"
    files.write(path, files.Arrays(arrays(), ("0", "1", "2")))
    path.write_bytes(path.read_bytes()[:1000])
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"mnist.safetensors is damaged or cut short"):
        data.load("mnist")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_no_file_and_no_network(tmp_path, monkeypatch, name):
    import torchvision

    def refuse(*args, **kwargs):
        raise RuntimeError("Error downloading: no route to host")

    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, data.DOWNLOADED[name], refuse)
    with pytest.raises(FileNotFoundError) as caught:
        data.load(name)
    message = str(caught.value)
    assert (
        str(tmp_path / f"{name}.safetensors") in message and "LABKIT_DATA" in message and "no route to host" in message
    )


@pytest.mark.parametrize("name", sorted(set(data.DOWNLOADED) - {"pcam"}))
def test_download_is_kept_in_one_file_and_read_from_it(tmp_path, monkeypatch, name):
    import torchvision

    calls = []

    class Fake:  # the attributes of torchvision's classes, as each has them
        def __init__(self, root, download, train=None, split=None):
            calls.append(train if split is None else split)
            n = 30 if train or split == "train" else 12
            rng = np.random.default_rng(n)
            shape = {"svhn": (3, 32, 32), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}.get(name, (28, 28))
            self.data = rng.integers(0, 256, (n, *shape)).astype(np.uint8)
            labels = np.arange(n) % 10
            self.classes = [f"class {k}" for k in range(10)]
            if name == "svhn":
                self.labels = labels
            else:
                self.targets = labels.tolist() if name.startswith("cifar") else torch.from_numpy(labels)

    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torchvision.datasets, data.DOWNLOADED[name], Fake)
    first = data.load(name)
    assert len(calls) == 2 and (tmp_path / "data" / f"{name}.safetensors").exists()
    assert data.load(name).digest == first.digest and len(calls) == 2
    assert first.images["train"].shape[1:] == ((1, 28, 28) if "mnist" in name else (3, 32, 32))


def test_a_cut_npz_and_deep_images(tmp_path):
    found = {key: value.numpy() for key, value in arrays().items()}
    np.savez(tmp_path / "own.npz", **{**found, "train_labels": found["train_labels"].astype(np.uint16)})
    assert data.load(str(tmp_path / "own.npz")).size("train") == 50
    (tmp_path / "own.npz").write_bytes((tmp_path / "own.npz").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cannot be read as an .npz"):
        data.load(str(tmp_path / "own.npz"))
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for first, label in enumerate(("a", "b")):
        (tmp_path / "deep" / label).mkdir(parents=True)
        for n in range(12):
            Image.fromarray(np.roll(ramp, 12 * first + n)).save(tmp_path / "deep" / label / f"{n}.png")
    deep = data.load(str(tmp_path / "deep"))
    assert deep.images["train"][0].unique().numel() > 60 and deep.size("test") == 4


def test_unknown_data_set():
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        data.load("cifar-10")
    with pytest.raises(FileNotFoundError, match="no data at"):
        data.load("./nothing.npz")


def test_splits_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="cannot give"):
        data.load("digits", train=5000)
    with pytest.raises(ValueError, match="cannot give"):
        data.load("digits", validation=1437)


def test_crop_flip_by_hand():
    from labkit.data.augment import crop_flip

    images = torch.arange(2 * 3 * 5 * 5, dtype=torch.uint8).reshape(2, 3, 5, 5) + 1
    batch = images.repeat(200, 1, 1, 1)
    found = crop_flip(batch, generator(0, "augment", 3), padding=1)
    assert found.shape == batch.shape and found.dtype == torch.uint8
    assert torch.equal(found, crop_flip(batch, generator(0, "augment", 3), padding=1))
    assert not torch.equal(found, crop_flip(batch, generator(0, "augment", 4), padding=1))
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    allowed = [
        {bytes(crop.numpy().tobytes()) for y in range(3) for x in range(3) for flip in (False, True)
         for crop in [padded[n, :, y : y + 5, x : x + 5].flip(-1) if flip else padded[n, :, y : y + 5, x : x + 5]]}
        for n in range(2)
    ]  # fmt: skip
    seen = [set(), set()]
    for n, image in enumerate(found):
        seen[n % 2].add(bytes(image.contiguous().numpy().tobytes()))
    assert seen[0] == allowed[0] and seen[1] == allowed[1] and len(allowed[0]) == 18, "every crop and flip, no other"


def test_a_data_set_written_as_a_folder_is_read_as_it_was(tmp_path):
    for name in ("digits", "photos"):
        plain = data.arrays(name)
        path = write_folder(tmp_path / "some" / name, plain.tensors, plain.classes)
        found = data.arrays(str(path))
        assert found.classes == plain.classes
        for part in ("train", "test"):
            images, labels = (plain.tensors[f"{part}_{key}"] for key in ("images", "labels"))
            order = labels.long().sort(stable=True).indices
            assert found.tensors[f"{part}_images"].equal(images[order])
            assert found.tensors[f"{part}_labels"].equal(labels[order].long())
        assert [entry.name for entry in path.iterdir()] in (["train", "test"], ["test", "train"])
    assert sorted(entry.name for entry in (tmp_path / "some").iterdir()) == ["digits", "photos"], "nothing half-made"


def test_a_folder_that_is_there_is_not_written_over(tmp_path):
    plain = data.arrays("digits")
    few = {key: tensor[:60] for key, tensor in plain.tensors.items()}
    path = write_folder(tmp_path / "digits", few, plain.classes)
    assert write_folder(path, plain.tensors, plain.classes) == path
    assert len(data.arrays(str(path)).tensors["train_images"]) == 60


def test_test_images_that_are_training_images_too_are_told(tmp_path):
    for part in ("train", "test"):
        image_folder(tmp_path / "own" / part)
    for n in range(5):  # a cat is a cat wherever it lies
        (tmp_path / "own" / "train" / "dog" / f"again{n}.png").write_bytes(
            (tmp_path / "own" / "test" / "cat" / f"{n}.png").read_bytes()
        )
    with pytest.warns(UserWarning, match="own: 5 of 24 test images are training images too"):
        data.load(str(tmp_path / "own"))


def test_which_of_train_and_test_has_a_class_alone_is_said(tmp_path):
    for part in ("train", "test"):
        image_folder(tmp_path / "own" / part)
    (tmp_path / "own" / "train" / "cat").rename(tmp_path / "cat")
    with pytest.raises(ValueError, match="'cat' is in test/ alone"):
        data.load(str(tmp_path / "own"))
    (tmp_path / "own" / "train").rename(tmp_path / "own" / "training")
    with pytest.raises(ValueError, match="test is a class and holds a folder, .*only train/ and test/ are known"):
        data.load(str(tmp_path / "own"))


def test_digits_as_mnist_has_them_lie_where_its_networks_look():
    plain, found = data.arrays("digits").tensors, data.arrays("digits_as_mnist").tensors
    assert found["test_images"].shape == (360, 1, 28, 28) and found["test_images"].dtype == torch.uint8
    assert torch.equal(found["train_labels"], plain["train_labels"])
    ink = found["train_images"].double()
    for axis in (2, 3):
        across = ink.sum((1, 5 - axis))
        centre = (across * torch.arange(28)).sum(1) / across.sum(1)
        assert centre.sub(13.5).abs().max() < 1.2 and centre.sub(13.5).abs().median() <= 0.5
    from labkit.explore.bundled import bundled
    from labkit.explore.collection import Key

    network = bundled().model()
    network.load_state_dict(bundled().end(Key("ticket", 0, 0))[0])
    right = network(bundled().normalise(found["test_images"])).argmax(1) == found["test_labels"]
    assert right.double().mean() > 0.8
