"""The set that ships with the kit: tickets of LeNet-300-100 on MNIST, small enough to show something at once."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from labkit import data, models
from labkit.explore.collection import Collection, Key, Network
from labkit.explore.written import written
from labkit.ground import tensor_files
from labkit.ground.names import choose
from labkit.runs.experiment import Experiment
from labkit.runs.provenance import describe
from labkit.sparsity import masks as mask_sets
from labkit.sparsity.packing import pack_network, unpack_network
from labkit.specs.base import from_dict, to_dict, to_yaml
from labkit.specs.tickets import TICKET, TicketSpec
from labkit.studies.branches import Runs
from labkit.studies.evaluations import NETWORK, curves

FOLDER = Path(__file__).with_name("bundled")
NETWORKS, CURVES, README = "networks.safetensors", "evaluations.csv", "README.md"
KIND = "labkit bundle 1"
POINTS = 24  # evaluations of a network that are kept, about
STAND_IN = "digits_as_mnist"  # embedded: what networks are tried on where their data is not here


def make_bundle(tickets: Runs, reinit: Runs, folder: Path, *, levels: Iterable[int], seed: int = 0) -> Path:
    """Write a set: one dense network (start and end), its tickets at some levels, and evaluations of all networks.

    Weights are kept in half precision, and of a ticket those that survive, at its end; it starts from the dense
    network's start, so that has to be where tickets are rewound to. Of the evaluations of a network about `POINTS` are
    kept: the first, the last, and the one where it would have stopped early among them.

    Args:
        tickets: what `find_tickets` gave.
        reinit: what `branch` gave.
        folder: that is written to; made if it is not there.
        levels: of the tickets whose weights are kept, besides level 0.
        seed: of the networks whose weights are kept.

    Raises:
        ValueError: for tickets that are not rewound to step 0, or a level or seed that is not there.
        OSError: if it cannot be written.
    """
    experiment, levels = tickets.experiment, sorted({0, *levels})
    if experiment.rewind:
        raise ValueError(f"the tickets start from step {experiment.rewind} of the dense network: only step 0 is kept")
    packed = {f"start/{name}": _half(tensor) for name, tensor in tickets.ticket(seed, 0).weights.items()}
    for level in levels:
        networks = tickets.runs[int(choose("level", str(level), map(str, tickets.runs)))]
        place = networks.seeds.index(int(choose("seed", str(seed), map(str, networks.seeds))))
        state, masks = networks.folders[place].end()
        half = {name: _half(tensor) for name, tensor in state.items()}
        packed |= {f"{level}/{name}": tensor for name, tensor in pack_network(half, masks if level else {}).items()}
    evaluations = curves(tickets, reinit)
    about = {
        "kind": KIND, "title": f"{experiment.spec.model} on {experiment.spec.data.name}", "seed": seed,
        "levels": levels, "spec": to_dict(experiment.spec), "options": experiment.options,
        "prunable": list(experiment.prunable), "scale": experiment.data.scale.flatten().tolist(),
        "shift": experiment.data.shift.flatten().tolist(), "seeds": sorted(set(evaluations["seed"])),
        "reinit_levels": reinit.levels, "made": describe(), "computed_by": _commits(tickets, reinit),
    }  # fmt: skip
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensor_files.write(folder / NETWORKS, packed, about)
    _thinned(evaluations).to_csv(folder / CURVES, index=False, float_format="%.6g")
    (folder / README).write_text(_readme(about, experiment.spec))
    return folder


@cache
def bundled(folder: Path = FOLDER) -> Collection:
    """The set that ships with the kit, or one that `make_bundle` has written.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or none.
    """
    about = tensor_files.read_about(folder / NETWORKS)
    if about.get("kind") != KIND:
        raise ValueError(f"{folder / NETWORKS} is no set of networks: it does not say '{KIND}'")
    spec = from_dict(TicketSpec, about["spec"])
    scale, shift = (torch.tensor(about[name]).reshape(-1, 1, 1) for name in ("scale", "shift"))
    return Collection(
        about["title"],
        pd.read_csv(folder / CURVES),
        lambda key: _start(folder, key),
        lambda key: _end(folder, key),
        lambda: _experiment(spec),
        _code(spec, about),
        networks=tuple(Key(TICKET, level, about["seed"]) for level in about["levels"]),
        model=lambda: models.build(spec.model, about["options"]),
        normalise=lambda images: images * scale + shift,
    )


@lru_cache(32)
def _end(folder: Path, key: Key) -> Network:
    about = tensor_files.read_about(folder / NETWORKS)
    if key.branch != TICKET or key.level not in about["levels"] or key.seed != about["seed"] or key.copy:
        raise ValueError(
            f"this set holds the weights of the tickets of seed {about['seed']} at levels {about['levels']}, and of "
            "the others evaluations alone"
        )
    part = f"{key.level}/"
    found, _ = tensor_files.read(folder / NETWORKS, part)
    state, masks = unpack_network({name.removeprefix(part): tensor for name, tensor in found.items()})
    state = {name: tensor.float() for name, tensor in state.items()}
    whole = {name: torch.ones(state[name].shape, dtype=torch.bool) for name in about["prunable"]}
    return state, {name: masks.get(name, whole[name]) for name in about["prunable"]}


@lru_cache(32)
def _start(folder: Path, key: Key) -> Network:
    masks = _end(folder, key)[1]
    found, _ = tensor_files.read(folder / NETWORKS, "start/")
    state = {name.removeprefix("start/"): tensor.float() for name, tensor in found.items()}
    mask_sets.apply(masks, state)
    return state, masks


@cache
def _experiment(spec: TicketSpec) -> Experiment:
    """The experiment on its data where that is here, nothing being downloaded; else on what is embedded."""
    here = spec.data.name in data.EMBEDDED or (data.folder() / f"{spec.data.name}.safetensors").exists()
    return Experiment(spec if here else replace(spec, data=replace(spec.data, name=STAND_IN)))


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _thinned(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Of each network about `POINTS` evaluations, denser at the start, with its smallest validation loss."""
    kept = []
    for _, rows in evaluations.groupby(NETWORK, sort=False):
        last = len(rows) - 1
        places = {round(last * (n / (POINTS - 1)) ** 1.5) for n in range(POINTS)}
        if rows["validation_loss"].notna().any():
            places.add(int(rows["validation_loss"].argmin()))
        kept.append(rows.iloc[sorted(places)])
    return pd.concat(kept, ignore_index=True)


def _commits(*runs: Runs) -> list[str]:
    return sorted({result["commit"] for one in runs for nets in one.runs.values() for result in nets.results})


def _code(spec: TicketSpec, about: Mapping[str, Any]) -> str:
    return "\n".join([
        "import labkit as lk", "from labkit.studies import metrics", "", f"spec = {written(spec)}",
        f"tickets = lk.find_tickets(spec, seeds={about['seeds']})",
        f'reinit = lk.branch(tickets, "random_reinit", levels={about["reinit_levels"]})',
        "evaluations = metrics.curves(tickets, reinit)",
    ])  # fmt: skip


def _readme(about: Mapping[str, Any], spec: TicketSpec) -> str:
    made = ", ".join(f"{name} {value}" for name, value in about["made"].items())
    return f"""# {about["title"]}

What the explorer shows where it is given no runs. Made by `labkit.explore.bundled.make_bundle`:
{made}; networks computed by commit {", ".join(about["computed_by"]) or "unknown"}.

- `{NETWORKS}`: weights of seed {about["seed"]} in half precision: the dense network at its start and at its end, and
  the tickets of levels {about["levels"][1:]} at their ends (surviving weights and packed masks).
- `{CURVES}`: evaluations of seeds {about["seeds"]}, tickets and random reinits (levels {about["reinit_levels"]}):
  about {POINTS} of each network, the one of smallest validation loss among them. They were computed in single
  precision, before weights were halved.

```yaml
{to_yaml(spec)}```
"""
