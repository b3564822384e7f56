"""Data sets as tensors: `load(name)` gives splits, normalisation and seeded batches."""

from functools import partial

from labkit.data.augment import AUGMENTATIONS
from labkit.data.dataset import NORMALISATIONS, BatchOrder, DataSet, make
from labkit.data.sources import DOWNLOADED, EMBEDDED, arrays, folder, is_own
from labkit.ground.lists import listed, optional
from labkit.ground.names import shown, text, whole

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
    count = partial(whole, most=10**9)
    validation = optional("validation", validation, of=count)
    train = optional("train", train, of=partial(count, least=1))
    if shape is not None:
        size = listed("shape", shape, of=partial(whole, least=1, most=4096), like="(1, 28, 28)")
        if len(size) != 3 or size[0] not in (1, 3):
            raise ValueError(f"shape is {shown(shape)}: write 1 or 3 channels, height and width, such as (1, 28, 28)")
    found = arrays(text("name", name))
    return make(name, found, normalisation=normalisation, shape=shape, validation=validation, train=train)
