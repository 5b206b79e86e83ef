"""The verb `ingest`: a file of simulated steps → the events that every stage reads."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lartpc import config
from lartpc.event import IMAGE, TRUTH, Columns, empty
from lartpc.geometry import Box
from lartpc.ingest import open_source
from lartpc.ingest.labels import label
from lartpc.ingest.steps import Reader, Steps
from lartpc.ingest.voxelize import Image, voxelize
from lartpc.run.progress import follow
from lartpc.stages import INGEST_VERSION
from lartpc.store import EventWriter, digest, provenance

ENERGY_TOLERANCE = 1e-6
"""Largest relative difference between the energy of the steps and what is accounted for."""


@dataclass
class Summary:
    """What was read and written; the energies add up: in = voxels + outside + below."""

    num_events: int = 0
    num_quarantined: int = 0
    num_voxels: int = 0
    energy_mev: float = 0.0
    energy_outside_mev: float = 0.0
    energy_below_mev: float = 0.0
    has_truth: bool = False


def ingest(source: Path, cfg: config.Ingest, *, out: Path, file_uid: str | None = None) -> Summary:
    """Read a simulation file and write its events: voxels, and truth labels where it has truth.

    An event that cannot be used is set aside with the reason and keeps its place. `file_uid` is the
    digest of the source unless given.

    Raises
    ------
    ValueError
        The source is missing, damaged, of no known format, or lacks a field of its format.
    """
    reader = open_source(source)
    try:
        return _convert(reader, cfg, out, file_uid)
    finally:
        reader.close()


def _convert(reader: Reader, cfg: config.Ingest, out: Path, file_uid: str | None) -> Summary:
    box = Box.centred(_centre(reader, cfg), cfg.voxel_size_cm, cfg.num_voxels)
    products = IMAGE + TRUTH if reader.has_truth else IMAGE
    attrs = provenance("ingest", INGEST_VERSION, config=cfg.model_dump(mode="json"), inputs=[reader.path])
    attrs["has_truth"] = reader.has_truth
    summary = Summary(num_events=reader.num_events, has_truth=reader.has_truth)
    with EventWriter(out, products, file_uid=file_uid or digest(reader.path), box=box, attrs=attrs) as writer:
        start = time.perf_counter()
        for entry in follow(range(reader.num_events), f"ingest {reader.path.name}", reader.num_events):
            try:
                steps = reader.read(entry)
                image = _image(steps, box, cfg)
                columns = _columns(steps, image)
                if reader.has_truth:
                    columns |= label(steps, image, box, cfg)
            except Exception as error:
                run, subrun, event = reader.identity(entry)
                kept = {name: empty(name) for name in products}
                kept["event"] = empty("event", 1) | {
                    "run": np.array([run]),
                    "subrun": np.array([subrun]),
                    "event": np.array([event]),
                }
                reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                writer.quarantine(entry, reason, kept)
                summary.num_quarantined += 1
                continue
            writer.append(entry, columns)
            summary.num_voxels += len(image.energy)
            summary.energy_mev += image.energy_mev
            summary.energy_outside_mev += image.energy_outside_mev
            summary.energy_below_mev += image.energy_below_mev
        writer.set_attribute("seconds", time.perf_counter() - start)
        writer.set_attribute("num_events", summary.num_events)
        writer.set_attribute("num_voxels", summary.num_voxels)
    return summary


def _centre(reader: Reader, cfg: config.Ingest) -> tuple[float, ...]:
    """Return the centre of the imaged box: as set, as the source states it, or that of its steps."""
    stated = cfg.centre_cm or reader.centre_cm
    if stated is not None:
        return stated
    bounds = reader.bounds_cm()
    if bounds is None:
        return (0.0, 0.0, 0.0)
    return tuple((np.round(bounds.mean(axis=0) / cfg.voxel_size_cm) * cfg.voxel_size_cm).tolist())


def _image(steps: Steps, box: Box, cfg: config.Ingest) -> Image:
    image = voxelize(steps, box, cfg.voxel_threshold_mev)
    accounted_mev = image.energy.sum() + image.energy_outside_mev + image.energy_below_mev
    if abs(accounted_mev - image.energy_mev) > ENERGY_TOLERANCE * image.energy_mev:
        raise ValueError(
            f"event {steps.event}: {image.energy_mev:.6g} MeV of steps, but {accounted_mev:.6g} MeV in "
            "voxels, outside the box and below the threshold"
        )
    return image


def _columns(steps: Steps, image: Image) -> dict[str, Columns]:
    row = {
        "run": steps.run,
        "subrun": steps.subrun,
        "event": steps.event,
        "num_steps": len(steps),
        "energy_mev": image.energy_mev,
        "energy_outside_mev": image.energy_outside_mev,
        "energy_below_mev": image.energy_below_mev,
    }
    return {
        "event": {name: np.array([value]) for name, value in row.items()},
        "voxel": {"coord": image.coord, "energy": image.energy},
    }
