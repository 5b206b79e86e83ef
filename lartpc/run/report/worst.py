"""The events that the chain reconstructs worst: found among the figures of all, drawn from their shards.

The figures of each event stand in the dataset, so that no event file is opened but those of the events
that are shown.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from lartpc import config
from lartpc.run.current import Current
from lartpc.run.display.data import display
from lartpc.run.quality.pool import POINT_LIMITS
from lartpc.run.volumes import active_volumes_cm
from lartpc.stages import chain_in
from lartpc.store import open_events
from lartpc.tables.metric_fields import INPUT
from lartpc.tables.written import written_table
from lartpc.vocab import Semantic

LIMIT = POINT_LIMITS[0]
"""Distance up to which a point counts as found [voxel]."""

_COLUMNS = ("file_uid", "entry", "semantic_confusion", "truth_point_distance", "point_distance")


@dataclass(frozen=True)
class Worst:
    """An event, what is wrong with it, and by which of the two figures it is listed.

    `confusion` is a row per true class and a column per predicted one, in voxels. Points are counted
    without deltas, as in the figures: true ones without a predicted one within 3 voxels are lost,
    predicted ones without a true one are false.
    """

    by: str
    file_uid: str
    entry: int
    confusion: NDArray[np.int64]
    num_true_points: int
    num_lost_points: int
    num_points: int
    num_false_points: int

    @property
    def num_voxels(self) -> int:
        """Voxels with a true class."""
        return int(self.confusion.sum())

    @property
    def num_wrong(self) -> int:
        """Voxels of the wrong class."""
        return self.num_voxels - int(np.trace(self.confusion))

    @property
    def mistakes(self) -> list[tuple[int, int, int]]:
        """True class, predicted class and number of voxels, of what is wrong; the most frequent first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")
        rows, columns = np.unravel_index(order, wrong.shape)
        return [(int(r), int(c), int(wrong[r, c])) for r, c in zip(rows, columns, strict=True) if wrong[r, c]]


def worst_events(dataset: Path, section: config.Report) -> list[Worst]:
    """Return the events with the largest share of wrong voxels, and those of wrong points.

    The figures of the chain are read as a stream; nothing is kept but the worst so far. Events with fewer
    than `worst_min_voxels` voxels are not looked at, as one voxel more or less decides about them. An
    event that is among the worst by both is listed by its voxels.
    """
    num = section.num_worst
    if not num:
        return []
    where = ds.field("input") == INPUT[0]
    found: dict[str, list[tuple[float, Worst]]] = {"voxels": [], "points": []}
    for batch in ds.dataset(written_table(dataset, "metrics")).to_batches(
        columns=list(_COLUMNS), filter=where
    ):
        confusion, shares = _shares(batch, section.worst_min_voxels)
        for by, share in shares.items():
            order = np.argsort(-share, kind="stable")[: 2 * num]
            rows = [int(row) for row in order if share[row] > 0]
            found[by] += [(float(share[row]), _worst(by, batch, confusion, row)) for row in rows]
            # By their names where they are equally bad, so that the order of the files says nothing.
            found[by].sort(key=lambda item: (-item[0], item[1].file_uid, item[1].entry))
            del found[by][2 * num :]
    by_voxels = [worst for _, worst in found["voxels"][:num]]
    listed = {(worst.file_uid, worst.entry) for worst in by_voxels}
    by_points = [worst for _, worst in found["points"] if (worst.file_uid, worst.entry) not in listed]
    return [*by_voxels, *by_points[:num]]


def worst_displays(
    listed: Sequence[Worst], event_path: str, section: config.Report, current: Current | None = None
) -> list[dict[str, Any] | None]:
    """Return what is drawn of each event, or None where its files are gone.

    Parameters
    ----------
    event_path
        Where the event files are, with `{step}` and `{shard}` in the place of step and file uid.
    current
        What the tables were made of, and the event files must be.
    """
    drawn: dict[tuple[str, int], dict[str, Any] | None] = {}
    for uid in dict.fromkeys(worst.file_uid for worst in listed):
        ingested = Path(event_path.format(step="ingest", shard=uid))
        steps = [row.name for row in chain_in(_dimension(ingested))]
        files = [ingested, *(Path(event_path.format(step=step, shard=uid)) for step in steps)]
        if missing := [path for path in files if not path.is_file()]:
            sys.stderr.write(
                f"{uid}: its worst events are listed without pictures, {missing[0]} is not there\n"
            )
            continue
        with open_events(*files) as events:
            if events.file_uid != uid:
                raise ValueError(f"{files[0]} holds events of {events.file_uid}, not of {uid}")
            if current:
                current.check_events(uid, events.contents())
            volumes_cm = active_volumes_cm(events, config.Summarize())
            for entry in [worst.entry for worst in listed if worst.file_uid == uid]:
                (row,) = np.flatnonzero(events.entries == entry)
                drawn[uid, entry] = display(
                    events[int(row)], section.max_voxels, volumes_cm=volumes_cm, keep_mistakes=True
                )
    return [drawn.get((worst.file_uid, worst.entry)) for worst in listed]


def _dimension(ingested: Path) -> int:
    if not ingested.is_file():
        return 3
    with open_events(ingested) as events:
        return events.box.dimension


def _shares(
    batch: pa.RecordBatch, min_voxels: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Return the confusion of each event (B, K, K), and its shares of wrong voxels and points (B,)."""
    num_classes = len(Semantic)
    # Not judged is not wrong: without a list there is nothing to count.
    lists = batch["semantic_confusion"].fill_null([0] * num_classes**2)
    confusion = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, num_classes, num_classes)
    total = confusion.sum((1, 2))
    wrong = total - np.trace(confusion, axis1=1, axis2=2)
    all_points, alone = np.zeros(len(total)), np.zeros(len(total))
    for column in ("truth_point_distance", "point_distance"):
        counts, lost = _beyond(batch[column])
        all_points += counts
        alone += lost
    counted = total >= max(min_voxels, 1)
    return confusion, {
        "voxels": np.where(counted, wrong / np.maximum(total, 1), 0),
        "points": np.where(counted, alone / np.maximum(all_points, 1), 0),
    }


def _beyond(lists: pa.ListArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of distances of each event, and of those above the limit."""
    lengths = np.array(lists.value_lengths().fill_null(0), np.int64)
    beyond = lists.flatten().to_numpy(zero_copy_only=False) > LIMIT
    event = np.repeat(np.arange(len(lengths)), lengths)
    return lengths, np.bincount(event[beyond], minlength=len(lengths))


def _worst(by: str, batch: pa.RecordBatch, confusion: NDArray[np.int64], row: int) -> Worst:
    one = batch.slice(row, 1)
    (num_true,), (num_lost,) = _beyond(one["truth_point_distance"])
    (num_points,), (num_false,) = _beyond(one["point_distance"])
    return Worst(
        by,
        str(one["file_uid"][0].as_py()),
        int(one["entry"][0].as_py()),
        confusion[row].astype(np.int64),
        *(int(num) for num in (num_true, num_lost, num_points, num_false)),
    )
