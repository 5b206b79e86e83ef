"""`lartpc backproject`: classes and point proposals of the images of wire planes, at the 3D points made of them."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lartpc import config
from lartpc.config.learned import SegmentInfer
from lartpc.event import SEEN, Columns, Event, blank, empty
from lartpc.ingest.detector.backproject import joined, proposals_of, semantic_of, with_ghosts_of
from lartpc.ingest.detector.project import Plane
from lartpc.provenance import fingerprint, provenance
from lartpc.run.domain import look_outside
from lartpc.run.point_networks import PointNetworks
from lartpc.run.quality.evaluate import PLANES
from lartpc.run.weights_file import read_content
from lartpc.stages import stage
from lartpc.steady import Steady
from lartpc.store import NUM_PLANES, WEIGHTS_FILE, Events, EventWriter, open_events

READS = ("semantic", "proposal")
"""Of the images."""

WRITES = stage("segment").writes


def backproject(
    points: Path, images: Sequence[Path], section: config.Segment, *, out: Path, ghosts: Sequence[Path] = ()
) -> dict[str, Any]:
    """Write the products of `segment` for points of wire planes from those of the planes' images.

    The file stands for that of `segment` in what follows. An event of which an image was set aside is set aside.

    Parameters
    ----------
    points
        Points: what `lartpc ingest` writes with `wires.space_points`.
    images
        The images of the same events: what `lartpc ingest` writes without it, and what `segment` made of them.
    ghosts
        Weights of a `segment` of 3D points that tells their ghosts (`heads.ghost`), or of `flow`, which pairs the
        pixels of the planes. The logits of several are added. Without any, their charge tells them. With
        `infer.point_classes` the `segment` among them tells classes, proposals and affinities, too.

    Returns
    -------
    Number of events, of quarantined events and of points, and the seconds spent.

    Raises
    ------
    ValueError
        The files are not of the same events, or not points and images of wire planes; weights do not tell ghosts, or
        are given twice.
    """
    row = stage("segment")
    steady = Steady([points, *images, *ghosts])
    contents = [fingerprint(path)[1] for path in ghosts]
    if len(set(contents)) < len(contents):
        raise ValueError(
            f"{', '.join(map(str, ghosts))}: the same weights are given twice, so they would count twice"
        )
    networks = (
        PointNetworks(ghosts, section.infer) if ghosts or section.infer.point_classes != "planes" else None
    )
    with open_events(points) as events, open_events(*images) as seen:
        planes = _planes(events, seen, points, images)
        num = len(planes)
        origin = provenance(row.name, row.version, config=config.slice_of(section, "infer"), inputs=[points])
        # of the same names as the points' files, and other files
        origin["inputs"] = json.dumps(
            json.loads(origin["inputs"])
            | {f"{name}{PLANES}": content for name, (_, content) in seen.contents().items()}
        )
        about = seen.attributes()["segment"]
        origin |= {name: about[name] for name in ("weights", WEIGHTS_FILE, "warnings") if name in about}
        if ghosts:
            origin["ghost_weights"] = ", ".join(contents)
        for path in ghosts:
            owner = stage(str(read_content(path)["stage"]))
            said = [f"ghosts by {owner.name}: {line}" for line in look_outside(events, owner, section, path)]
            origin["warnings"] = json.dumps([*json.loads(str(origin.get("warnings", "[]"))), *said])
        start = time.perf_counter()
        set_aside, lost = events.quarantined(), seen.quarantined()
        summary = {"num_events": len(events), "num_quarantined": 0, "num_voxels": 0, "seconds": 0.0}
        with EventWriter(out, WRITES, file_uid=events.file_uid, box=events.box, attrs=origin) as writer:
            for index, event in enumerate(events.stream(["voxel", *(SEEN if networks else ())])):
                views = seen.block(index * num, (index + 1) * num, ["voxel", *READS])
                if event.entry in set_aside:
                    writer.append(event.entry, {name: blank(event, WRITES)[name] for name in WRITES})
                    continue
                if reasons := [lost[view.entry] for view in views if view.entry in lost]:
                    step, reason = reasons[0]
                    nothing = {name: blank(event, WRITES)[name] for name in WRITES}
                    writer.quarantine(event.entry, f"{step} of an image: {reason}", nothing)
                    summary["num_quarantined"] += 1
                    continue
                found = _said(event, views, planes, section.infer, networks)
                writer.append(event.entry, found)
                summary["num_voxels"] += event.num_voxels
            steady.check()
            summary["seconds"] = time.perf_counter() - start
            for name, value in summary.items():
                writer.set_attribute(name, value)
    return summary


def _said(
    event: Event,
    views: Sequence[Event],
    planes: Sequence[Plane],
    infer: SegmentInfer,
    networks: PointNetworks | None,
) -> dict[str, Columns]:
    """Return the products of `segment` of points, of those that `infer.point_classes` asks."""
    score_N, of_points = networks(event) if networks and event.num_voxels else (None, {})
    if score_N is not None and infer.point_classes == "points":
        found = of_points
    else:
        found = {
            "semantic": semantic_of(event, views, planes, infer),
            "proposal": proposals_of(event.box, views, planes),
            # planes say nothing of the neighbours of a point
            "affinity": empty("affinity", event.num_voxels),
        }
    if score_N is None:
        return found
    if infer.point_classes == "both":
        found = joined(found, of_points)
    return {**found, "semantic": with_ghosts_of(found["semantic"], score_N, infer)}


def _planes(events: Events, seen: Events, points: Path, images: Sequence[Path]) -> list[Plane]:
    """Return the planes that points and images are of, or raise ValueError where these do not fit."""
    seen.require(["voxel", *READS])
    mine, theirs = (
        config.Ingest.model_validate(json.loads(str(file.attributes()["ingest"]["config"])))
        for file in (events, seen)
    )
    num = int(seen.attributes()["ingest"].get(NUM_PLANES, 0))
    if events.box.dimension != 3 or not mine.wires.space_points or not num:
        raise ValueError(
            f"{points} must hold points of wire planes (ingest.wires.space_points), and {images[0]} the images of "
            "these planes"
        )
    as_images = mine.wires.model_copy(update={"space_points": False})
    if mine.model_copy(update={"wires": as_images}) != theirs.model_copy(
        update={"wires": theirs.wires.model_copy(update={"space_points": False})}
    ):
        raise ValueError(
            f"{points} and {images[0]} were ingested with other settings; ingest both with the same"
        )
    if (
        events.file_uid != seen.file_uid
        or [entry * num for entry in events.entries] != seen.entries[::num].tolist()
    ):
        raise ValueError(f"{images[0]} holds images of other events than {points}")
    return [Plane(angle_deg, events.box, seen.box) for angle_deg in mine.wires.angles_deg]
