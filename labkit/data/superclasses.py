"""The 20 superclasses of CIFAR-100, of five classes each (Krizhevsky 2009, section 3.1)."""

import torch

from labkit.data.files import Arrays

SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
_OF = {fine: place for place, names in enumerate(SUPERCLASSES.values()) for fine in names.split()}


def coarse(fine: Arrays) -> Arrays:
    """CIFAR-100 with its superclasses for labels; which images there are, and their order, stay.

    Raises:
        ValueError: if its classes are not those of CIFAR-100.
    """
    if strange := sorted(set(fine.classes) ^ set(_OF)):
        raise ValueError(f"the classes of this file are not those of CIFAR-100: {strange[0]!r} is only in one of them")
    label_of = torch.tensor([_OF[name] for name in fine.classes], dtype=torch.uint8)
    labels = {key: label_of[fine.tensors[key].long()] for key in ("train_labels", "test_labels")}
    return Arrays({**fine.tensors, **labels}, tuple(SUPERCLASSES))
