"""The head of a network that is carried to another task: the same, or drawn anew for its classes.

The head is the module whose weight a forward pass uses last (`labkit.models.inspection.output_layer`).
"""

from collections.abc import Mapping

from labkit.ground.names import choose
from labkit.runs.experiment import Experiment

HEADS = ("same", "fresh")
Names = tuple[str, ...]


def fresh_head(task: Experiment, shapes: Mapping[str, tuple[int, ...]], head: str | None, *, pruned: str) -> Names:
    """Names of the parameters of the head, if it is to be drawn anew; all else must fit.

    Args:
        task: what is to be trained.
        shapes: of the state that is carried.
        head: "same", "fresh", or None: "same" where it fits.
        pruned: name of the carried head's weight, if it is pruned, else "".

    Raises:
        ValueError: if more than the head differs, the head is to be the same and differs, or is to be fresh and is
            pruned.
    """
    module = task.output.rpartition(".")[0]
    theirs = {name: tuple(tensor.shape) for name, tensor in task.initial(0, "head").items()}
    names = tuple(name for name in theirs if name.rpartition(".")[0] == module)
    differ = [name for name in {**shapes, **theirs} if shapes.get(name) != theirs.get(name)]
    if body := [name for name in differ if name not in names]:
        name, no = body[0], "absent"
        said = f"{name} is {shapes.get(name, no)} in the ticket, {theirs.get(name, no)} in the model"
        raise ValueError(f"this ticket is for another model, in more than the head: {said}")
    if head is None:
        head = "fresh" if differ else "same"
    if choose("head", head, HEADS) == "same":
        if differ:
            raise ValueError(f"head is 'same', but {differ[0]} is {shapes[differ[0]]} in the ticket, "
                             f"{theirs[differ[0]]} in the model")  # fmt: skip
        return ()
    if pruned:
        why = f"{differ[0]} is {shapes[differ[0]]} in the ticket, {theirs[differ[0]]} in the model; " if differ else ""
        raise ValueError(f"{why}the head, {pruned}, is pruned, and a fresh one has no mask: leave it out of pruning in "
                         "both tasks, prune=PruneSpec(output_rate=0.0, ...)")  # fmt: skip
    return names
