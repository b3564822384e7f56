"""labkit: a notebook-first study kit for sparse neural networks."""

__version__ = "0.1.0"

from labkit.experiment import Experiment
from labkit.parameters import settings
from labkit.sparse import SparseRun, longer, small_dense, train_sparse
from labkit.sparse_specs import SparseSpec, TopologySpec
from labkit.specs import DataSpec, TrainSpec
from labkit.steps import Step
from labkit.ticket_specs import PruneSpec, TicketSpec
from labkit.ticketfile import Ticket
from labkit.tickets import branch, find_tickets, random_reinit, random_sparse

__all__ = [
    "DataSpec",
    "Experiment",
    "PruneSpec",
    "SparseRun",
    "SparseSpec",
    "Step",
    "Ticket",
    "TicketSpec",
    "TopologySpec",
    "TrainSpec",
    "branch",
    "find_tickets",
    "longer",
    "random_reinit",
    "random_sparse",
    "settings",
    "small_dense",
    "train_sparse",
]
