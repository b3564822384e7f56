"""What a dozen experiments gave: histories over 200 steps, masks and outcomes, kept in `goldens.json`.

A change that is to leave numbers alone must give them again (`test_goldens`). One that is to change them says so in its
commit, and writes them anew: `python -m tests.goldens`.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import labkit as lk
from labkit.ground.randomness import generator

FILE = Path(__file__).with_suffix(".json")
SEEDS = [0, 1]
SLOW = {"conv_4", "resnet20", "vgg19", "wrn_22_2"}  # of these the first seed is trained again
SKETCH = 512  # bits of a mask that are kept
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")

Network = dict[str, Any]


def train(duration: str = "200it", **changes: Any) -> lk.TrainSpec:
    return lk.TrainSpec(**{"duration": duration, "evaluate_every": "40it", "batch_size": 20} | changes)


SGD = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
CALM = SGD | {"lr": 0.01}  # batch norm at a high rate magnifies rounding a thousand times within 200 steps
DROPS = {"lr_warmup": "20it", "lr_drops": ["0.5run", "0.75run"]}
PRUNE = lk.PruneSpec(rate=0.4, output_rate=0.2, levels=2)
GLOBAL = lk.PruneSpec(rate=0.5, scope="global", levels=1, layer_rates={"classifier.weight": 0})

TICKETS = {
    "lenet, adam": lk.TicketSpec(train=train(), prune=PRUNE),
    "lenet, sgd, rewound": lk.TicketSpec(train=train(**SGD, **DROPS), prune=replace(PRUNE, levels=1), rewind="60it"),
    "lenet, one shot": lk.TicketSpec(train=train(), prune=replace(PRUNE, iterative=False)),
    "conv_2, crop and flip": lk.TicketSpec(
        "conv_2", {"width": 0.125}, train=train(augment="crop_flip"), prune=replace(PRUNE, conv_rate=0.1, levels=1)
    ),
    "conv_4, dropout, second order": lk.TicketSpec(
        "conv_4", {"width": 0.125, "dropout": 0.5}, train=train(), prune=replace(PRUNE, score="obd", levels=1)
    ),
    "resnet20, rewound": lk.TicketSpec(
        "resnet20", {"width": 0.25}, train=train(**CALM, **DROPS), prune=GLOBAL, rewind="20it"
    ),
    "vgg19": lk.TicketSpec("vgg19", {"width": 0.0625}, train=train(**CALM), prune=GLOBAL),
    "own, plain steps": lk.TicketSpec("tests.networks:Plain", train=train(), prune=replace(PRUNE, levels=1)),
}
MOVING = lk.TopologySpec("rigl", 0.2, "erk", every="30it")
SPARSE = {
    "rigl, lenet": lk.SparseSpec(train=train(**SGD), topology=replace(MOVING, allocation="uniform")),
    "set, conv_2": lk.SparseSpec("conv_2", {"width": 0.125}, train=train(), topology=replace(MOVING, method="set")),
    "snfs, wrn_22_2": lk.SparseSpec(
        "wrn_22_2", {"width": 0.125}, train=train(**CALM), topology=replace(MOVING, method="snfs")
    ),
    "rigl_sm, resnet20": lk.SparseSpec(
        "resnet20",
        {"width": 0.25},
        train=train(**CALM, label_smoothing=0.1),
        topology=replace(MOVING, method="rigl_sm"),
    ),
    "gradual, lenet": lk.SparseSpec(train=train(), topology=replace(MOVING, method="gradual", begin="30it")),
    "static, lenet": lk.SparseSpec(train=train(**SGD), topology=replace(MOVING, method="static")),
}
CONTROLS = {"lenet, adam": "random_sparse", "lenet, sgd, rewound": "random_reinit"}


def networks(name: str, root: Path, seeds: Sequence[int] = SEEDS) -> Iterator[tuple[str, Network]]:
    """Train an experiment in a folder of its own; each of its networks by name."""
    if name in SPARSE:
        run = lk.train_sparse(SPARSE[name], seeds, root=root)
        yield from _described(run.metrics(), lambda row: _one(run.final_masks(), list(seeds).index(row.seed)))
        if name == "gradual, lenet":
            again = replace(SPARSE[name], topology=replace(MOVING, method="static"))
            yield from _described(lk.train_sparse(again, seeds, masks_of=run, root=root).metrics(), lambda row: {})
        return
    tickets = lk.find_tickets(TICKETS[name], seeds, root=root)
    branches = [tickets]
    if name in CONTROLS:
        branches.append(lk.branch(tickets, CONTROLS[name], levels=[1]))
    for runs in branches:
        yield from _described(runs.metrics(), _ticket_mask(runs))


def _ticket_mask(runs: Any) -> Callable[[Any], dict[str, torch.Tensor]]:
    return lambda row: runs.ticket(row.seed, row.level, row.copy).mask


def _one(masks: dict[str, torch.Tensor], n: int) -> dict[str, torch.Tensor]:
    return {layer: mask[n] for layer, mask in masks.items()}


def _described(metrics: Any, mask: Callable[[Any], dict[str, torch.Tensor]]) -> Iterator[tuple[str, Network]]:
    for (branch, level, seed), part in metrics.groupby(["branch", "level", "seed"], sort=False):
        kept = mask(next(part.itertuples()))
        about = branch.split(",")[0]  # what follows names a folder, which is not a number
        yield (
            f"{about}, level {level}, seed {seed}",
            {
                "history": {key: [round(value, 7) for value in part[key].fillna(-1).tolist()] for key in HISTORY},
                "kept": {layer: int(bits.sum()) for layer, bits in kept.items()},
                "mask": sketch(kept),
            },
        )


def sketch(masks: dict[str, torch.Tensor]) -> str:
    """Some bits of a network's masks, the same places every time; as hexadecimal digits."""
    if not masks:
        return ""
    bits = torch.cat([masks[layer].flatten() for layer in sorted(masks)])
    places = torch.randint(len(bits), (SKETCH,), generator=generator(0, "golden"))
    return f"{int(''.join('01'[bit] for bit in bits[places].tolist()), 2):0{SKETCH // 4}x}"


def differing(one: str, other: str) -> float:
    """The share of bits in which two sketches differ."""
    return (int(one or "0", 16) ^ int(other or "0", 16)).bit_count() / SKETCH


if __name__ == "__main__":
    os.environ["LABKIT_PROGRESS"] = "off"
    torch.set_num_threads(1)
    found = {}
    for name in {**TICKETS, **SPARSE}:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = dict(networks(name, Path(folder)))
    Path(os.environ.get("GOLDENS", FILE)).write_text(json.dumps(found, indent=1) + "\n")
