"""Winning tickets: iterative magnitude pruning with rewinding, and the controls that branch off it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from labkit.ground.lists import listed
from labkit.ground.names import choose, shown, whole
from labkit.ground.randomness import generator
from labkit.runs.experiment import Experiment
from labkit.runs.own_code import code_digest
from labkit.runs.run import Run, Start, States
from labkit.runs.scheduler import checked_seeds, compute_all
from labkit.runs.ticket_files import Ticket
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.masks import Masks
from labkit.sparsity.pruning import keep_counts, prune_global, prune_layers, surviving
from labkit.sparsity.scores import Evidence, score
from labkit.specs.base import nested
from labkit.specs.tickets import TICKET, TicketSpec

MOST_PER_SEED = 1000
TITLES = {TICKET: "tickets", "random_reinit": "random reinits", "random_sparse": "random sparse networks"}


@dataclass(frozen=True)
class Runs:
    """Finished runs of one branch, by level of pruning: the tickets themselves, or a control that branches off them."""

    branch: str
    runs: Mapping[int, Run]
    experiment: Experiment

    @property
    def levels(self) -> list[int]:
        """Levels of pruning that were trained."""
        return list(self.runs)

    @property
    def seconds(self) -> float:
        """Wall time that training these runs took, whenever that was."""
        return sum(run.result["seconds"] for run in self.runs.values())

    def metrics(self) -> pd.DataFrame:
        """All evaluations of all runs; see `Run.metrics`."""
        return pd.concat([run.metrics() for run in self.runs.values()], ignore_index=True)

    def ticket(self, seed: int, level: int, copy: int = 0) -> Ticket:
        """The network of a seed at a level as it was before training: weights to start from, mask, provenance.

        Raises:
            ValueError: if there is no such level or seed.
        """
        run = self.runs[int(choose("level", str(level), map(str, self.runs)))]
        pairs = [f"{replicate['seed']}/{replicate['copy']}" for replicate in run.result["replicates"]]
        index = pairs.index(choose("seed/copy", f"{seed}/{copy}", pairs))
        states, masks = run.start()
        about = {
            "model": self.experiment.spec.model, "data": self.experiment.spec.data.name, "branch": self.branch,
            "level": level, "seed": seed, "copy": copy, "rewind_step": run.result["begin"],
            "spec": run.result["spec"], "run": run.folder.hash, "labkit": run.result["labkit"],
        }  # fmt: skip
        return Ticket(
            {name: s[index] for name, s in states.items()}, {name: m[index] for name, m in masks.items()}, about
        )

    def __repr__(self) -> str:
        seeds = sorted({seed for run in self.runs.values() for seed in run.seeds})
        return f"Runs({self.branch}: levels {self.levels}, seeds {seeds})"

    def _repr_html_(self) -> str:
        rows = [
            {
                "level": level, "weights left, %": 100 * run.result["replicates"][0]["density"],
                "networks": len(run.result["replicates"]), "seconds": run.result["seconds"], "run": run.folder.hash,
            }
            for level, run in self.runs.items()
        ]  # fmt: skip
        return f"<b>{self.branch}</b>" + pd.DataFrame(rows).to_html(index=False, float_format="{:.2f}".format, border=0)


def find_tickets(spec: TicketSpec, seeds: Iterable[int], *, root: Path | None = None) -> Runs:
    """Find winning tickets by magnitude pruning with rewinding (Frankle & Carbin 2019, section 1; 2020 for rewinding).

    For each seed: initialise, train to the end, keep the best-scored share of the surviving weights of each layer (or
    of all layers), set the survivors back to their values at step `spec.rewind`, train again; `spec.prune.levels`
    times. All seeds train as one population. Finished levels are read from the run folder, a broken one is resumed.

    Args:
        spec: the experiment.
        seeds: one a network.
        root: folder of the runs; default `labkit.runs.folders.runs_folder()`.

    Raises:
        ValueError: for a spec or seeds that cannot run, before any training.
        OSError: if the run folder cannot be written.
        RuntimeError: if every network diverged.
    """
    spec, seeds = nested("spec", spec, kind=TicketSpec), checked_seeds(seeds)
    if spec.prune.levels is None:
        raise ValueError(
            "prune.levels is None: say how many rounds to prune, such as prune=PruneSpec(levels=7); 0 trains the dense "
            "network alone"
        )
    experiment = Experiment(spec, root)
    levels = range(spec.prune.levels + 1)
    runs = {level: Run(experiment.folder(level, TICKET, seeds), TICKET, level) for level in levels}
    dense = [(seed, 0) for seed in seeds]

    def start(level: int) -> Start:
        if level == 0:
            states = experiment.initial(dense, "init")
            return Start(states, mask_sets.ones(states, experiment.prunable), dense)
        parent = runs[level - 1 if spec.prune.iterative else 0]
        return _next_ticket(experiment, runs[0], parent, level)

    def begin(level: int) -> int:
        return experiment.rewind if level else 0

    compute_all(experiment, runs, start, begin, TITLES[TICKET])
    return Runs(TICKET, runs, experiment)


def _next_ticket(experiment: Experiment, root: Run, parent: Run, level: int) -> Start:
    trained, old = parent.final()
    alive = _alive(parent)
    rewound = root.folder.read_tensors("rewind") if experiment.rewind else root.start()[0]
    replicates = [(parent.seeds[n], 0) for n in alive]
    positions = [root.seeds.index(seed) for seed, _ in replicates]
    states = {name: state[positions] for name, state in rewound.items()}
    pruned = [
        prune(experiment, _one(old, n), experiment.evidence(_one(trained, n), seed, level), level)
        for n, (seed, _) in zip(alive, replicates, strict=True)
    ]
    masks = {name: torch.stack([mask[name] for mask in pruned]) for name in old}
    mask_sets.apply(masks, states)
    return Start(states, masks, replicates)


def prune(experiment: Experiment, masks: Masks, evidence: Evidence, level: int) -> Masks:
    """The mask of one network at a level, from its last mask and its trained weights, by the rates of the spec."""
    spec, at = experiment.spec.prune, experiment.rates
    pool = [name for name in experiment.prunable if at[name] > 0]
    scores = score(spec.score, replace(evidence, weights={name: evidence.weights[name] for name in pool}))
    if spec.scope == "layer":
        return prune_layers(masks, scores, keep_counts({name: experiment.sizes[name] for name in pool}, at, level))
    return prune_global(masks, scores, surviving(sum(experiment.sizes[name] for name in pool), spec.rate, level))


def random_reinit(experiment: Experiment, masks: Masks, replicates: Sequence[tuple[int, int]], level: int) -> Start:
    """The ticket's mask with a new initialisation, another at each level (LTH Figures 3 to 5, "random reinit")."""
    states = experiment.initial(replicates, f"reinit/{level}")
    mask_sets.apply(masks, states)
    return Start(states, masks, replicates)


def random_sparse(experiment: Experiment, masks: Masks, replicates: Sequence[tuple[int, int]], level: int) -> Start:
    """As many weights in each layer, drawn at random, and a new initialisation; others at each level (LTH Figure 1)."""
    drawn = [
        mask_sets.shuffle(_one(masks, n), generator(seed, "sparse", level, copy))
        for n, (seed, copy) in enumerate(replicates)
    ]
    stacked = {name: torch.stack([mask[name] for mask in drawn]) for name in masks}
    states = experiment.initial(replicates, f"sparse/{level}")
    mask_sets.apply(stacked, states)
    return Start(states, stacked, replicates)


Control = Callable[[Experiment, Masks, Sequence[tuple[int, int]], int], Start]
BRANCHES: dict[str, Control] = {"random_reinit": random_reinit, "random_sparse": random_sparse}


def branch(trunk: Runs, kind: str | Control, *, per_seed: int = 1, levels: Iterable[int] | None = None) -> Runs:
    """Train a control beside the tickets: same data order, same length, other weights or masks.

    Args:
        trunk: what `find_tickets` gave.
        kind: a name of `BRANCHES`, or a function like those.
        per_seed: networks for each ticket.
        levels: at which levels of pruning; default all from 1.

    Raises:
        ValueError: for an unknown kind or level, or no level.
    """
    if not isinstance(trunk, Runs):
        raise ValueError(f"trunk is {shown(trunk)}: it must be what find_tickets gave")
    control = kind if callable(kind) else BRANCHES[choose("branch", kind, BRANCHES)]
    registered = [key for key, function in BRANCHES.items() if function is control]
    name = registered[0] if registered else f"{control.__qualname__} {code_digest(control)}"
    above = [level for level in trunk.levels if level]
    wanted = above if levels is None else listed("levels", levels, of=whole, like=str(above))
    for level in wanted:
        choose("level", str(level), map(str, trunk.levels))
    if not wanted:
        raise ValueError(f"levels is {wanted}: give at least one of the tickets' levels, {trunk.levels}")
    experiment, per_seed = trunk.experiment, whole("per_seed", per_seed, 1, MOST_PER_SEED)
    seeds = trunk.runs[0].seeds
    runs = {level: Run(experiment.folder(level, name, seeds, per_seed), name, level) for level in wanted}

    def start(level: int) -> Start:
        run = trunk.runs[level]
        alive = _alive(run)
        replicates = [(run.seeds[n], copy) for n in alive for copy in range(per_seed)]
        masks = {key: mask[alive].repeat_interleave(per_seed, 0) for key, mask in run.start()[1].items()}
        found = control(experiment, masks, replicates, level)
        _check_start(name, found, masks, replicates)
        return found

    compute_all(experiment, runs, start, lambda level: experiment.rewind, TITLES.get(name, name))
    return Runs(name, runs, experiment)


def _check_start(name: str, found: object, masks: Masks, replicates: Sequence[tuple[int, int]]) -> None:
    if not isinstance(found, Start):
        raise ValueError(f"control {name!r} gives a {type(found).__name__}: it must give a labkit.runs.run.Start")
    if list(found.replicates) != list(replicates) or found.masks.keys() != masks.keys():
        raise ValueError(f"control {name!r} must give the replicates it was given, in their order, and a mask a layer")


def _alive(run: Run) -> list[int]:
    if not run.alive:
        raise RuntimeError(f"every network of {run.branch} diverged at level {run.level}; see {run.folder.path}")
    return run.alive


def _one(stacked: Mapping[str, Tensor], n: int) -> States:
    return {name: tensor[n] for name, tensor in stacked.items()}
