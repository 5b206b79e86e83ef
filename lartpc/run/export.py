"""The verb `export`: events with truth → the files of the public benchmark PILArNet-M."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc import __version__
from lartpc.atomic import complete, part_of
from lartpc.event import IMAGE, TRUTH, Event
from lartpc.ingest.formats.hits import W_ION_MEV
from lartpc.ingest.formats.pilarnet import SIDE
from lartpc.run.progress import Meter
from lartpc.store import Events, open_events
from lartpc.truth import completed
from lartpc.vocab import NONE, Semantic

Format = Literal["pilarnet-m-v1", "pilarnet-m-v2"]

BLOCK = 256
"""Events written at once."""

ROW_TYPES = {"point": np.float32, "cluster": np.int32, "cluster_extra": np.float32}
"""Type of the numbers: the public loaders count with those of `cluster`, so these must be integers."""

UNKNOWN = -1.0
"""Momentum and coordinates of the vertex where there are none; the public loaders keep momenta below 0."""

NEEDED: dict[Format, tuple[str, ...]] = {
    "pilarnet-m-v1": (*IMAGE, "truth_voxel"),
    "pilarnet-m-v2": (*IMAGE, "truth_voxel", "truth_particle", "truth_interaction"),
}
"""Products without which a revision cannot be written; of the others what there is is used."""


@dataclass
class Summary:
    """What was written, and what was left out: events set aside by `ingest`."""

    num_events: int = 0
    num_voxels: int = 0
    num_left_out: int = 0


def export(event_files: Sequence[Path], out: Path, *, to: Format = "pilarnet-m-v2") -> Summary:
    """Write the events of some shards to one PILArNet-M file, and `*_points.npy` beside it.

    The box lies in the middle of the 768³ voxels of the format. Events that were set aside are left out,
    the others keep their order.

    Parameters
    ----------
    event_files
        Files of `lartpc ingest`.
    to
        Revision 1 has fragments, particles, interactions and classes, as far as the source states them;
        revision 2 also species, momenta and vertices.

    Raises
    ------
    ValueError
        A source does not state the truth that the format holds, a voxel has no class, or the boxes differ
        or are larger than the format's.
    """
    if not event_files:
        raise ValueError("no event file was given; give files of 'lartpc ingest'")
    total = _check(event_files, to)
    summary = Summary()
    part = part_of(out)
    sizes: list[int] = []
    with Meter(f"export {out.name}", total, "events") as meter:
        try:
            with h5py.File(part, "w") as file:
                writer = _Writer(file, to)
                for path in event_files:
                    with open_events(path) as events:
                        writer.describe(events)
                        left_out = events.quarantined()
                        names = [name for name in IMAGE + TRUTH if name in events.products]
                        for start in range(0, len(events), BLOCK):
                            block = events.block(start, min(start + BLOCK, len(events)), names)
                            good = [completed(event) for event in block if event.entry not in left_out]
                            writer.append(good)
                            sizes += [event.num_voxels for event in good]
                            summary.num_left_out += len(block) - len(good)
                            meter.advance(len(block))
            complete(part, out)
        finally:
            part.unlink(missing_ok=True)
    np.save(out.with_name(f"{out.stem}_points.npy"), np.asarray(sizes, np.int64))
    summary.num_events, summary.num_voxels = len(sizes), sum(sizes)
    return summary


def _check(event_files: Sequence[Path], to: Format) -> int:
    """Refuse what cannot be written before any of it is, and return the number of events."""
    total = 0
    boxes = {}
    for path in event_files:
        with open_events(path) as events:
            events.require(NEEDED[to])
            total += len(events)
            boxes[path] = events.box
    first = next(iter(boxes.values()))
    for path, box in boxes.items():
        if (box.num_voxels, box.voxel_size_cm) != (first.num_voxels, first.voxel_size_cm):
            raise ValueError(
                f"{path} has {box.num_voxels} voxels of {box.voxel_size_cm:.6g} cm per side, "
                f"{event_files[0]} has {first.num_voxels} of {first.voxel_size_cm:.6g} cm; "
                "export them to files of their own"
            )
    if first.dimension != 3:
        raise ValueError(
            f"{event_files[0]} holds views of wire planes, and PILArNet-M 3D images; ingest without ingest.wires"
        )
    if first.num_voxels > SIDE:
        raise ValueError(
            f"{event_files[0]}: a box of {first.num_voxels} voxels per side does not fit into the {SIDE} of "
            f"PILArNet-M; ingest with ingest.num_voxels = {SIDE} or less"
        )
    return total


class _Writer:
    """The datasets of a PILArNet-M file."""

    def __init__(self, file: h5py.File, to: Format) -> None:
        self._file = file
        self._with_species = to == "pilarnet-m-v2"
        names = ("point", "cluster", "cluster_extra") if self._with_species else ("point", "cluster")
        self._rows = {
            name: file.create_dataset(
                name, (0,), maxshape=(None,), dtype=h5py.vlen_dtype(ROW_TYPES[name]), chunks=(BLOCK,)
            )
            for name in names
        }
        self._identity = file.create_dataset("identity", (0, 3), "i8", maxshape=(None, 3), chunks=(BLOCK, 3))
        file.attrs["writer"] = f"lartpc {__version__}"

    def describe(self, events: Events) -> None:
        """State size and centre of the box; boxes at different places have no common centre."""
        half_cm = 0.5 * events.box.size_cm
        centre_cm = np.array(events.box.origin_cm) + half_cm
        attrs = self._file.attrs
        if "voxel_size_cm" not in attrs:
            attrs["voxel_size_cm"], attrs["centre_cm"] = events.box.voxel_size_cm, centre_cm
        elif "centre_cm" in attrs and not np.allclose(attrs["centre_cm"], centre_cm, rtol=0, atol=1e-6):
            del attrs["centre_cm"]

    def append(self, events: Sequence[Event]) -> None:
        """Write some events."""
        flat = [_rows_of(event, self._with_species) for event in events]
        for name, data in self._rows.items():
            start = len(data)
            data.resize(start + len(events), axis=0)
            for place, rows in enumerate(flat):
                data[start + place] = rows[name]
        start = len(self._identity)
        self._identity.resize(start + len(events), axis=0)
        for place, event in enumerate(events):
            numbers = event["event"]
            self._identity[start + place] = [int(numbers[key][0]) for key in ("run", "subrun", "event")]


def _rows_of(event: Event, with_species: bool) -> dict[str, NDArray[Any]]:
    """Flatten an event: its low-energy voxels are the first cluster, each fragment is one after it.

    Shape suffixes: V voxels, C clusters.
    """
    truth, energy_V = event["truth_voxel"], event["voxel"]["energy"].astype(np.float64)
    semantic_V = truth["semantic"].astype(np.int64)
    if (semantic_V < 0).any():
        raise ValueError(
            f"{event.file_uid}, entry {event.entry}: {(semantic_V < 0).sum()} voxels have no true class; "
            "PILArNet-M has a class for each voxel"
        )
    label_V4 = np.stack(
        [truth["fragment"], truth["particle"], truth["interaction"], semantic_V], axis=-1
    ).astype(np.int64)
    low_V = semantic_V == Semantic.LOW_ENERGY
    label_V4[low_V] = (NONE, NONE, NONE, Semantic.LOW_ENERGY)
    # low-energy voxels first, and their cluster is there even if it is empty
    label_C4, cluster_V = np.unique(
        np.concatenate([label_V4, [(NONE, NONE, NONE, Semantic.LOW_ENERGY)]]), axis=0, return_inverse=True
    )
    cluster_V = cluster_V.reshape(-1)
    low = int(cluster_V[-1])
    rank_C = np.argsort(np.r_[low, np.delete(np.arange(len(label_C4)), low)])
    label_C4, cluster_V = label_C4[np.argsort(rank_C)], rank_C[cluster_V[:-1]]
    order_V = np.argsort(cluster_V, kind="stable")
    size_C = np.bincount(cluster_V, minlength=len(label_C4))
    particle_C, interaction_C = label_C4[:, 1], label_C4[:, 2]

    offset = (SIDE - event.box.num_voxels) // 2
    particle = event["truth_particle"]
    time_V = np.nan_to_num(np.append(particle["time"], 0.0)[truth["particle"]])
    point_V8 = np.column_stack(
        [
            event["voxel"]["coord"] + offset,
            energy_V,
            energy_V,
            time_V,
            energy_V / W_ION_MEV,
            np.zeros(len(energy_V)),
        ]
    )[order_V]
    cluster_CX = np.column_stack([size_C, label_C4])
    rows = {"point": point_V8}
    if with_species:
        species_C = np.append(particle["species"], NONE)[particle_C]
        momentum_C = np.append(np.linalg.norm(particle["momentum"], axis=-1), np.nan)[particle_C]
        vertex_C3 = np.concatenate([event["truth_interaction"]["vertex"] + offset, np.full((1, 3), np.nan)])
        cluster_CX = np.column_stack([cluster_CX, species_C])
        rows["cluster_extra"] = np.column_stack(
            [np.zeros(len(size_C)), *np.nan_to_num([momentum_C, *vertex_C3[interaction_C].T], nan=UNKNOWN)]
        )
    rows["cluster"] = cluster_CX
    return {name: np.ascontiguousarray(value, ROW_TYPES[name]).ravel() for name, value in rows.items()}
