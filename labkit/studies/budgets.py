"""The same experiment at another budget: trained longer, or as a smaller dense network."""

from collections.abc import Mapping
from dataclasses import replace

from labkit import models
from labkit.ground.names import fraction, number
from labkit.ground.steps import Step
from labkit.specs.sparse import SparseSpec


def longer(spec: SparseSpec, times: float) -> SparseSpec:
    """The same experiment trained so many times as long: duration, learning-rate drops and the last update scale.

    `every` and the drop fraction do not (Evci et al. 2020). Evaluations keep their distance.

    Raises:
        ValueError: if `times` is not positive.
    """
    times = number("times", times, most=1e6)

    def scaled(moment: str) -> str:
        step = Step.parse(moment)
        return moment if step.unit == "run" else str(replace(step, amount=step.amount * times))

    train, topology = spec.train, spec.topology
    return replace(
        spec,
        train=replace(train, duration=scaled(train.duration), lr_drops=tuple(map(scaled, train.lr_drops))),
        topology=replace(topology, begin=scaled(topology.begin), until=scaled(topology.until)),
    )


def small_dense(spec: SparseSpec, density: float) -> SparseSpec:
    """The dense network of the same architecture whose width gives nearest to `density` times the parameters.

    Raises:
        ValueError: if the model has no `width`, or the density is out of range.
    """
    density = fraction("density", density, one=True)
    options = dict(spec.model_options)
    full = _parameters(spec.model, options)
    low, high = 0.0, float(options.get("width", 1.0))
    for _ in range(40):
        middle = (low + high) / 2
        if _parameters(spec.model, {**options, "width": middle}) < density * full:
            low = middle
        else:
            high = middle
    nearest = min((low, high), key=lambda w: abs(_parameters(spec.model, {**options, "width": w}) - density * full))
    topology = replace(spec.topology, method="dense", density=1.0)
    return replace(spec, model_options={**options, "width": round(nearest, 6)}, topology=topology)


def _parameters(model: str, options: Mapping[str, object]) -> int:
    return sum(tensor.numel() for tensor in models.build(model, options).parameters())
