"""Tuning the drop fraction and the distance of updates by TPE, on validation accuracy; a killed tuning goes on.

The finished trials lie in an Optuna study below the runs folder. A trial is proposed by a sampler of its own, seeded by
the trial's number, from the finished trials before it: what it proposes does not depend on where a tuning was stopped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock

from labkit.ground.lists import optional
from labkit.ground.names import choose, path, shown, whole
from labkit.runs.experiment import Experiment
from labkit.runs.scheduler import checked_seeds
from labkit.runs.store import runs_folder
from labkit.sparsity.methods import METHODS
from labkit.specs.base import digest, nested, to_dict
from labkit.specs.sparse import SparseSpec
from labkit.studies.proposals import Space, propose, quietly
from labkit.studies.sparse_runs import SparseRun
from labkit.studies.sparse_training import sparse_run, train_sparse

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Tuning:
    """A finished tuning.

    Attributes:
        spec: the experiment that was tuned.
        space: where.
        trials: of Optuna, by number.
        runs: one a trial.
        seed: of the sampler.
    """

    spec: SparseSpec
    space: Space
    trials: "tuple[FrozenTrial, ...]"
    runs: tuple[SparseRun, ...]
    seed: int = 0

    def table(self) -> pd.DataFrame:
        """One row a trial: trial, rate, every, validation_accuracy and test_accuracy, means over seeds, fractions."""
        scores = [
            {"validation_accuracy": _score(run), "test_accuracy": _score(run, "test_accuracy")} for run in self.runs
        ]
        return pd.DataFrame(
            [
                {"trial": number, **trial.params, **score}
                for number, (trial, score) in enumerate(zip(self.trials, scores, strict=True))
            ]
        )

    @property
    def best(self) -> SparseRun:
        """The run of the highest validation accuracy, the earliest among equals; test data have no say in it."""
        return self.runs[int(self.table()["validation_accuracy"].argmax())]

    def replayed(self) -> float:
        """Share of the trials that the sampler proposes again, each from the trials before it: 1.0, however often
        the tuning was stopped on its way."""
        again = [propose(self.trials[:n], self.space, self.seed) for n in range(len(self.trials))]
        return sum(new == dict(trial.params) for new, trial in zip(again, self.trials, strict=True)) / len(again)

    def __repr__(self) -> str:
        topology = self.spec.topology
        return (
            f"Tuning({topology.method}, {topology.allocation}, density {topology.density:g}, {len(self.runs)} trials)"
        )


def tune(
    spec: SparseSpec, seeds: Iterable[int], *, trials: int = 15, space: Space | None = None, seed: int = 0,
    root: Path | None = None,
) -> Tuning:  # fmt: skip
    """Tune the drop fraction and the distance of updates; a trial's value is the mean accuracy on validation data.

    Finished trials are read, those that miss are run; asking for more trials goes on from those there are.

    Args:
        spec: the experiment; its own `rate` and `every` are not looked at.
        seeds: networks of a trial. A trial in which one diverges counts as 0.
        trials: how many in all.
        space: where to look; default that of Sundar & Dwaraknath 2021.
        seed: of the sampler.
        root: folder of the runs; default `labkit.runs.store.runs_folder()`.

    Raises:
        ValueError: for a method whose masks do not move, no validation data, or another argument out of range.
    """
    import optuna

    spec = nested("spec", spec, kind=SparseSpec)
    choose("method", spec.topology.method, [name for name, method in METHODS.items() if method.masks == "moving"])
    if spec.data.validation == 0:
        raise ValueError("validation is 0: tuning compares trials on validation data, so some must be held out")
    trials, seed = whole("trials", trials, 1, MOST_TRIALS), whole("seed", seed)
    seeds, space, root = checked_seeds(seeds), Space() if space is None else space, optional("root", root, of=path)
    if not isinstance(space, Space):
        raise ValueError(f"space is {shown(space)}: it must be a Space")
    Experiment(_at(spec, {"rate": space.rate[1], "every": space.every[1]}))  # the longest distance must fit too
    folder = (root or runs_folder()) / "tuning" / _name(spec, seeds, space, seed)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        study = quietly(optuna.create_study, storage=f"sqlite:///{(folder / 'study.db').absolute()}",
                         study_name="tuning", direction="maximize", load_if_exists=True)  # fmt: skip
        while len(done := study.get_trials(deepcopy=False)) < trials:
            found = propose(done, space, seed)
            value = _score(train_sparse(_at(spec, found), seeds, root=root))
            study.add_trial(optuna.create_trial(params=found, distributions=space.distributions(), value=value))
        first = tuple(study.get_trials()[:trials])
    runs = tuple(train_sparse(_at(spec, trial.params), seeds, root=root) for trial in first)
    return Tuning(spec, space, first, runs, seed)


def _at(spec: SparseSpec, found: Mapping[str, Any]) -> SparseSpec:
    return replace(spec, topology=replace(spec.topology, rate=found["rate"], every=f"{found['every']}it"))


def _score(run: SparseRun, column: str = "validation_accuracy") -> float:
    table = run.metrics()
    if table["diverged"].any():
        return 0.0
    return float(table[table["iteration"] == table["iteration"].max()][column].mean())


def _name(spec: SparseSpec, seeds: list[int], space: Space, seed: int) -> str:
    """Of what determines the trials; the data are named by their digest, as runs are."""
    plain = _at(spec, {"rate": space.rate[0], "every": space.every[0]})
    runs = [sparse_run(Experiment(plain), seed).hash for seed in seeds]
    return digest(
        {"runs": runs, "space": {"rate": space.rate, "every": space.every}, "seed": seed, "spec": to_dict(plain)}
    )
