"""A digit that one draws, read by a dense network and by its tickets, and which pixels spoke."""

from typing import Any

import ipywidgets as widgets
import pandas as pd
import torch
from torch import Tensor, nn

from labkit.data.strokes import as_digit
from labkit.explore.canvas import Canvas
from labkit.explore.collection import Collection, Key, collection, count
from labkit.explore.panel import EXPECTED, Panel
from labkit.figures.answers import answers
from labkit.specs.tickets import TICKET
from labkit.studies.branches import Runs
from labkit.training.derivatives import contributions

SHAPE = (1, 28, 28)
MOST = 5  # networks, the dense one included


class DrawADigit(Panel):
    """A digit that one draws, read by a dense network and its tickets.

    What is drawn is brought to the form that MNIST's digits have (see `labkit.data.strokes.as_digit`). Beside what each
    network answers stands what each pixel's ink added to the logit of the answer of one of them, by the weights that
    survive (to first order, compared with a blank page).

    Args:
        runs: what `find_tickets` gave, of networks that take 1x28x28 images; without, the set that ships with the kit.

    Attributes:
        canvas: that is drawn on; its `strokes` can be set.
    """

    name = "digit"

    def __init__(self, *runs: Runs):
        try:
            self._begin(collection(*runs))
        except EXPECTED as error:  # runs that are gone, damaged, or of another kind
            self.lose(error)
            return
        self.canvas = Canvas()
        clear = widgets.Button(description="Clear", tooltip="an empty page")
        clear.on_click(lambda button: self.canvas.set_trait("strokes", []))
        super().__init__(self.whose, clear, also=(self.canvas,), height=400)
        self.canvas.observe(self._changed, "strokes")
        self.refresh()

    def _begin(self, shown: Collection) -> None:
        """Read the networks."""
        self.collection = shown
        shape = getattr(self.collection.model(), "input_shape", None)
        if shape != SHAPE:
            taken = "x".join(map(str, shape)) if shape else "other"
            raise ValueError(f"a digit is an image of 1x28x28: these networks take {taken} images")
        self.members = _some([key for key in self.collection.networks if key.branch == TICKET])
        self.networks: dict[str, nn.Module] = {}
        if not self.members:
            raise ValueError("there are no tickets whose weights were kept: give what find_tickets gave")
        self._load()
        self.whose = widgets.Dropdown(description="pixels of", options=list(self.networks))

    def draw(self) -> str:
        """Show what the networks answer to what is drawn."""
        image = as_digit(self.canvas.strokes)
        probabilities, read = self._answers(image)
        blank = not bool(image.any())
        spoken = torch.zeros(SHAPE[1:])
        caption = "draw a digit: every bar is what a network makes of an empty page"
        if not blank:
            spoken = self._spoken(image, read[self.whose.value])
            label = read[self.whose.value]
            caption = f"pixels: what their ink adds to the logit of {label} ({self.whose.value}), to first order"
        classes = [str(one) for one in range(len(next(iter(probabilities.values()))))]
        self.put(answers(image[0], probabilities, classes, spoken, "", caption))
        return "Draw a digit" if blank else _finding(read)

    def table(self) -> pd.DataFrame:
        """The probability that each network gives each class."""
        probabilities, _ = self._answers(as_digit(self.canvas.strokes))
        rows = [{"network": name, "class": label, "probability": value}
                for name, values in probabilities.items() for label, value in enumerate(values)]  # fmt: skip
        return pd.DataFrame(rows)

    def code(self) -> str:
        """Python that asks the same networks."""
        return (
            f"{self.collection.code}\n\nfrom labkit.data.strokes import as_digit\n\n"
            f"image = as_digit({[list(map(list, line)) for line in self.canvas.strokes]})\n"
            f"data, networks = tickets.experiment.data, tickets.runs[{self.members[-1].level}]\n"
            f"state, mask = networks.folders[0].end()\nmodel = tickets.experiment.model()\n"
            "model.load_state_dict(state)\n"
            "model((image * data.scale + data.shift)[None]).softmax(1)"
        )

    def _load(self) -> None:
        found: dict[str, nn.Module] = {}
        for key in self.members:
            state, masks = self.collection.end(key)
            network = self.collection.model().eval()
            network.load_state_dict(state)
            left = 100 * count(masks) / sum(mask.numel() for mask in masks.values())
            found["dense" if not key.level else f"ticket, {left:.3g} %"] = network
        self.networks = found

    @torch.no_grad()
    def _answers(self, image: Tensor) -> tuple[dict[str, list[float]], dict[str, int]]:
        """Of each network its probabilities, and the class that it reads."""
        inputs = self.collection.normalise(image[None])
        found: dict[str, Any] = {name: net(inputs).softmax(1)[0] for name, net in self.networks.items()}
        return {n: p.tolist() for n, p in found.items()}, {n: int(p.argmax()) for n, p in found.items()}

    def _spoken(self, image: Tensor, label: int) -> Tensor:
        normalise = self.collection.normalise
        inputs, blank = normalise(image[None]), normalise(torch.zeros_like(image)[None])
        return contributions(self.networks[self.whose.value], inputs, blank, torch.tensor([label]))[0, 0]


def _some(keys: list[Key]) -> list[Key]:
    """The dense network and some of its tickets, from the densest to the sparsest, of the first seed."""
    first = min((key.seed for key in keys), default=0)
    own = sorted((key for key in keys if key.seed == first), key=lambda key: key.level)
    if len(own) <= MOST:
        return own
    return [own[round(place * (len(own) - 1) / (MOST - 1))] for place in range(MOST)]


def _finding(read: dict[str, int]) -> str:
    groups: dict[int, list[str]] = {}
    for name, label in read.items():
        groups.setdefault(label, []).append(name)
    if len(groups) == 1:
        return f"All {len(read)} networks read {next(iter(groups))}"
    return "Read as " + ", ".join(f"{label} by {len(names)} ({'; '.join(names)})" for label, names in groups.items())
