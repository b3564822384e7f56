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
