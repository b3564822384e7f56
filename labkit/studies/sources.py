"""Published numbers, with where they come from: the tables of `labkit/published`."""

from importlib.resources import files

import pandas as pd

from labkit.ground.names import choose


def published(name: str) -> pd.DataFrame:
    """A table of published numbers, with provenance: the name of a CSV of `labkit/published`, such as "lth".

    Raises:
        ValueError: if there is no such table.
    """
    folder = files("labkit") / "published"
    tables = [entry.name.removesuffix(".csv") for entry in folder.iterdir() if entry.name.endswith(".csv")]
    with (folder / f"{choose('table', name, tables)}.csv").open() as file:
        table = pd.read_csv(file)
    for column in {"P_m_percent", "value"} & set(table):  # a few rows hold a range, such as 67.5..17.6, or "no"
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


TRANSFER_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN", "fashion_mnist": "FashionMNIST",
                  "cifar10a": "CIFAR10a", "cifar10b": "CIFAR10b"}  # fmt: skip


def transfer_curves(
    experiment: str, model: str, source: str, target: str, optimizers: tuple[str, str] = ("sgd", "sgd")
) -> pd.DataFrame:
    """Published curves of one transfer (Gohil et al. 2020): native, carried and random tickets on the target.

    What their figures call transferred carries the weights alone: masks were found on the target. The dense row of a
    column that copies the source's is left out.

    Args:
        experiment: "within_distribution", "across_optimizers" or "across_datasets".
        model: "vgg19" or "resnet50".
        source, target: data sets, by the kit's names.
        optimizers: of the source and of the target.

    Returns:
        Columns series ("native", "carried", "random"), percent_remaining, value (test accuracy, a fraction); no row
        where nothing was published.
    """
    table = published("transfer")
    table = table[~table["note"].fillna("").str.contains("round-0 value is a copy")]
    there = TRANSFER_NAMES.get(target, target)
    table = table[(table["experiment"] == experiment) & (table["model"] == model)
                  & (table["target_dataset"] == there) & (table["target_optimizer"] == optimizers[1])]  # fmt: skip
    native = table["source_optimizer"] == optimizers[1]
    series = {
        "native": (table["ticket_source"] == there) & native,
        "carried": (table["ticket_source"] == TRANSFER_NAMES.get(source, source))
        & (table["source_optimizer"] == optimizers[0]),
        "random": (table["ticket_source"] == "random_ticket") & native,
    }
    parts = [table[rows].assign(series=name) for name, rows in series.items()]
    found = pd.concat(parts, ignore_index=True)
    found = found.assign(percent_remaining=100 - found["percent_pruned"], value=found["test_accuracy_percent"] / 100)
    return found[["series", "percent_remaining", "value"]]
