"""A widget that trains a small network while one looks on: started, paused, stopped, and stored like any run."""

import time

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from labkit.explore.panel import WRAP, Panel
from labkit.explore.worker import Worker
from labkit.explore.written import written
from labkit.figures.style import COLOURS, finish
from labkit.runs.experiment import Experiment
from labkit.runs.run import Run
from labkit.runs.store import Store
from labkit.runs.watching import Progressed, Row, watched
from labkit.sparsity.methods import METHODS
from labkit.specs.networks import TrainSpec
from labkit.specs.sparse import SparseSpec, TopologySpec
from labkit.studies.sparse_training import sparse_run, train_sparse
from labkit.training.history import Record

SEED = 0
TRAIN = TrainSpec(duration="1200it", evaluate_every="20it")
DENSITIES, RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5), (0.1, 0.2, 0.3, 0.4, 0.5)
EVERY = ("10it", "25it", "50it", "100it")
METHOD_NAMES = ("rigl", "set", "snfs", "gradual", "static", "dense")
SHOWN_EVERY = 0.4  # seconds, while it trains
LINES = {"test_accuracy": "test", "validation_accuracy": "validation", "train_accuracy": "training, as it went"}


class TryIt(Panel):
    """LeNet-300-100 on the embedded digits, trained live beside the cells of the notebook.

    What is trained is the run of `lk.train_sparse` with the same spec: in the same folder, with the same numbers. One
    that is stopped goes on from where it was, also after a restart of the kernel; one that another widget or process
    trains is followed by what that saves. In the moments in which a network is built, PyTorch's own generator is put
    back afterwards, and a cell that draws from it just then may see the same numbers twice.

    Args:
        train: how; by default 1,200 iterations, evaluated every 20.

    Attributes:
        method, density, rate, every: what is trained (`TopologySpec`).
        start, pause, stop: buttons.
        worker: that trains.
    """

    name = "try_it"

    def __init__(self, train: TrainSpec = TRAIN):
        self.train, self.worker = train, Worker(self.refresh)
        self._runs: dict[SparseSpec, Run] = {}
        self._rows: list[Row] = []
        self._trained: SparseSpec | None = None  # by the worker, whatever controls say meanwhile
        self._waiting, self._shown = False, 0.0
        self.method = widgets.Dropdown(description="method", options=[(METHODS[m].title, m) for m in METHOD_NAMES])
        self.density = widgets.SelectionSlider(
            description="density", options=[(f"{100 * density:g} %", density) for density in DENSITIES], value=0.1
        )
        self.rate = widgets.SelectionSlider(description="rate", options=RATES, value=0.3)
        self.every = widgets.SelectionSlider(description="every", options=EVERY, value="50it")
        self.start, self.pause, self.stop = (
            widgets.Button(description=name, tooltip=tip)
            for name, tip in (("Start", "train, or go on"), ("Pause", "rest; Start goes on"), ("Stop", "save and end"))
        )
        self.start.on_click(lambda button: self.guard(self._start))
        self.pause.on_click(lambda button: self.worker.pause())
        self.stop.on_click(lambda button: self.worker.stop())
        buttons = widgets.HBox([self.start, self.pause, self.stop], layout=WRAP)
        super().__init__(self.method, self.density, self.rate, self.every, also=(buttons,), height=460)
        self.refresh()

    @property
    def spec(self) -> SparseSpec:
        """What the controls ask for."""
        topology = TopologySpec(self.method.value, self.density.value, "erk", self.rate.value, self.every.value)
        # whose weights are drawn from a generator of their own: what a cell draws meanwhile cannot get among them
        return SparseSpec(train=self.train, topology=topology, init="glorot_normal")

    @property
    def run(self) -> Run:
        """The run of `spec`."""
        return self._run_of(self.spec)

    def draw(self) -> str:
        """See `Panel`."""
        spec = self._trained if self.worker.busy and self._trained is not None else self.spec
        rows, total = self._table(), self._run_of(spec).experiment.iterations
        figure = go.Figure()
        for (column, name), colour in zip(LINES.items(), COLOURS, strict=False):
            values = [None if pd.isna(value) else 100 * value for value in rows[column]]
            figure.add_scatter(x=rows["iteration"], y=values, name=name, mode="lines+markers", marker={"size": 4},
                               line={"color": colour})  # fmt: skip
        figure.update_xaxes(title="training iteration", range=[0, 1.02 * total])
        figure.update_yaxes(title="accuracy, %", range=[0, 101])
        moving = METHODS[self.method.value].masks in ("moving", "pruned")
        for control, counts in ((self.rate, METHODS[self.method.value].masks == "moving"), (self.every, moving),
                                (self.density, self.method.value != "dense")):  # fmt: skip
            control.layout.visibility = "visible" if counts else "hidden"
        self.put(finish(figure, "", "one network; training accuracy: mean over the batches since the last point"))
        return self._found(spec.topology, rows, total)

    def table(self) -> pd.DataFrame:
        """See `Panel`: a row an evaluation."""
        return self._table()

    def code(self) -> str:
        """See `Panel`."""
        return f"import labkit as lk\n\nrun = lk.train_sparse({written(self.spec)}, seeds=[{SEED}])\nrun.metrics()"

    def refresh(self) -> None:
        """Draw again, and say what goes on; by one thread at a time."""
        with self.worker.lock:
            state = self.worker.state
            super().refresh()
            self.start.disabled, self.pause.disabled = state in ("running", "stopping"), state != "running"
            self.stop.disabled = state not in ("running", "paused")
            for control in self.controls:
                control.disabled = self.worker.busy
            if state == "failed":
                self.guard(self._fail)
            elif not self.said:
                self.say(self._status(state))

    def close(self) -> None:
        """Stop what is on its way, and take the widget away."""
        self.worker.stop()
        super().close()

    def _run_of(self, spec: SparseSpec) -> Run:
        if spec not in self._runs:
            self._runs[spec] = sparse_run(Experiment(spec), SEED)
        return self._runs[spec]

    def _start(self) -> None:
        spec, run = self.spec, self.run
        if not self.worker.busy:
            self._rows, self._waiting, self._trained = self._stored(run), False, spec
        self.worker.start(lambda: self._train(spec, run))

    def _train(self, spec: SparseSpec, run: Run) -> None:
        """In the worker's thread."""

        def told(progressed: Progressed) -> None:
            self._waiting = progressed.waiting
            if progressed.waiting:
                self._rows = self._stored(run)
            elif found := progressed.rows.get(run.hash):
                self._rows = found
            if time.monotonic() - self._shown > SHOWN_EVERY:
                self._shown = time.monotonic()
                self.worker.tell()
            self.worker.look()

        self.worker.look()
        with watched(told):
            train_sparse(spec, [SEED])

    def _fail(self) -> None:
        assert self.worker.error is not None
        raise self.worker.error

    def _status(self, state: str) -> str:
        if state == "running" and self._waiting:
            return "another widget or process trains this; what it saves is shown"
        if state == "paused":
            return "paused: Start goes on, Stop saves it and ends"
        return {"running": "training; other cells can be run meanwhile", "stopping": "stopping: what is done is saved",
                }.get(state, "")  # fmt: skip

    def _stored(self, run: Run) -> list[Row]:
        """What of a run is stored: all of one that is finished, else up to where it was last saved."""
        folder = Store().folder(run)
        if folder.about() is not None:
            return folder.record().rows(self.train.batch_size)
        found = folder.checkpoint()
        return Record.of(found[0]).rows(self.train.batch_size) if found else []

    def _table(self) -> pd.DataFrame:
        rows = self._rows if self.worker.busy else self._stored(self.run)
        return pd.DataFrame(rows, columns=["iteration", "train_loss", "validation_loss", "test_loss", *LINES])

    def _found(self, topology: TopologySpec, rows: pd.DataFrame, total: int) -> str:
        density = f" at {100 * topology.density:g} %"
        name = topology.row.title + density * (topology.method != "dense")
        tested = rows[rows["test_accuracy"].notna()]
        if tested.empty:
            return f"{name}: not trained yet" if not self.worker.busy else f"{name}: about to train"
        step, accuracy = tested.iloc[-1][["iteration", "test_accuracy"]]
        return f"{name}: test accuracy {100 * accuracy:.1f} % after {int(step):,} of {total:,} iterations"
