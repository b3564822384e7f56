"""Data sets that come with scikit-learn, and need no file: handwritten digits, and patches of two photographs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from labkit.data.files import Arrays, check
from labkit.ground.randomness import generator

BLOCK, PATCH = 64, 16  # pixels: of the squares of a photograph that are test or training, and of the patches in them


def digits() -> Arrays:
    """1,797 handwritten digits, 8x8, of 43 writers (Alpaydin & Kaynak 1998, UCI), as scikit-learn ships them.

    A fixed fifth, drawn once, is the test set.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(np.rint(found.images * (255 / 16)).astype(np.uint8))[:, None]  # 0..16 -> 0..255
    labels = torch.from_numpy(found.target.astype(np.uint8))
    order = torch.randperm(len(labels), generator=generator(0, "digits test"))
    test, train = order[:360], order[360:]
    tensors = {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }
    return check(Arrays(tensors, tuple("0123456789")), Path("digits"))


def digits_as_mnist() -> Arrays:
    """The same digits in the form of MNIST's (LeCun et al. 1998, section III.A): networks of MNIST can read them.

    Enlarged to 20x20 pixels (bicubic), and placed so that the centre of mass of the ink is the centre of 28x28.
    """
    found = digits()
    tensors = dict(found.tensors)
    for name in ("train_images", "test_images"):
        grey = functional.interpolate(tensors[name].float(), size=(20, 20), mode="bicubic").clamp(0, 255)
        tensors[name] = torch.stack([_centred(image) for image in grey.round().to(torch.uint8)])
    return check(Arrays(tensors, found.classes), Path("digits_as_mnist"))


def _centred(image: Tensor) -> Tensor:
    """An image (1, 20, 20) in one of 28x28, its centre of mass in the middle as far as there is room."""
    page, ink = torch.zeros(1, 28, 28, dtype=torch.uint8), image[0].double()
    places = torch.arange(20, dtype=torch.float64)
    centre = [float((ink.sum(axis) * places).sum() / ink.sum()) for axis in (1, 0)]
    top, left = (min(8, max(0, round(13.5 - at))) for at in centre)
    page[:, top : top + 20, left : left + 20] = image
    return page


def photos() -> Arrays:
    """1,920 patches, 3x16x16, of the two sample photographs of scikit-learn; the classes are "china" and "flower".

    Textures instead of strokes. Each photograph (427x640) is cut into 6 x 10 squares of 64x64 pixels, each of those
    into 16 patches. One square in five, along diagonals, is for the test: 1,536 patches train and 384 test, and no two
    overlap. A patch's group is its square.
    """
    from sklearn.datasets import load_sample_image

    tensors: dict[str, list[Tensor]] = {}
    for label, name in enumerate(("china.jpg", "flower.jpg")):
        squares = _squares(torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1), BLOCK)
        for place, square in enumerate(squares):
            row, column = divmod(place, 10)
            split = "train" if (row + 2 * column) % 5 else "test"
            patches = _squares(square, PATCH)
            tensors.setdefault(f"{split}_images", []).append(patches)
            tensors.setdefault(f"{split}_labels", []).append(torch.full((len(patches),), label, dtype=torch.uint8))
            if split == "train":
                group = torch.full((len(patches),), label * len(squares) + place)
                tensors.setdefault("train_group", []).append(group)
    return check(Arrays({key: torch.cat(parts) for key, parts in tensors.items()}, ("china", "flower")), Path("photos"))


def _squares(image: Tensor, side: int) -> Tensor:
    """The squares (n, C, side, side) of an image (C, H, W), row by row; what is left over is cut off at both edges."""
    rows, columns = (size // side for size in image.shape[1:])
    top, left = (size % side // 2 for size in image.shape[1:])
    whole = image[:, top : top + rows * side, left : left + columns * side]
    return whole.reshape(-1, rows, side, columns, side).permute(1, 3, 0, 2, 4).reshape(rows * columns, -1, side, side)


EMBEDDED: dict[str, Callable[[], Arrays]] = {
    "digits": digits, "digits_as_mnist": digits_as_mnist, "photos": photos,
}  # fmt: skip
