"""A trained network pruned under one's fingers: first a guess, then the answer, then what its ticket learns again."""

from dataclasses import replace
from typing import NamedTuple

import ipywidgets as widgets
import pandas as pd

from labkit.explore.collection import Collection, Key, collection
from labkit.explore.panel import EXPECTED, WRAP, Panel
from labkit.explore.worker import Worker
from labkit.figures.pruned import pruned_accuracies
from labkit.runs.ticket_files import Ticket
from labkit.runs.watching import Progressed, watched
from labkit.sparsity.pruning import SCOPES
from labkit.sparsity.scores import SCORES
from labkit.specs.tickets import TICKET
from labkit.studies.branches import Runs
from labkit.studies.pruned_once import PrunedOnce
from labkit.studies.ticket_training import train

DENSITIES = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005)
LENGTHS, DEFAULT_LENGTH = (100, 200, 500, 1000, 2000, 5000), 500
SAID = {"layer": "layer by layer", "global": "all layers together"}


class Setting(NamedTuple):
    """How a network is pruned."""

    seed: int
    score: str
    scope: str
    density: float


class PruneNow(Panel):
    """A trained network is pruned once; one guesses what it still knows, sees it, and trains its ticket.

    The answer for a setting is shown after a guess. "Retrain" trains what survives from its initial values, in a
    thread of its own and stored like any run; the widget stays usable.

    Args:
        runs: what `find_tickets` gave; without, the set that ships with the kit. Where its data is not in the data
            folder, images that are embedded stand in for it, and the caption says so.

    Attributes:
        measured, guesses, retrained: of each setting, fractions.
        worker: that trains.
    """

    name = "prune"

    def __init__(self, *runs: Runs):
        self._bundled = not runs
        try:
            below = self._begin(collection(*runs))
        except EXPECTED as error:  # runs that are gone, damaged, or of another kind
            self.lose(error)
            return
        super().__init__(self.seed, self.score, self.scope, self.density, also=(below,))
        self.refresh()

    def _begin(self, shown: Collection) -> widgets.Widget:
        """Make the controls; those that redraw nothing by themselves are given back."""
        self.collection = shown
        dense = [key for key in self.collection.networks if key.branch == TICKET and not key.level]
        if not dense:
            raise ValueError("there is no dense network whose weights were kept: give what find_tickets gave")
        self._once = dict[int, PrunedOnce]()
        self.measured, self.guesses, self.retrained = (dict[Setting, float]() for _ in range(3))
        self._told, self._working = "", None
        self.worker = Worker(self.refresh)
        self.seed = widgets.Dropdown(description="seed", options=sorted({key.seed for key in dense}))
        self.score = widgets.Dropdown(description="criterion", options=list(SCORES))
        self.scope = widgets.Dropdown(description="scope", options={SAID[scope]: scope for scope in SCOPES})
        self.density = widgets.SelectionSlider(description="left", value=0.1,
                                               options=[(f"{100 * d:g} %", d) for d in DENSITIES])  # fmt: skip
        self.guess = widgets.IntSlider(description="my guess, %", value=50, min=0, max=100)
        self.show = widgets.Button(description="Show", tooltip="the accuracy, once you have guessed it")
        total = int(self.collection.evaluations["iteration"].max())
        lengths = [*(length for length in LENGTHS if length < total), total]
        self.length = widgets.SelectionSlider(description="iterations", options=lengths,
                                              value=DEFAULT_LENGTH if DEFAULT_LENGTH in lengths else total)  # fmt: skip
        self.again = widgets.Button(description="Retrain", tooltip="train its ticket from the initial weights")
        self.halt = widgets.Button(description="Stop", tooltip="stop training")
        self.progress = widgets.HTML()
        self.show.on_click(lambda button: self.guard(self.answer))
        self.again.on_click(lambda button: self.guard(self.retrain))
        self.halt.on_click(lambda button: self.worker.stop())
        return widgets.Box([self.guess, self.show, self.length, self.again, self.halt, self.progress], layout=WRAP)

    def refresh(self) -> None:
        """Draw again; two threads take turns."""
        with self.worker.lock:
            super().refresh()
            if self.worker.error is not None:
                self.say(f"training failed: {self.worker.error}", alert=True)

    def draw(self) -> str:
        """Show what was measured by this criterion and scope; of a setting without a guess, ask for one."""
        at, once = self.setting, self._pruner()
        whole = self._measure(at._replace(density=1.0))
        test = f"{once.experiment.data.size('test'):,} test images of {once.experiment.data.name}"
        if self._bundled and once.experiment.data.name not in self.collection.title:
            test += ", which stand in for data that is not in the data folder"
        self.put(pruned_accuracies(self._shown(), at.density, whole, "", f"{test}; one network, seed {at.seed}"))
        known = at in self.guesses
        self.show.disabled, self.again.disabled = known, not known or self.worker.busy
        self.halt.disabled, self.progress.value = not self.worker.busy, f'<span role="status">{self._told}</span>'
        return self._title_of(at, whole)

    def table(self) -> pd.DataFrame:
        """All settings that were guessed: measured, guess, retrained, fractions."""
        rows = [{**at._asdict(), "measured": self.measured[at], "guess": guess, "retrained": self.retrained.get(at)}
                for at, guess in self.guesses.items()]  # fmt: skip
        columns = [*Setting._fields, "measured", "guess", "retrained"]
        return pd.DataFrame(rows, columns=columns).astype({"retrained": float})

    def code(self) -> str:
        """Python that prunes and trains the same."""
        at = self.setting
        return (
            f"{self.collection.code}\n\nfrom labkit.studies.pruned_once import PrunedOnce\n\n"
            f"(trained, _), start = tickets.runs[0].folders[{self.seed.index}].end(), tickets.ticket({at.seed}, 0)\n"
            f"once = PrunedOnce(tickets.experiment, trained, start.weights, seed={at.seed})\n"
            f"masks = once.masks({at.score!r}, {at.scope!r}, {at.density})\nonce.accuracy(masks)\n"
            f"lk.train(once.ticket(masks), spec, [{at.seed}]).ends()"
        )

    @property
    def setting(self) -> Setting:
        """That the controls have."""
        return Setting(self.seed.value, self.score.value, self.scope.value, self.density.value)

    def answer(self) -> None:
        """Take the guess as it stands, and show the accuracy of this setting."""
        at = self.setting
        with self.worker.lock:
            if at not in self.guesses:
                self._measure(at)
                self.guesses[at] = self.guess.value / 100
        self.refresh()

    def retrain(self) -> None:
        """Train what survives, from its initial values; returns at once.

        Raises:
            ValueError: if the setting was not guessed yet, or nothing survives.
        """
        at, length = self.setting, self.length.value
        if at not in self.guesses:
            raise ValueError("first guess what the pruned network knows, and press Show")
        ticket = self._pruner().ticket(self._pruner().masks(*at[1:]))
        self.worker.start(lambda: self._train(at, ticket, length))

    def _train(self, at: Setting, ticket: Ticket, length: int) -> None:
        experiment = self._pruner(at.seed).experiment
        recipe = replace(experiment.spec.train, duration=f"{length}it", evaluate_every=f"{max(1, length // 5)}it")

        def told(progressed: Progressed) -> None:
            self._told = f"{progressed.done:,} of {progressed.total:,} iterations"
            self.worker.tell()
            self.worker.look()

        try:
            with watched(told):
                run = train(ticket, replace(experiment.spec, train=recipe), [at.seed], first="0it")
            self.retrained[at] = float(run.ends()["test_accuracy"].iloc[0])
            self._told = f"trained for {length:,} of {experiment.iterations:,} iterations"
        except BaseException:
            self._told = "stopped: press Retrain to go on"
            raise

    def _pruner(self, seed: int | None = None) -> PrunedOnce:
        seed = self.seed.value if seed is None else seed
        if seed not in self._once:
            dense = Key(TICKET, 0, seed)
            found = self.collection.end(dense)[0], self.collection.start(dense)[0]
            self._once[seed] = PrunedOnce(self.collection.experiment(), *found, seed=seed)
        return self._once[seed]

    def _measure(self, at: Setting) -> float:
        if at not in self.measured:
            self.measured[at] = self._pruner(at.seed).accuracy(self._pruner(at.seed).masks(*at[1:]))
        return self.measured[at]

    def _shown(self) -> pd.DataFrame:
        table, at = self.table(), self.setting
        return table[(table["seed"] == at.seed) & (table["score"] == at.score) & (table["scope"] == at.scope)]

    def _title_of(self, at: Setting, whole: float) -> str:
        how = f"{100 * at.density:g} % of the weights left, by {at.score}, {SAID[at.scope]}"
        if at not in self.guesses:
            return f"{how}: how many of the {100 * whole:.1f} % right answers stay? Guess, then press Show"
        found, off = 100 * self.measured[at], 100 * (self.guesses[at] - self.measured[at])
        said = f"{how}: {found:.1f} % right, your guess {abs(off):.1f} points too {'high' if off > 0 else 'low'}"
        return said + (f"; its ticket, trained: {100 * self.retrained[at]:.1f} %" if at in self.retrained else "")
