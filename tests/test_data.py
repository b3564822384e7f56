import numpy as np
import pytest
import torch
from PIL import Image

from labkit import data
from labkit.data import files
from labkit.data.dataset import BatchOrder, fit, pixel_statistics


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


def test_an_epoch_sees_every_example_once_and_drops_none():  # pitfalls 6, 11
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


def test_grey_becomes_rgb_and_back():  # pitfall 23
    grey = arrays()["train_images"]
    rgb = fit(grey, (3, 8, 8))
    assert rgb.shape == (60, 3, 8, 8) and torch.equal(fit(rgb, (1, 8, 8)), grey)
    assert fit(grey, (1, 28, 28)).shape == (60, 1, 28, 28)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": torch.zeros(60, 1, 8, 8)}, "train_images is torch.float32; it must be uint8"),
        ({"train_labels": torch.zeros(59, dtype=torch.long)}, r"train_labels must be integers of shape \(60,\)"),
        ({"train_labels": torch.full((60,), 7)}, "must lie in 0 to"),
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


@pytest.mark.parametrize("name", data.DOWNLOADED)
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
            labels = rng.integers(0, 10, n)
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
    for label in ("a", "b"):
        (tmp_path / "deep" / label).mkdir(parents=True)
        for n in range(12):
            Image.fromarray(ramp).save(tmp_path / "deep" / label / f"{n}.png")
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
    from labkit.randomness import generator

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
