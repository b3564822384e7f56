"""The folder of a run, named by its hash; what a finished run left is one file.

`runs/HASH/` holds `run.safetensors`, written whole or not at all when the run has ended: the surviving weights, mask
bits, history, and a description with what the run is, its result, and digests of all of it and of what it started
from. Beside it, while wanted: `checkpoint.safetensors` (of a run on its way) and `at-STEP.safetensors` (weights at a
step, that others start from). No pickle anywhere.

A file is believed only if it is right: its digests must fit, and it must be of the run that is asked for. A damaged one
is named and set aside, and what it held is computed again; one that the system does not let us read is an error, since
it may be whole.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from labkit.ground import tensor_files
from labkit.runs.files import CHECKPOINT, FINISHED, Read, RunFiles, read_header
from labkit.runs.origin import data_called
from labkit.sparsity.masks import Masks
from labkit.sparsity.packing import pack_masks, pack_network, unpack_masks, unpack_network
from labkit.training.history import Record


class RunFolder(RunFiles):
    """What one run has left.

    Args:
        run: whose.
        root: the folder of all runs.
    """

    def about(self) -> dict[str, Any] | None:
        """The description of the finished run; None if it is not finished.

        A damaged file, or one of another run, is set aside with a warning.

        Raises:
            ValueError: if it was computed by a network or a method that has changed since, or by default values.
            OSError: if it cannot be read.
        """
        found = self.believed(FINISHED, read_header)
        if found is None:
            return None
        self.check_behaviour(found[1], "computed")
        return found[1]

    def read(self, *parts: str) -> dict[str, Tensor]:
        """Tensors of the finished run whose names begin so.

        Raises:
            FileNotFoundError: if it was deleted meanwhile.
            ValueError: if it is damaged; it is set aside then, and computed again when it is asked for again.
        """
        try:
            tensors, about = tensor_files.read(self.path / FINISHED, *parts)
            self.check(FINISHED, about)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}: the run is gone; the call that made it computes it again") from None
        except ValueError as error:
            self.set_aside(FINISHED, error)
            raise ValueError(f"{error}; it is set aside: run again, and it will be computed again") from error
        return tensors

    def record(self) -> Record:
        """The history of the finished run."""
        return Record.of(self.read("history/"))

    def end(self) -> tuple[dict[str, Tensor], Masks]:
        """State dict and masks of the finished run at its end.

        Raises:
            ValueError: if its weights were not kept.
        """
        found = self.read("end/")
        if not any(name.startswith(("end/whole/", "end/kept/")) for name in found):
            raise ValueError(
                f"the weights of {self.path} were not kept (keep='masks'): find_tickets(..., keep='weights') trains it "
                "again to have them"
            )
        state, masks = unpack_network(_unprefixed(found, "end/"))
        return state, self._ordered(masks)

    def end_mask(self) -> Masks:
        """Masks of the finished run at its end; weights need not have been kept."""
        return self._masks("end/")

    def start_mask(self) -> Masks:
        """Masks of the finished run at its first step."""
        return self._masks("start/" if self.run.experiment.moving else "end/")

    def _masks(self, prefix: str) -> Masks:
        return self._ordered(unpack_masks(_unprefixed(self.read(f"{prefix}mask/", f"{prefix}shape/"), prefix)))

    def _ordered(self, masks: Masks) -> Masks:
        return {name: masks[name] for name in self.run.experiment.prunable if name in masks}

    def snapshot(self, step: int) -> dict[str, Tensor] | None:
        """State dict at a step, or None; a damaged one is set aside with a warning."""
        found = self.believed(_snapshot(step), tensor_files.read)
        return None if found is None else found[0]

    def has_snapshot(self, step: int) -> bool:
        """Whether it is there, and its description whole."""
        return self.believed(_snapshot(step), read_header) is not None

    def write_snapshot(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Keep the state dict at a step."""
        about = self.described() | {"content": tensor_files.digest(state)}
        tensor_files.write(self.path / _snapshot(step), state, about)

    def checkpoint(self, *, header: bool = False) -> Read | None:
        """The last checkpoint and its description, or None. A damaged one is set aside: the run starts anew.

        Args:
            header: whether the description is enough.

        Raises:
            ValueError: if it was begun by a network or a method that has changed since.
        """
        found = self.believed(CHECKPOINT, read_header if header else tensor_files.read)
        if found is not None:
            self.check_behaviour(found[1], "begun")
        return found

    def write_checkpoint(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Keep a run on its way."""
        tensor_files.write(self.path / CHECKPOINT, tensors, self.described() | dict(about))

    def drop_checkpoint(self) -> None:
        """It is not needed any more."""
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def finish(
        self, state: Mapping[str, Tensor], masks: Masks, start: Masks, record: Record, about: Mapping[str, Any]
    ) -> None:
        """Write the file of the finished run, and drop its checkpoint.

        Args:
            state, masks: at its end.
            start: the masks at its first step; kept if masks move.
            record: its history.
            about: its result, and digests of what it started from.
        """
        end = _prefixed(pack_network(state, masks), "end/")
        begun = _prefixed(pack_masks(start), "start/") if self.run.experiment.moving else {}
        content = tensor_files.digest(end)
        said = self.described() | {"identity": self.run.identity, "content": content, "points": record.points}
        said |= {"data": data_called(self.run.experiment.spec.data), "weights": True, **about}
        tensor_files.write(self.path / FINISHED, end | begun | record.tensors(), said)
        self.drop_checkpoint()

    def add_evaluations(self, found: Record) -> None:
        """Add evaluations of a replay to the finished run."""
        tensors, about = tensor_files.read(self.path / FINISHED)
        record = Record.of(tensors).with_evaluations(found)
        tensor_files.write(self.path / FINISHED, tensors | record.tensors(), about | {"points": record.points})

    def drop_weights(self) -> None:
        """Keep masks and history of the finished run, and let its weights go.

        Not where a process is about it, nor of one that diverged, which has no end to be trained to again.
        """
        if not (self.path / FINISHED).exists() or not self.lock():
            return
        try:
            tensors, about = tensor_files.read(self.path / FINISHED)
            if about["weights"] and about["result"]["diverged_at"] is None:
                gone = ("end/kept/", "end/whole/")
                kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(gone)}
                tensor_files.write(self.path / FINISHED, kept, about | {"weights": False})
        finally:
            self.unlock()

    def add_weights(self, state: Mapping[str, Tensor], masks: Masks) -> None:
        """Put weights back that were let go and are wanted again.

        Raises:
            ValueError: if they are not what they were; the file stays as it is.
        """
        tensors, about = tensor_files.read(self.path / FINISHED)
        end = _prefixed(pack_network(state, masks), "end/")
        if tensor_files.digest(end) != about["content"]:
            raise ValueError(
                f"the weights of {self.path} had been let go (keep='masks'), and it ended with others when it was "
                "trained again: this machine computes otherwise than the one that finished it. To go on here, delete "
                "that folder and those of the runs that started from it: they are computed anew"
            )
        tensor_files.write(self.path / FINISHED, tensors | end, about | {"weights": True})


def _snapshot(step: int) -> str:
    return f"at-{step}.safetensors"


def _prefixed(tree: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tree.items()}


def _unprefixed(tree: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tree.items()}
