"""Augmentation against hand-made examples and torchvision's geometry."""

import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from labkit import data
from labkit.data import augment
from labkit.ground.randomness import generator


def noise(batch, height=32, width=32):
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator(0, "noise"))


def test_reflection_by_hand():
    image = torch.tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]], dtype=torch.uint8)
    padded = torch.tensor([[5, 4, 5, 6, 5], [2, 1, 2, 3, 2], [5, 4, 5, 6, 5], [8, 7, 8, 9, 8], [5, 4, 5, 6, 5]])
    allowed = {
        tuple(part.reshape(-1).tolist())
        for y in range(3) for x in range(3) for crop in [padded[y : y + 3, x : x + 3]] for part in (crop, crop.flip(1))
    }  # fmt: skip
    found = augment.reflect_crop_flip(image.repeat(400, 1, 1, 1), generator(0, "augment"), padding=1)
    assert found.dtype == torch.uint8 and found.shape == (400, 1, 3, 3)
    assert {tuple(one.reshape(-1).tolist()) for one in found} == allowed
    with pytest.raises(ValueError, match="3x3 cannot be mirrored by 4 pixels"):
        augment.reflect_crop_flip(image, generator(0, "augment"))


def test_reflection_agrees_with_torch_and_draws_as_zero_padding_does():
    images = noise(64)
    found = augment.reflect_crop_flip(images, generator(1, "augment"))
    mirrored = torch.nn.functional.pad(images.float(), (4,) * 4, mode="reflect").to(torch.uint8)
    zeros = augment.crop_flip(images, generator(1, "augment"))
    for n in range(64):
        crops = [
            c for y in range(9) for x in range(9) for c in [mirrored[n, :, y : y + 32, x : x + 32]]
            for c in (c, c.flip(-1)) if torch.equal(c, found[n])
        ]  # fmt: skip
        assert len(crops) == 1, "one of the 162 crops and flips"
    inside = zeros > 0
    assert torch.equal(zeros[inside], found[inside]), "same shifts, other borders"


@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(3, 5, 16, 8), (0, 0, 32, 32), (7, 1, 13, 17), (9, 4, 1, 2)]
)
def test_enlarged_part_agrees_with_torchvision(top, left, height, width):
    images = noise(4)
    boxes = torch.tensor([top, left, height, width])[:, None].expand(4, 4)
    flips = torch.tensor([False, True, False, True])
    found = augment.resize_boxes(images, boxes, flips)
    exact = resized_crop(
        images.double(), top, left, height, width, [32, 32], InterpolationMode.BILINEAR, antialias=False
    )
    exact = torch.where(flips[:, None, None, None], exact.flip(-1), exact)
    assert found.dtype == torch.uint8
    assert torch.equal(found, (exact + 0.5).floor().to(torch.uint8)), "weights are multiples of 1/64: no rounding error"
    own = resized_crop(images, top, left, height, width, [32, 32], InterpolationMode.BILINEAR, antialias=True)
    own = torch.where(flips[:, None, None, None], own.flip(-1), own)
    assert (found.int() - own.int()).abs().max() <= 1, "torchvision rounds uint8 images in fixed point"


def test_a_box_for_each_image_of_an_oblong():
    images, flips = noise(50, 12, 20), torch.zeros(50, dtype=torch.bool)
    boxes = augment.random_boxes(50, 12, 20, generator(0, "augment"))
    found = augment.resize_boxes(images, boxes, flips)
    for n, box in enumerate(boxes.T.tolist()):
        exact = resized_crop(images[n : n + 1].double(), *box, [12, 20], InterpolationMode.BILINEAR, antialias=False)
        assert (found[n] - exact[0]).abs().max() <= 0.5 + 1e-9


def test_boxes_are_distributed_as_torchvision_s():
    ours = augment.random_boxes(20_000, 32, 32, generator(0, "augment")).double()
    top, left, height, width = ours
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 32).all() and (left + width <= 32).all()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.zeros(3, 32, 32)
        theirs = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    theirs = torch.tensor(theirs).T.double()
    assert torch.allclose(ours.mean(1), theirs.mean(1), atol=0.4)  # four standard errors of the 4,000
    assert torch.allclose(ours.std(1), theirs.std(1), atol=0.4)
    area = (height * width) / 1024
    assert abs((area < 0.5).double().mean() - (theirs[2] * theirs[3] < 512).double().mean()) < 0.03
    assert area.min() < 0.1 and (height != width).any()


def test_where_no_draw_fits_the_centre_is_taken():
    for height, width, expected in ((8, 100, (0, 44, 8, 11)), (100, 9, (44, 0, 12, 9))):
        boxes = augment.random_boxes(2000, height, width, generator(0, "augment"))
        assert RandomResizedCrop.get_params(torch.zeros(3, height, width), [99, 99], [3 / 4, 4 / 3]) == expected
        assert boxes.T.tolist().count(list(expected)) > 100


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_every_augmentation(name, digits):
    function, images = augment.AUGMENTATIONS[name], noise(40)
    found = function(images, generator(0, "augment", 3))
    assert found.shape == images.shape and found.dtype == torch.uint8
    assert name == "none" or found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, function(images, generator(0, "augment", 3)))
    assert name == "none" or not torch.equal(found, function(images, generator(0, "augment", 4)))
    inputs, _ = digits.inputs("train", torch.arange(10), lambda batch: function(batch, generator(0, "augment")))
    assert inputs.dtype == torch.float32 and inputs.shape == (10, 1, 28, 28)
    assert data.AUGMENTATIONS is augment.AUGMENTATIONS
    if torch.cuda.is_available():
        assert torch.equal(function(images.cuda(), generator(0, "augment", 3)).cpu(), found)
