"""Data sets as tensors: `load(name)` gives splits, normalisation and seeded batches."""

from functools import partial

from labkit.data.augment import AUGMENTATIONS
from labkit.data.dataset import BatchOrder, DataSet
from labkit.data.preparation import NORMALISATIONS, make
from labkit.data.shapes import RESIZES, image_shape
from labkit.data.sources import BROUGHT, DOWNLOADED, EMBEDDED, KNOWN, arrays, folder, is_own
from labkit.data.splits import HALVES
from labkit.ground.lists import optional
from labkit.ground.names import choose, text, whole

__all__ = [
    "AUGMENTATIONS",
    "BROUGHT",
    "DOWNLOADED",
    "EMBEDDED",
    "HALVES",
    "KNOWN",
    "NORMALISATIONS",
    "RESIZES",
    "BatchOrder",
    "DataSet",
    "arrays",
    "folder",
    "image_shape",
    "is_own",
    "load",
]


def load(
    name: str,
    *,
    normalisation: str = "dataset",
    shape: tuple[int, int, int] | None = None,
    resize: str = "bilinear",
    validation: int | None = None,
    train: int | None = None,
    half: str | None = None,
    per_class: int | None = None,
) -> DataSet:
    """Load a data set: a name of `KNOWN` ("digits" and "photos" are embedded), or a path of your own.

    First the half is taken, of that the validation set, of the rest the images that train. Each is drawn once, the same
    for every seed; the test set is always whole.

    Args:
        name: the data set, or the path of an .npz, a .safetensors or a folder of images.
        normalisation: a name of `NORMALISATIONS`.
        shape: (channels, height, width) of the model's input; None leaves the images as they are.
        resize: how they come to that height and width, a name of `RESIZES`: "bilinear", or "pad" with black. Grey and
            RGB are converted into each other. Training, validation and test images are treated alike.
        validation: examples held out for validation, 0 for none; default 5,000, or a sixth of a small set.
        train: use only so many training examples.
        half: "a" or "b", two disjoint halves of the training images: half of each class, or of the groups (patients),
            which stay whole, where the file tells of some (see `labkit.data.files`).
        per_class: use only so many training examples of each class; those of 10 are among those of 30. The statistics
            of normalisation are then those of the images that train or validate.

    Raises:
        ValueError: for unknown names, damaged files, or sizes that the data cannot give.
        FileNotFoundError: if the data is not here and cannot be downloaded.
    """
    count = partial(whole, most=10**9)
    validation = optional("validation", validation, of=count)
    train = optional("train", train, of=partial(count, least=1))
    per_class = optional("per_class", per_class, of=partial(count, least=1))
    half = optional("half", half, of=partial(choose, choices=HALVES))
    shape = optional("shape", shape, of=image_shape)
    choose("resize", resize, RESIZES)
    if train is not None and per_class is not None:
        raise ValueError(f"train is {train} and per_class is {per_class}: give one of them")
    return make(
        name, arrays(text("name", name)), normalisation=normalisation, shape=shape, resize=resize, half=half,
        validation=validation, train=train, per_class=per_class,
    )  # fmt: skip
