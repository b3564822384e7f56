"""Trajectory length: how far a network's outputs travel while its input goes once around a circle."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def circle(shape: tuple[int, ...], points: int, rng: torch.Generator) -> Tensor:
    """A closed circle in input space: x(t) = sqrt(n) (u cos t + v sin t), u and v random and orthonormal.

    Raghu et al. 2017, section 2.2. Its radius sqrt(n) is the norm of an input of n unit-variance values.

    Args:
        shape: of an input, without the batch dimension; n values.
        points: on the circle; the first is repeated at the end, so that the arc closes.
        rng: draws u and v.

    Returns:
        float32 (points + 1, *shape).

    Raises:
        ValueError: for fewer than two values or three points.
    """
    size = math.prod(shape)
    if size < 2 or points < 3:
        raise ValueError(f"a circle needs two dimensions and three points, not {size} and {points}")
    plane = torch.linalg.qr(torch.randn(size, 2, generator=rng, dtype=torch.float64)).Q  # (n, 2)
    angle = torch.arange(points + 1, dtype=torch.float64).remainder(points) * (2 * math.pi / points)
    arc = math.sqrt(size) * torch.stack([angle.cos(), angle.sin()], 1) @ plane.T  # (points + 1, n)
    return arc.float().reshape(-1, *shape)


@torch.no_grad()
def trajectory_length(
    model: Callable[[Tensor], Tensor], inputs: Tensor, projection: torch.Generator | None = None, batch: int = 500
) -> float:
    """Sum of the distances between a network's outputs at consecutive inputs.

    Length depends on the circle's radius, on the number of points, on the projection and on batch norm's mode: the
    network is used in evaluation mode here, and put back.

    Args:
        model: inputs (B, ...) -> outputs (B, classes).
        inputs: (points + 1, ...), such as `circle` gives.
        projection: draws two orthonormal directions on which outputs are projected first; None: no projection.
        batch: inputs at a time.

    Returns:
        The length, in units of the outputs.
    """
    was_training = getattr(model, "training", False)
    if isinstance(model, torch.nn.Module):
        model.eval()
    outputs = torch.cat([model(part) for part in inputs.split(batch)]).double()
    if isinstance(model, torch.nn.Module):
        model.train(was_training)
    if projection is not None:
        plane = torch.linalg.qr(torch.randn(outputs.shape[1], 2, generator=projection, dtype=torch.float64)).Q
        outputs = outputs @ plane
    return float(outputs.diff(dim=0).norm(dim=1).sum())
