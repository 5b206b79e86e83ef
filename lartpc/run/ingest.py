"""The verb `ingest`: files of steps or voxels → the events that every stage reads."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.atomic import clear
from lartpc.choice import Asked
from lartpc.event import IMAGE, SEEN, Columns, empty
from lartpc.faults import passes
from lartpc.geometry import Box
from lartpc.ingest import open_sources
from lartpc.ingest.choose import Chosen, choose
from lartpc.ingest.damage import explain
from lartpc.ingest.detector.project import Plane, View, flat_box, project
from lartpc.ingest.detector.readout import readouts_of
from lartpc.ingest.detector.response import detect
from lartpc.ingest.detector.space_points import space_points
from lartpc.ingest.detector.tomography import reconstruct
from lartpc.ingest.detector.variations import vary
from lartpc.ingest.invariants import check_event
from lartpc.ingest.labels.given import carry
from lartpc.ingest.labels.labels import label
from lartpc.ingest.physics import OtherUnitsError, check_steps
from lartpc.ingest.source import (
    AnyEvent,
    AnySource,
    PlaneSource,
    Source,
    StepSource,
    Voxels,
    VoxelSource,
    rows_of_image,
)
from lartpc.ingest.steps import LARGEST_ENERGY_MEV, Steps
from lartpc.ingest.voxelize import Image, place
from lartpc.provenance import provenance
from lartpc.remote import RemoteFile
from lartpc.run.guard import in_child, within
from lartpc.run.ingested import Faults, Summary, check_left, typical_position
from lartpc.run.progress import follow
from lartpc.stages import INGEST_VERSION
from lartpc.steady import Steady
from lartpc.store import CHOICE, DRAWN, NUM_PLANES, SOURCE_FILES, SOURCES, EventWriter
from lartpc.vocab import NONE

PITCH_TOLERANCE = 1e-3
"""Largest relative difference between the source's voxel size and the configured one."""


NUM_SHOWN = 5
"""Of many events that are not there, so many are named."""


def ingest(
    sources: Path | Sequence[Path],
    cfg: config.Ingest,
    *,
    out: Path,
    file_uid: str | None = None,
    events: Sequence[Asked] = (),
    is_part: bool = False,
    origins: Mapping[str, RemoteFile] = MappingProxyType({}),
) -> Summary:
    """Read files of events and write their voxels, and truth labels where the files have truth.

    An event that cannot be used is set aside with the reason and keeps its place. The events of several
    files are numbered through. `file_uid` is the digest of the source unless given; several need one. With
    planes of wires (`cfg.wires`), an entry is the number of the event times that of planes, plus the plane, unless
    points are made of them.
    The files are read in a process of their own, which damaged ones may end. Standard error says when energy
    is not imaged.

    Of `events`, where any are named, no others are read; they keep the numbers that they have among all. With
    `is_part`, the files are a part of those that are asked, and need not have each of them. `origins` say where files
    that were fetched come from, by their names here: events then have that as their source, and a file must have as
    many events as its catalogue states.

    Raises
    ------
    ValueError
        A source is missing, damaged, of no known format, or lacks a field of its format; its voxels have
        another size than the configured one; the sources differ in what they hold; no event of a file can be
        used; nothing of the energy is left; or no file has an event that is asked for.
    OSError
        A source was replaced while it was read, or the system failed to read it.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    if not paths:
        raise ValueError("no source was given; name at least one file of events")
    if len(paths) > 1 and not file_uid:
        raise ValueError("several sources make one file, which needs a name of its own: give --uid")
    name = str(paths[0]) if len(paths) == 1 else f"one of {len(paths)} files from {paths[0]} on"
    try:
        summary = in_child(lambda: _ingest(paths, cfg, out, file_uid, events, is_part, origins), name)
    finally:
        clear(out)  # what a child that died may have left
    for warning in summary.warnings():
        sys.stderr.write(f"{out}: warning: {warning}\n")
    return summary


def _ingest(
    paths: Sequence[Path],
    cfg: config.Ingest,
    out: Path,
    file_uid: str | None,
    events: Sequence[Asked],
    is_part: bool,
    origins: Mapping[str, RemoteFile],
) -> Summary:
    steady = Steady(paths)
    with within(max(paths, key=_size)):
        opened = open_sources(paths)
    try:
        for path, num in opened.parts:
            stated = origins[path.name].num_events if path.name in origins else None
            if stated not in (None, num):
                raise ValueError(
                    f"{_origin(path, origins)} has {num} events, and {stated} by its catalogue; bring that up to date "
                    "with 'lartpc catalogue', or ask who keeps the file"
                )
        chosen = choose(opened, events)
        if chosen.missing and not is_part:
            more = ", ..." if len(chosen.missing) > NUM_SHOWN else ""
            raise ValueError(
                f"no file has {', '.join(chosen.missing[:NUM_SHOWN])}{more}, of the events asked for; take that out"
            )
        return _convert(opened, cfg, out, file_uid, steady, events, chosen, origins)
    finally:
        opened.close()


def _origin(path: Path, origins: Mapping[str, RemoteFile]) -> str:
    return origins[path.name].url if path.name in origins else str(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _convert(
    source: AnySource,
    cfg: config.Ingest,
    out: Path,
    file_uid: str | None,
    steady: Steady,
    events: Sequence[Asked],
    chosen: Chosen,
    origins: Mapping[str, RemoteFile],
) -> Summary:
    paths = [path for path, _ in source.parts]
    attrs = provenance("ingest", INGEST_VERSION, config=cfg.model_dump(mode="json"), inputs=paths)
    uid = file_uid or json.loads(attrs["inputs"])[source.path.name]  # the digest, which takes its time
    given, cfg = cfg, vary(cfg, uid)
    if cfg is not given:
        attrs[DRAWN] = json.dumps(
            {
                "voxel_size_cm": cfg.voxel_size_cm,
                "response": cfg.response.model_dump(mode="json"),
                "readout": cfg.wires.readout.model_dump(mode="json"),
            }
        )
    _check_pitch(source, cfg)
    _check_planes(source, cfg)
    if not isinstance(source, StepSource) and cfg.response != config.Response():
        raise ValueError(
            f"ingest.response acts on steps of energy, and {source.path} holds voxels; remove the section"
        )
    box = Box.centred(_centre(source, cfg), cfg.voxel_size_cm, cfg.num_voxels)
    box.clip(_volumes_cm(cfg))  # a volume outside the box is an error of the whole file
    flat = flat_box(box, cfg) if cfg.wires.angles_deg else box
    seeing = [Plane(angle_deg, box, flat) for angle_deg in cfg.wires.angles_deg]
    # those that an image is of
    planes = [] if cfg.wires.space_points else seeing
    image_box = flat if planes else box
    num_planes = len(planes)
    if isinstance(source, PlaneSource):
        drift_size_cm, pitch_cm = source.pixel_cm
        image_box = Box.flat(0.0, drift_size_cm, pitch_cm, cfg.wires.num_pixels)
        num_planes = source.num_planes
    num_images = num_planes or 1
    made_of_planes = bool(cfg.tomography.angles_deg) or cfg.wires.space_points
    products = IMAGE + (SEEN if made_of_planes else ()) + source.truth
    if len(paths) > 1:
        attrs[SOURCES] = json.dumps([(_origin(path, origins), num) for path, num in source.parts])
    if num_planes:
        attrs[NUM_PLANES] = num_planes
    if events:
        attrs[CHOICE] = json.dumps(
            {
                "asked": [one.text for one in events],
                "missing": chosen.missing,
                "num_in_files": source.num_events * num_images,
            }
        )
    attrs["has_truth"] = source.has_truth
    attrs["truth"] = json.dumps(source.truth)
    attrs["selection"] = source.selection
    attrs["generator"] = source.generator
    summary = Summary(
        num_events=len(chosen.entries) * num_images,
        num_in_files=source.num_events * num_images,
        num_planes=num_planes,
        truth=source.truth,
        selection=source.selection,
    )
    faults = Faults(source.parts, chosen.entries)
    with EventWriter(out, products, file_uid=uid, box=image_box, attrs=attrs) as writer:
        start = time.perf_counter()
        entries = chosen.entries.tolist()
        for entry in follow(entries, f"ingest {file_uid or source.path.name}", len(entries)):
            identity = dict(zip(("run", "subrun", "event"), source.identity(entry), strict=True))
            read: AnyEvent = Voxels(np.zeros((0, 3), np.int64), np.zeros(0))
            try:
                with within(source.path):
                    read = source.read(entry)
                if isinstance(read, Steps):
                    faults.count_judged(entry, check_steps(read))
                views: list[tuple[Image | View, dict[str, Columns]]]
                if isinstance(read, list):
                    views = [_place_image(one, source.truth, image_box, cfg) for one in read]
                else:
                    views = _convert_event(read, source.truth, box, cfg, seeing, (uid, entry))
                for view, truth in views:
                    check_event(view, truth, image_box)
            except Exception as error:
                if passes(error):
                    raise
                faults.add(entry, explain(error), is_units=isinstance(error, OtherUnitsError))
                for number in range(num_images):
                    energy = rows_of_image(read, number).energy
                    energy_mev = float(energy[np.abs(energy) <= LARGEST_ENERGY_MEV].sum())
                    known = {**identity, "num_steps": len(energy), "energy_mev": energy_mev}
                    kept = {name: empty(name) for name in products}
                    kept["event"] = empty("event", 1) | _row(known | _plane(num_planes, number))
                    writer.quarantine(entry * num_images + number, explain(error), kept)
                    summary.num_quarantined += 1
                    summary.energy_quarantined_mev += energy_mev
                continue
            if not any(len(rows_of_image(read, number)) for number in range(num_images)):
                faults.count_empty(entry)
            for number, (view, truth) in enumerate(views):
                energies = {
                    "energy_mev": view.energy_mev,
                    "energy_outside_mev": view.energy_outside_mev,
                    "energy_below_mev": view.energy_below_mev,
                    "energy_lost_mev": view.energy_lost_mev,
                }
                known = {
                    **identity,
                    **_plane(num_planes, number),
                    "num_steps": len(rows_of_image(read, number)),
                }
                columns = {
                    "event": _row(known | energies),
                    "voxel": {"coord": view.coord, "energy": view.energy},
                }
                writer.append(entry * num_images + number, columns | truth)
                summary.num_voxels += len(view.energy)
                for name, value in energies.items():
                    setattr(summary, name, getattr(summary, name) + value)
        faults.check()
        steady.check()
        if summary.energy_mev and not summary.num_voxels:
            check_left(summary, source.path, typical_position(source, entries))
        writer.set_attribute(SOURCE_FILES, json.dumps([_origin(path, origins) for path in paths]))
        writer.set_attribute("seconds", time.perf_counter() - start)
        writer.set_attribute("num_events", summary.num_events)
        writer.set_attribute("num_voxels", summary.num_voxels)
    return summary


def _place_image(
    read: Voxels, truth: tuple[str, ...], box: Box, cfg: config.Ingest
) -> tuple[Image, dict[str, Columns]]:
    """Return an image of a plane that a file holds, with its values in MeV, and its truth products."""
    read = replace(read, energy=read.energy * cfg.wires.value_mev)
    image = place(read, box, cfg.wires.pixel_threshold_mev)
    return image, carry(read, image, truth, box, cfg)


def _convert_event(
    read: Steps | Voxels,
    truth: tuple[str, ...],
    box: Box,
    cfg: config.Ingest,
    planes: Sequence[Plane],
    key: tuple[str, int],
) -> list[tuple[Image | View, dict[str, Columns]]]:
    """Return the image of an event and its truth products, of points made of the planes, or those of each plane.

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
    readouts = readouts_of(cfg, key)
    if cfg.wires.space_points:
        seen = [
            project(image, {}, plane, least_mev, is_grid=is_grid, wires=wires)
            for plane, wires in zip(planes, readouts, strict=True)
        ]
        dead = [wires.dead_W for wires in readouts if wires]
        return [space_points(seen, planes, image, found, box, cfg.wires, dead)]
    views = [
        project(image, found, plane, least_mev, is_grid=is_grid, wires=wires)
        for plane, wires in zip(planes, readouts, strict=True)
    ]
    return [(view, view.truth) for view in views]


def _plane(num_planes: int, number: int) -> dict[str, int]:
    return {"plane": number if num_planes else NONE}


def _check_planes(source: AnySource, cfg: config.Ingest) -> None:
    """Raise ValueError unless the settings and the source both have images of planes, or neither."""
    if isinstance(source, PlaneSource) and not cfg.wires.in_source:
        raise ValueError(
            f"{source.path} holds images of {source.num_planes} planes ({source.selection}), in 2D: set "
            "ingest.wires.in_source to true and segment.dimension to 2"
        )
    if cfg.wires.in_source and not isinstance(source, PlaneSource):
        raise ValueError(
            f"{source.path} holds events in 3D, and ingest.wires.in_source is set; take that out"
        )


def _check_pitch(source: AnySource, cfg: config.Ingest) -> None:
    pitch_cm = source.voxel_size_cm if isinstance(source, VoxelSource) else None
    if pitch_cm is not None and abs(pitch_cm - cfg.voxel_size_cm) > PITCH_TOLERANCE * cfg.voxel_size_cm:
        raise ValueError(
            f"{source.path} has voxels of {pitch_cm:.6g} cm, the configuration asks for "
            f"{cfg.voxel_size_cm:.6g} cm; voxels cannot be cut, set ingest.voxel_size_cm to {pitch_cm:.6g}"
        )


def _centre(source: Source, cfg: config.Ingest) -> tuple[float, ...]:
    """Return the centre of the imaged box [cm]: as set, of the active volumes, as the source states, or the origin.

    Never that of the deposits: then a box would follow the worst of them, and files that are ingested together
    would change each other's.
    """
    if cfg.centre_cm is not None:
        return cfg.centre_cm
    if cfg.volumes:
        corners_cm = _volumes_cm(cfg).reshape(-1, 3)
        return tuple((0.5 * (corners_cm.min(axis=0) + corners_cm.max(axis=0))).tolist())
    return source.centre_cm or (0.0, 0.0, 0.0)


def _volumes_cm(cfg: config.Ingest) -> NDArray[np.float64]:
    """Return lower and upper corners of the active volumes (N, 2, 3) [cm]."""
    corners = [(volume.low_cm, volume.high_cm) for volume in cfg.volumes]
    return np.array(corners, np.float64).reshape(-1, 2, 3)


def _row(values: Mapping[str, float]) -> Columns:
    return {name: np.array([value]) for name, value in values.items()}
