"""Data sets as tensors: `load(name)` gives splits, normalisation and seeded batches."""

from labkit.data.augment import AUGMENTATIONS
from labkit.data.dataset import NORMALISATIONS, BatchOrder, DataSet, make
from labkit.data.sources import DOWNLOADED, EMBEDDED, arrays, folder, is_own

__all__ = [
    "AUGMENTATIONS",
    "DOWNLOADED",
    "EMBEDDED",
    "NORMALISATIONS",
    "BatchOrder",
    "DataSet",
    "arrays",
    "folder",
    "is_own",
    "load",
]


def load(
    name: str,
    *,
    normalisation: str = "dataset",
    shape: tuple[int, int, int] | None = None,
    validation: int | None = None,
    train: int | None = None,
) -> DataSet:
    """Load a data set: "digits" (embedded), a name of `DOWNLOADED`, or a path of your own.

    Args:
        name: the data set, or the path of an .npz, a .safetensors or a folder of images.
        normalisation: a name of `NORMALISATIONS`.
        shape: (channels, height, width) of the model's input; None leaves the images as they are.
        validation: examples held out for validation, 0 for none; default 5,000, or a sixth of a small set.
        train: use only so many training examples.

    Raises:
        ValueError: for unknown names, damaged files, or sizes that the data cannot give.
        FileNotFoundError: if the data is not here and cannot be downloaded.
    """
    return make(name, arrays(name), normalisation=normalisation, shape=shape, validation=validation, train=train)
