"""Tables as the papers print them: grouped by budget, best in bold, mean ± std, FLOPs, published cells beside."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from labkit.studies.sparse_metrics import beside, summary
from labkit.studies.tables import GROUPS

_LEFT, _RIGHT = "text-align:left", "text-align:right"
_GREY = f"{_RIGHT};color:#666"
_EDGE = "border-left:1px solid #ccc"


@dataclass(frozen=True)
class Cell:
    """One row of a table at one density.

    Attributes:
        accuracy: "92.4 ± 0.1", in percent; the second number is the standard deviation of the sample.
        best: whether its mean is the highest of its group, as printed.
        train, test: FLOPs in those of the dense network.
        published: accuracy, train and test FLOPs, as text; empty where there is none.
        suspect: why the published cell cannot be right.
    """

    accuracy: str
    best: bool
    train: str
    test: str
    published: tuple[str, str, str]
    suspect: str = ""


@dataclass(frozen=True)
class SparseTable:
    """A table of sparse training.

    Attributes:
        title: what is in it.
        densities: from left to right; a dense row stands under the first.
        groups: (name, rows); a row is (method, init, a cell or None for each density).
    """

    title: str
    densities: tuple[float, ...]
    groups: tuple[tuple[str, tuple[tuple[str, str, tuple[Cell | None, ...]], ...]], ...]

    @property
    def notes(self) -> list[str]:
        """What is wrong with published cells, numbered as in the table."""
        return list(dict.fromkeys(cell.suspect for cell in self._cells() if cell.suspect))

    def _cells(self) -> list[Cell]:
        return [cell for _, rows in self.groups for _, _, cells in rows for cell in cells if cell]

    def __repr__(self) -> str:
        return f"SparseTable({self.title}: {sum(len(rows) for _, rows in self.groups)} rows)"

    def _repr_html_(self) -> str:
        compared = any(any(cell.published) for cell in self._cells())
        heads = ["accuracy, %", *["published"] * compared, "FLOPs to train", *["published"] * compared,
                 "to test", *["published"] * compared]  # fmt: skip
        top = "".join(f"<th colspan={len(heads)} style='text-align:center;{_EDGE}'>density {density:g}</th>"
                      for density in self.densities)  # fmt: skip
        second = "".join(f"<th style='{_RIGHT}{';' + _EDGE if not n else ''}'>{head}</th>"
                         for _ in self.densities for n, head in enumerate(heads))  # fmt: skip
        width = 2 + len(heads) * len(self.densities)
        body = ""
        for name, rows in self.groups:
            body += (
                f"<tr><td colspan={width} style='{_LEFT};color:#666;border-top:1px solid #888'><i>{name}</i></td></tr>"
            )
            for method, init, cells in rows:
                texts = "".join(self._cell(cell, compared) for cell in cells)
                body += f"<tr><td style='{_LEFT}'>{method}</td><td style='{_LEFT}'>{init}</td>{texts}</tr>"
        notes = "".join(f"<br>{n}. {html.escape(note)}" for n, note in enumerate(self.notes, start=1))
        return (
            f"<table><caption>{html.escape(self.title)}</caption><tr><th></th><th></th>{top}</tr>"
            f"<tr><th style='{_LEFT}'>method</th><th style='{_LEFT}'>init</th>{second}</tr>{body}</table>"
            "<p style='color:#666'>Mean ± standard deviation over seeds. FLOPs in those of the dense network, trained "
            f"once; to test: at the end. Bold: the best mean of its group at that density.{notes}</p>"
        )

    def _cell(self, cell: Cell | None, compared: bool) -> str:
        if cell is None:
            return f"<td style='{_EDGE}'></td>" + "<td></td>" * (5 if compared else 2)
        mark = f"<sup>{self.notes.index(cell.suspect) + 1}</sup>" if cell.suspect else ""
        own = (f"<b>{cell.accuracy}</b>" if cell.best else cell.accuracy, cell.train, cell.test)
        theirs = [text and text + mark * (not n) for n, text in enumerate(cell.published)]
        found = ""
        for n, (text, other) in enumerate(zip(own, theirs, strict=True)):
            found += f"<td style='{_RIGHT}{';' + _EDGE if not n else ''}'>{text}</td>"
            found += f"<td style='{_GREY}'>{other}</td>" if compared else ""
        return found


def sparse_table(
    outcomes: pd.DataFrame, costs: pd.DataFrame, *, title: str, published: pd.DataFrame | None = None,
    densities: Sequence[float] | None = None, suspects: tuple[str, ...] = ("suspect", "slip", "collapsed"),
) -> SparseTable:  # fmt: skip
    """The table of a study.

    Args:
        outcomes: what `sparse_metrics.ends` gave.
        costs: what `sparse_metrics.costs` gave.
        title: what is in it.
        published: a published table with method, init, density and any of accuracy_mean, accuracy_std,
            train_flops_ratio, test_flops_ratio and note.
        densities: which to show; default all but the dense row's.
        suspects: words by which a published note says that the cell cannot be right.
    """
    table = summary(outcomes).merge(costs, on=["method", "init", "density"])
    names = ["accuracy_mean", "accuracy_std", "train_flops_ratio", "test_flops_ratio", "note"]
    other = pd.DataFrame(columns=["method", "init", "density"]) if published is None else published
    table = beside(table, other.reindex(columns=[*other.columns, *(n for n in names if n not in other)]), names)
    shown = sorted(set(table[table["group"] != GROUPS[3]]["density"])) if densities is None else list(densities)
    groups = []
    for group in GROUPS:
        part = table[table["group"] == group]
        if group == GROUPS[3]:
            part = part.assign(density=shown[0])
        best = part["mean"].mul(100).round(1).groupby(part["density"]).transform("max")
        part = part.assign(best=(part["mean"].mul(100).round(1) == best) & (len(part) > len(set(part["density"]))))
        rows = []
        for (method, init), lines in part.groupby(["method", "init"], sort=False):
            at = {line.density: line for line in lines.itertuples()}
            rows.append((str(method), str(init), tuple(_cell(at[d], suspects) if d in at else None for d in shown)))
        if any(any(cells) for _, _, cells in rows):
            groups.append((group, tuple(row for row in rows if any(row[2]))))
    return SparseTable(title, tuple(shown), tuple(groups))


def _cell(line: object, suspects: tuple[str, ...]) -> Cell:
    values = line._asdict()  # type: ignore[attr-defined]
    note = values["published_note"] if isinstance(values["published_note"], str) else ""
    published = (
        plus_minus(values["published_accuracy_mean"], values["published_accuracy_std"]),
        times(values["published_train_flops_ratio"]),
        times(values["published_test_flops_ratio"]),
    )
    suspect = note if any(word in note for word in suspects) else ""
    accuracy = plus_minus(100 * values["mean"], 100 * values["std"]) or "diverged"
    return Cell(accuracy, bool(values["best"]), times(values["train_flops"]), times(values["test_flops"]), published,
                suspect)  # fmt: skip


def plus_minus(mean: float, std: float) -> str:
    """A mean and its standard deviation, both in percent; empty for no mean.

    >>> plus_minus(92.44, 0.063), plus_minus(92.0, float("nan"))
    ('92.4 ± 0.06', '92.0')
    """
    if pd.isna(mean):
        return ""
    return f"{mean:.1f}" + ("" if pd.isna(std) else f" ± {std:.2f}")


def times(value: float) -> str:
    """A ratio to dense.

    >>> times(0.1736)
    '0.17×'
    """
    return "" if pd.isna(value) else f"{value:.2f}×"
