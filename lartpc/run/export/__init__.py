"""The verb `export`: events with truth → the files of the public benchmark PILArNet-M."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lartpc.atomic import replacing
from lartpc.event import IMAGE, TRUTH
from lartpc.ingest.formats.pilarnet import SIDE
from lartpc.run.export.files import BLOCK, Hdf5Writer, ParquetWriter
from lartpc.run.export.rows import Format, rows_of
from lartpc.run.progress import Meter
from lartpc.store import open_events
from lartpc.truth import completed

PARQUET = ".parquet"
"""Suffix of the name of a file that is written as Parquet; others are HDF5."""

NEEDED: dict[Format, tuple[str, ...]] = {
    "pilarnet-m-v1": (*IMAGE, "truth_voxel"),
    "pilarnet-m-v2": (*IMAGE, "truth_voxel", "truth_particle", "truth_interaction"),
    "pilarnet-m-v3": (*IMAGE, "truth_voxel", "truth_particle", "truth_interaction"),
}
"""Products without which a revision cannot be written; of the others what there is is used."""


@dataclass
class Summary:
    """What was written, and what was left out: events set aside by `ingest`."""

    num_events: int = 0
    num_voxels: int = 0
    num_left_out: int = 0


def export(event_files: Sequence[Path], out: Path, *, to: Format = "pilarnet-m-v3") -> Summary:
    """Write the events of some shards to one PILArNet-M file, and `*_points.npy` beside an HDF5 file.

    The box lies in the middle of the 768³ voxels of the format. Events that were set aside are left out,
    the others keep their order.

    Parameters
    ----------
    event_files
        Files of `lartpc ingest`.
    out
        File to write: Parquet, where its name ends with `.parquet`, else HDF5.
    to
        Revision 1 has fragments, particles, interactions and classes, as far as the source states them;
        revision 2 also species, masses, momenta and vertices; revision 3 also which particles are primaries.

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
    sizes: list[int] = []
    is_parquet = out.suffix == PARQUET
    with Meter(f"export {out.name}", total, "events") as meter, replacing(out) as part:
        with (ParquetWriter if is_parquet else Hdf5Writer)(part, to, _box(event_files)) as writer:
            for path in event_files:
                with open_events(path) as events:
                    left_out = events.quarantined()
                    names = [name for name in IMAGE + TRUTH if name in events.products]
                    for start in range(0, len(events), BLOCK):
                        block = events.block(start, min(start + BLOCK, len(events)), names)
                        good = [completed(event) for event in block if event.entry not in left_out]
                        writer.append(
                            [rows_of(event, to) for event in good],
                            [
                                tuple(int(event["event"][key][0]) for key in ("run", "subrun", "event"))
                                for event in good
                            ],
                        )
                        sizes += [event.num_voxels for event in good]
                        summary.num_left_out += len(block) - len(good)
                        meter.advance(len(block))
        if not is_parquet:  # before the file has its name: both or none
            with replacing(out.with_name(f"{out.stem}_points.npy")) as beside, beside.open("wb") as file:
                np.save(file, np.asarray(sizes, np.int64))
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


def _box(event_files: Sequence[Path]) -> tuple[float, tuple[float, ...] | None]:
    """Return voxel size [cm] and centre [cm] of the boxes; boxes at different places have no common centre."""
    centres = []
    for path in event_files:
        with open_events(path) as events:
            size_cm = events.box.voxel_size_cm
            centres.append(np.array(events.box.origin_cm) + 0.5 * events.box.size_cm)
    same = np.allclose(centres, centres[0], rtol=0, atol=1e-6)
    return size_cm, tuple(centres[0].tolist()) if same else None
