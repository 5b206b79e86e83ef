"""The verb `ingest`: files of steps or voxels → the events that every stage reads."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import IMAGE, Columns, empty
from lartpc.faults import PassingError, passes
from lartpc.geometry import Box
from lartpc.ingest import open_sources
from lartpc.ingest.detector.project import Plane, View, flat_box, project
from lartpc.ingest.detector.response import detect
from lartpc.ingest.detector.tomography import reconstruct
from lartpc.ingest.labels.given import carry
from lartpc.ingest.labels.labels import label
from lartpc.ingest.source import Source, StepSource, Voxels, VoxelSource
from lartpc.ingest.steps import Steps
from lartpc.ingest.voxelize import Image, place
from lartpc.provenance import provenance
from lartpc.run.progress import follow
from lartpc.stages import INGEST_VERSION
from lartpc.store import NUM_PLANES, SOURCES, EventWriter
from lartpc.vocab import NONE

ENERGY_TOLERANCE = 1e-6
"""Largest relative difference between the energy of the source and what is accounted for."""

PITCH_TOLERANCE = 1e-3
"""Largest relative difference between the source's voxel size and the configured one."""

MOSTLY = 0.5
"""A larger share of the energy outside looks like the wrong detector."""


@dataclass
class Summary:
    """What was read and written. With planes of wires, each event is read once for each plane.

    The energies add up: `energy_mev` = voxels + outside + below + lost, all of the events that are used. That
    of the others, as far as it could be read and is a finite number, is `energy_quarantined_mev`.
    """

    num_events: int = 0
    num_planes: int = 0
    num_quarantined: int = 0
    num_voxels: int = 0
    energy_mev: float = 0.0
    energy_outside_mev: float = 0.0
    energy_below_mev: float = 0.0
    energy_lost_mev: float = 0.0
    energy_quarantined_mev: float = 0.0
    truth: tuple[str, ...] = ()
    selection: str = ""

    @property
    def has_truth(self) -> bool:
        """Tell whether there is any truth."""
        return bool(self.truth)

    def __str__(self) -> str:
        """Return the summary in words, with a hint where the box does not fit the events."""
        away = {
            "outside": self.energy_outside_mev,
            "below the threshold": self.energy_below_mev,
            "lost to the response": self.energy_lost_mev,
        }
        what = f"images of {self.num_planes} planes" if self.num_planes else "events"
        parts = [
            f"{self.num_events} {what}, {self.num_quarantined} of them set aside",
            f"{self.num_voxels} {'pixels' if self.num_planes else 'voxels'}",
            ", ".join(
                [f"{self.energy_mev:.6g} MeV"]
                + [f"{mev:.6g} MeV of it {where}" for where, mev in away.items() if mev]
            ),
            f"truth: {', '.join(self.truth) or 'none'}",
            *([self.selection] if self.selection else []),
        ]
        if self.energy_outside_mev > MOSTLY * self.energy_mev:
            parts.append(
                "most of the energy is outside: see ingest.detector, centre_cm, num_voxels and volumes"
            )
        return "; ".join(parts)


def ingest(
    sources: Path | Sequence[Path], cfg: config.Ingest, *, out: Path, file_uid: str | None = None
) -> Summary:
    """Read files of events and write their voxels, and truth labels where the files have truth.

    An event that cannot be used is set aside with the reason and keeps its place. The events of several
    files are numbered through. `file_uid` is the digest of the source unless given; several need one. With
    planes of wires (`cfg.wires`), an entry is the number of the event times that of planes, plus the plane.

    Raises
    ------
    ValueError
        A source is missing, damaged, of no known format, or lacks a field of its format; its voxels have
        another size than the configured one; or the sources differ in what they hold.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    if not paths:
        raise ValueError("no source was given; name at least one file of events")
    if len(paths) > 1 and not file_uid:
        raise ValueError("several sources make one file, which needs a name of its own: give --uid")
    before = [_stamp(path) for path in paths]
    opened = open_sources(paths)
    try:
        return _convert(opened, cfg, out, file_uid, before)
    finally:
        opened.close()


def _convert(
    source: StepSource | VoxelSource,
    cfg: config.Ingest,
    out: Path,
    file_uid: str | None,
    before: Sequence[tuple[int, ...]],
) -> Summary:
    paths = [path for path, _ in source.parts]
    _check_pitch(source, cfg)
    if isinstance(source, VoxelSource) and cfg.response != config.Response():
        raise ValueError(
            f"ingest.response acts on steps of energy, and {source.path} holds voxels; remove the section"
        )
    box = Box.centred(_centre(source, cfg), cfg.voxel_size_cm, cfg.num_voxels)
    box.clip(_volumes_cm(cfg))  # a volume outside the box is an error of the whole file
    image_box = flat_box(box, cfg) if cfg.wires.angles_deg else box
    planes = [Plane(angle_deg, box, image_box) for angle_deg in cfg.wires.angles_deg]
    num_images = len(planes) or 1
    products = IMAGE + source.truth
    attrs = provenance("ingest", INGEST_VERSION, config=cfg.model_dump(mode="json"), inputs=paths)
    if len(paths) > 1:
        attrs[SOURCES] = json.dumps([(str(path), num) for path, num in source.parts])
    if planes:
        attrs[NUM_PLANES] = len(planes)
    attrs["has_truth"] = source.has_truth
    attrs["truth"] = json.dumps(source.truth)
    attrs["selection"] = source.selection
    attrs["generator"] = source.generator
    summary = Summary(
        num_events=source.num_events * num_images,
        num_planes=len(planes),
        truth=source.truth,
        selection=source.selection,
    )
    uid = file_uid or json.loads(attrs["inputs"])[source.path.name]  # the digest, which takes its time
    with EventWriter(out, products, file_uid=uid, box=image_box, attrs=attrs) as writer:
        start = time.perf_counter()
        for entry in follow(
            range(source.num_events), f"ingest {file_uid or source.path.name}", source.num_events
        ):
            identity = dict(zip(("run", "subrun", "event"), source.identity(entry), strict=True))
            read: Steps | Voxels | None = None
            try:
                read = source.read(entry)
                views = _convert_event(read, source.truth, box, cfg, planes, (uid, entry))
                for view, _ in views:
                    _check_energy(view)
            except Exception as error:
                if passes(error):
                    raise
                energy = np.zeros(0) if read is None else read.energy
                energy_mev = float(energy[np.isfinite(energy)].sum())
                reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                for number in range(num_images):
                    known = {**identity, "num_steps": len(energy), "energy_mev": energy_mev}
                    kept = {name: empty(name) for name in products}
                    kept["event"] = empty("event", 1) | _row(known | _plane(planes, number))
                    writer.quarantine(entry * num_images + number, reason, kept)
                    summary.num_quarantined += 1
                    summary.energy_quarantined_mev += energy_mev
                continue
            for number, (view, truth) in enumerate(views):
                energies = {
                    "energy_mev": view.energy_mev,
                    "energy_outside_mev": view.energy_outside_mev,
                    "energy_below_mev": view.energy_below_mev,
                    "energy_lost_mev": view.energy_lost_mev,
                }
                known = {**identity, **_plane(planes, number), "num_steps": len(read)}
                columns = {
                    "event": _row(known | energies),
                    "voxel": {"coord": view.coord, "energy": view.energy},
                }
                writer.append(entry * num_images + number, columns | truth)
                summary.num_voxels += len(view.energy)
                for name, value in energies.items():
                    setattr(summary, name, getattr(summary, name) + value)
        for path, stamp in zip(paths, before, strict=True):
            if _stamp(path) != stamp:
                raise PassingError(f"{path} was changed while it was read")
        writer.set_attribute("seconds", time.perf_counter() - start)
        writer.set_attribute("num_events", summary.num_events)
        writer.set_attribute("num_voxels", summary.num_voxels)
    return summary


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced; nothing of a file that is missing."""
    if not path.is_file():
        return ()
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _convert_event(
    read: Steps | Voxels,
    truth: tuple[str, ...],
    box: Box,
    cfg: config.Ingest,
    planes: Sequence[Plane],
    key: tuple[str, int],
) -> list[tuple[Image | View, dict[str, Columns]]]:
    """Return the image of an event and its truth products, or those of each plane.

    `key` is the uid of the event's file, and its entry.
    """
    if isinstance(read, Voxels):
        image = place(read, box, cfg.voxel_threshold_mev)
        found = carry(read, image, truth, box, cfg)
    else:
        steps, image = detect(read, box, cfg, _volumes_cm(cfg), key)
        made = label(steps, image, box, cfg) if truth else {}
        found = {name: made[name] for name in truth}
    if cfg.tomography.angles_deg:
        image, found = reconstruct(image, found, box, cfg.tomography)
    if not planes:
        return [(image, found)]
    least_mev, is_grid = cfg.wires.pixel_threshold_mev, isinstance(read, Voxels)
    views = [project(image, found, plane, least_mev, is_grid=is_grid) for plane in planes]
    return [(view, view.truth) for view in views]


def _plane(planes: Sequence[Plane], number: int) -> dict[str, int]:
    return {"plane": number if planes else NONE}


def _check_pitch(source: StepSource | VoxelSource, cfg: config.Ingest) -> None:
    pitch_cm = source.voxel_size_cm if isinstance(source, VoxelSource) else None
    if pitch_cm is not None and abs(pitch_cm - cfg.voxel_size_cm) > PITCH_TOLERANCE * cfg.voxel_size_cm:
        raise ValueError(
            f"{source.path} has voxels of {pitch_cm:.6g} cm, the configuration asks for "
            f"{cfg.voxel_size_cm:.6g} cm; voxels cannot be cut, set ingest.voxel_size_cm to {pitch_cm:.6g}"
        )


def _centre(source: Source, cfg: config.Ingest) -> tuple[float, ...]:
    """Return the centre of the imaged box: as set, of the active volumes, or of the source's.

    A source states a centre, or has that of its deposits.
    """
    if cfg.centre_cm is not None:
        return cfg.centre_cm
    if cfg.volumes:
        corners_cm = _volumes_cm(cfg).reshape(-1, 3)
        return tuple((0.5 * (corners_cm.min(axis=0) + corners_cm.max(axis=0))).tolist())
    if source.centre_cm is not None:
        return source.centre_cm
    bounds = source.bounds_cm()
    if bounds is None:
        return (0.0, 0.0, 0.0)
    return tuple((np.round(bounds.mean(axis=0) / cfg.voxel_size_cm) * cfg.voxel_size_cm).tolist())


def _volumes_cm(cfg: config.Ingest) -> NDArray[np.float64]:
    """Return lower and upper corners of the active volumes (N, 2, 3) [cm]."""
    corners = [(volume.low_cm, volume.high_cm) for volume in cfg.volumes]
    return np.array(corners, np.float64).reshape(-1, 2, 3)


def _check_energy(image: Image | View) -> None:
    counted_mev = (image.energy_outside_mev, image.energy_below_mev, image.energy_lost_mev)
    accounted_mev = image.energy.sum() + sum(counted_mev)
    if abs(accounted_mev - image.energy_mev) > ENERGY_TOLERANCE * image.energy_mev:
        raise ValueError(
            f"{image.energy_mev:.6g} MeV were read, but {accounted_mev:.6g} MeV are in voxels, outside the "
            "box, below the threshold and lost to the response"
        )


def _row(values: Mapping[str, float]) -> Columns:
    return {name: np.array([value]) for name, value in values.items()}
