"""The training as it goes, for TensorBoard: `tensorboard --logdir results/models`."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lartpc.atomic import make_folder, need_room

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter as Writer

FOLDER = "tensorboard"
"""Folder beside the weights. A workflow does not declare it: declared outputs are deleted before a retry."""


class Board:
    """Writes the terms of the loss at each step, and the other figures at each validation.

    Use as a context manager. A training that starts anew removes what an earlier one left; one that goes
    on from a checkpoint hides what was written after it.

    Parameters
    ----------
    folder
        Where the event files go; None writes nothing, as on all ranks but one.
    step
        The step to go on from; 0 for a new training.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._writer: Writer | None = None
        if folder is None:
            return
        # Slow to import, and one rank needs it.
        from torch.utils.tensorboard import SummaryWriter

        if step == 0:
            shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder.parent)
        self._folder = folder
        need_room(folder)
        self._writer = SummaryWriter(str(folder), purge_step=step + 1, flush_secs=10)

    def add_step(self, step: int, loss: Mapping[str, float], learning_rate: float) -> None:
        """Add the terms of the loss of one step, its gradient norm and the learning rate."""
        if self._writer is not None:
            # a thread writes, whose errors would be told without the file and with a traceback
            need_room(self._folder)
        for name, value in loss.items():
            group = "optimizer" if name == "gradient_norm" else "loss"
            self._add(f"{group}/{name}", value, step)
        self._add("optimizer/learning_rate", learning_rate, step)

    def add_line(self, line: Mapping[str, Any]) -> None:
        """Add a line of the training curve: speed, waiting, and the figures on held-out events."""
        step = line["step"]
        for name in ("voxels_per_s", "read_share", "num_voxels", "num_skipped", "num_spikes"):
            self._add(f"rank 0/{name}", line.get(name), step)
        self._add("held out/loss", line.get("validation_loss"), step)
        for name, value in line.get("validation", {}).items():
            self._add(f"held out/{name}", value, step)

    def _add(self, tag: str, value: float | None, step: int) -> None:
        if self._writer is not None and value is not None:
            self._writer.add_scalar(tag, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
