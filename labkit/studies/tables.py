"""Rows of the sparse-training tables: "RigL2x ERK" at a density, as a spec and as a finished run.

Names are those of Sundar & Dwaraknath 2021, Tables 1 to 3. A number and an "x" at a method's end ("RigL2x") say how
many times as long it trains.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from labkit.ground.names import choose, fraction
from labkit.runs.experiment import Experiment
from labkit.sparsity.methods import METHODS
from labkit.specs.sparse import SparseSpec
from labkit.studies.budgets import longer, small_dense
from labkit.studies.sparse_runs import SparseRun
from labkit.studies.sparse_training import train_sparse

DENSE, SMALL, PRUNING, LOTTERY = METHODS["dense"].title, "Small Dense", METHODS["gradual"].title, "Lottery"
WHOLE = (DENSE, SMALL, PRUNING, LOTTERY)  # have no initial masks to share out over layers
NAMES = {method.title: name for name, method in METHODS.items() if method.masks in ("fixed", "moving")}
SPREADS = {"Random": "uniform", "ER": "er", "ERK": "erk"}  # how density is spread over layers, as tables call it
GROUPS = ("same density in every layer", "layer densities by ERK", "larger training budget", "dense")


@dataclass(frozen=True)
class Row:
    """A row of a table at one density.

    Attributes:
        method: the title of a method that begins with masks (a key of `NAMES`), "Dense", "Small Dense" (narrower),
            "Pruning" (gradual) or "Lottery" (the masks that Pruning ends with, trained once).
        init: a key of `SPREADS`; "" where there are no initial masks.
        density: of the masks; of the parameters for "Small Dense"; 1 for "Dense".
        times: training is so many times as long.

    Raises:
        ValueError: for an unknown name, or a method that wants an init and has none.
    """

    method: str
    init: str = ""
    density: float = 1.0
    times: int = 1

    def __post_init__(self) -> None:
        choose("method", self.method, [*NAMES, *WHOLE])
        fraction("density", self.density, one=True)
        if (self.method in WHOLE) == bool(self.init):
            raise ValueError(f"{self.method} with init {self.init!r}: {', '.join(NAMES)} need one, the others none")
        if self.init:
            choose("init", self.init, SPREADS)

    @classmethod
    def parse(cls, text: str, density: float) -> "Row":
        """Read a row from its name.

        >>> Row.parse("RigL2x ERK", 0.1)
        Row(method='RigL', init='ERK', density=0.1, times=2)
        """
        words = text.split()
        init = words.pop() if len(words) > 1 and words[-1] in SPREADS else ""
        match = re.fullmatch(r"(.*?)(?:(\d)x)?", " ".join(words))
        assert match is not None  # the pattern takes any text
        method = match[1]
        return cls(method, init, 1.0 if method == DENSE else density, int(match[2] or 1))

    @property
    def label(self) -> str:
        """The method as tables print it, such as "RigL2x"."""
        return self.method + (f"{self.times}x" if self.times > 1 else "")

    @property
    def group(self) -> str:
        """Rows that are compared with each other: about the same training FLOPs (one of `GROUPS`)."""
        if self.method == DENSE:
            return GROUPS[3]
        costly = self.method in NAMES and METHODS[NAMES[self.method]].dense_momentum
        if costly or self.method in (PRUNING, LOTTERY) or self.times > 1:
            return GROUPS[2]
        return GROUPS[1] if self.init in ("ER", "ERK") else GROUPS[0]


def plan(names: Iterable[str], densities: Sequence[float]) -> list[Row]:
    """All rows of a table: every name at every density, "Dense" once.

    >>> [(row.label, row.density) for row in plan(["SET ERK", "Dense"], [0.1, 0.2])]
    [('SET', 0.1), ('SET', 0.2), ('Dense', 1.0)]
    """
    return list(dict.fromkeys(Row.parse(name, density) for name in names for density in densities))


def spec(base: SparseSpec, row: Row, prune_begin: str = "700it", prune_warmup: str | None = None) -> SparseSpec:
    """The experiment of a row.

    Args:
        base: model, data, training and update schedule that all rows share; its method and density are replaced.
        row: which.
        prune_begin: first step of gradual pruning.
        prune_warmup: linear learning-rate warm-up of gradual pruning; None: as of the others.
    """
    if row.method == PRUNING and prune_warmup is not None:
        base = replace(base, train=replace(base.train, lr_warmup=prune_warmup))
    if row.method == SMALL:
        return longer(small_dense(base, row.density), row.times)
    topology = replace(base.topology, density=row.density)
    if row.method == PRUNING:
        topology = replace(topology, method="gradual", begin=prune_begin)
    elif row.init:
        topology = replace(topology, method=NAMES[row.method], allocation=SPREADS[row.init])
    else:
        topology = replace(topology, method="dense" if row.method == DENSE else "static")
    return longer(replace(base, topology=topology), row.times)


@dataclass(frozen=True)
class Study:
    """Finished rows of one table.

    Attributes:
        base: what they share; FLOPs are stated in those of training its dense network for its duration.
        rows: in the order of the table.
    """

    base: SparseSpec
    rows: Mapping[Row, SparseRun]

    @cached_property
    def experiment(self) -> Experiment:
        """The dense experiment that all are measured by."""
        return Experiment(spec(self.base, Row(DENSE)))

    def __repr__(self) -> str:
        return f"Study({len(self.rows)} rows of {self.base.model} on {self.base.data.name})"


def train(
    base: SparseSpec, rows: Iterable[Row], seeds: Iterable[int], *, prune_begin: str = "700it",
    prune_warmup: str | None = None, root: Path | None = None,
) -> Study:  # fmt: skip
    """Train all rows of a table; those that are done are read.

    Args:
        base, prune_begin, prune_warmup: as of `spec`.
        rows: which; "Lottery" trains the gradual-pruning run of its density first.
        seeds: the same for each row, so that rows can be compared seed by seed.
        root: folder of the runs.
    """
    rows = list(dict.fromkeys(rows))
    pruning = {row: Row(PRUNING, "", row.density) for row in rows if row.method == LOTTERY}
    specs = {row: spec(base, row, prune_begin, prune_warmup) for row in [*rows, *pruning.values()]}
    done = train_sparse(specs, seeds, masks_of=pruning, root=root)
    return Study(base, {row: done[row] for row in rows})
