"""A ticket from a file, or of a study, trained by itself."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from labkit.ground.names import shown, whole
from labkit.ground.steps import moment
from labkit.runs.experiment import Experiment
from labkit.runs.mask_sources import Headless
from labkit.runs.networks import Labelled
from labkit.runs.run import Run
from labkit.runs.scheduler import checked_seeds
from labkit.runs.starts import Start
from labkit.runs.ticket_files import Ticket
from labkit.runs.weight_sources import Carried, Given
from labkit.specs.networks import NetworkSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.studies.heads import fresh_head
from labkit.studies.sparse_runs import SparseRun
from labkit.studies.sparse_training import computed


def train(
    ticket: Ticket, spec: NetworkSpec, seeds: Iterable[int], *, first: str | None = None, head: str | None = None,
    root: Path | None = None,
) -> SparseRun:  # fmt: skip
    """Train a ticket from its weights, its mask kept: one network a seed, of its batches (and a fresh head) alone.

    A ticket that was rewound to a step goes on from there, as in its search: with the same spec and seed it is trained
    bit for bit as there.

    Args:
        ticket: from a file, or of a study (`Runs.ticket`).
        spec: model, data and training, of any kind of spec; a `SparseSpec` says how masks change (else they stay).
            Its initialisation, its pruning and where it rewinds to have no say.
        seeds: one a network.
        first: the moment from which schedules and data order go on (a `Step`, such as "500it"). None: the step that
            the ticket was rewound to, if it says one (`about["rewind_step"]`), else the first.
        head: "same" takes the last layer from the ticket, "fresh" draws it anew, whole. None: "same" if it fits.
        root: folder of the runs.

    Raises:
        ValueError: if the ticket is not of that model (names the first parameter that differs), its head is pruned
            and is to be fresh, or training ends before it would begin. Before any training.
    """
    if not isinstance(ticket, Ticket):
        raise ValueError(f"ticket is {shown(ticket)}: it must be a Ticket, such as Ticket.load(path) gives")
    if not isinstance(spec, NetworkSpec):
        raise ValueError(f"spec is {shown(spec)}: it must be a TicketSpec or a SparseSpec")
    if not isinstance(spec, SparseSpec):
        shared = {entry.name: getattr(spec, entry.name) for entry in fields(NetworkSpec)}
        spec = SparseSpec(**shared, topology=TopologySpec("static", density=ticket.density))
    if spec.topology.row.masks in ("none", "pruned"):
        raise ValueError(f'the mask of a ticket is kept ("static") or moves, not {spec.topology.method!r}')
    experiment = Experiment(spec, root)
    begin = _first_step(ticket, first, experiment)
    shapes = {name: tuple(tensor.shape) for name, tensor in ticket.weights.items()}
    own = ticket.mask.get(experiment.output)
    fresh = fresh_head(experiment, shapes, head, pruned="" if own is None or bool(own.all()) else experiment.output)
    layers = {name: ticket.mask[name] for name in experiment.prunable if name in ticket.mask}
    if odd := set(ticket.mask) - set(layers):
        raise ValueError(f"the ticket masks {sorted(odd)[0]}, which this model does not prune")
    weights, mask = Given.of(ticket.weights), Given.of(layers)
    if not fresh:
        ticket.load_into(experiment.model())
    start = Start(Carried(weights, fresh), Headless(mask, fresh)) if fresh else Start(weights, mask)
    members = [Labelled(Run(experiment, seed, start, first=begin), "ticket") for seed in checked_seeds(seeds)]
    return SparseRun(computed({None: members}, "networks of a ticket", root)[None], experiment)


def _first_step(ticket: Ticket, first: str | None, experiment: Experiment) -> int:
    """The step at which training begins; masks that are to move must have a moment for it from there on."""
    steps, rewound = experiment.iterations, ticket.about.get("rewind_step")
    if first is not None:
        begin = experiment.clock.iterations(moment("first", first))
        if begin >= steps:
            raise ValueError(f"first is {shown(first)}, step {begin:,}: training has only {steps:,} steps")
    else:
        begin = 0 if rewound is None else whole("rewind_step of the ticket", rewound)
        if begin >= steps:
            raise ValueError(f"the ticket was rewound to step {begin:,}, and this training has only {steps:,} steps: "
                             "train longer, or write first='0it', or another moment before the end")  # fmt: skip
    if experiment.dynamics and experiment.moving and experiment.dynamics.moments[-1] < begin:
        last = experiment.dynamics.moments[-1]
        raise ValueError(f"training would begin at step {begin:,}, and masks move at step {last:,} for the last time")
    return begin
