"""labkit: a notebook-first study kit for sparse neural networks."""

__version__ = "0.1.0"

from labkit.ground.steps import Step
from labkit.notebook.settings import settings
from labkit.runs.bank import Bank
from labkit.runs.experiment import Experiment
from labkit.runs.ticket_files import Ticket
from labkit.specs.networks import DataSpec, TrainSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.specs.tickets import PruneSpec, TicketSpec
from labkit.studies.budgets import longer, small_dense
from labkit.studies.controls import branch, random_reinit, random_sparse, random_ticket
from labkit.studies.sparse_runs import SparseRun
from labkit.studies.sparse_training import train_sparse
from labkit.studies.ticket_training import train
from labkit.studies.tickets import find_tickets
from labkit.studies.transfer import transfer

__all__ = [
    "Bank",
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
    "random_ticket",
    "settings",
    "small_dense",
    "train",
    "train_sparse",
    "transfer",
]
