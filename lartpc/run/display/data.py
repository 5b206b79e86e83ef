"""An event as data for its display: typed arrays in base64, thinned and rounded.

The static report, the browser application and pictures without a screen are made of it.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config, metrics
from lartpc.event import PROPOSED, Columns, Event, blank, num_rows
from lartpc.run.display.particles import described, row_of
from lartpc.run.quality.evaluate import is_counted
from lartpc.run.quality.pool import POINT_LIMITS
from lartpc.run.volumes import active_volumes_cm
from lartpc.stages import CHAIN, chain_in
from lartpc.store import Events, open_events
from lartpc.tables.fields import Rows, names_of
from lartpc.tables.rows import (
    aligned,
    event_rows,
    interaction_of_voxels,
    match_objects,
    placed_points,
)
from lartpc.truth import completed
from lartpc.vocab import Semantic, Species

SEMANTIC_COLOURS = ("#3A96DB", "#E69F00", "#00A07A", "#CC79A7", "#8C8C8C")
"""Shower, track, Michel, delta, low energy: after Okabe and Ito, distinguishable for the colour-blind and on
light and dark ground."""
_KEV_PER_MEV = 1000.0


def displays(shards: Sequence[Events], section: config.Report) -> list[dict[str, Any]]:
    """Choose events and return what is drawn of them.

    The events are the first ones with voxels that went through the chain, taken from the shards in turn.
    """
    chosen = _choose(shards, section.num_events)
    volumes = [active_volumes_cm(shard, config.Summarize()) for shard in shards]
    return [
        display(shards[number][row], section.max_voxels, volumes_cm=volumes[number]) for number, row in chosen
    ]


def open_shards(event_files: Sequence[Path]) -> list[Events]:
    """Open event files of any shards, those of a shard overlaid, and check that the chain made them."""
    files: dict[str, list[Path]] = {}
    for path in event_files:
        with open_events(path) as events:
            files.setdefault(events.file_uid, []).append(path)
    shards = [open_events(*paths) for paths in files.values()]
    for shard in shards:
        written = [name for stage in chain_in(shard.box.dimension) for name in stage.writes]
        shard.require(["voxel", *(name for name in written if name not in PROPOSED)])
    return shards


def _choose(shards: Sequence[Events], num: int) -> list[tuple[int, int]]:
    """Return (shard, row) of the events to draw."""
    queues = []
    for number, shard in enumerate(shards):
        usable = (shard.num_voxels() > 0) & ~np.isin(shard.entries, list(shard.quarantined()))
        queues.append([(place, number, int(row)) for place, row in enumerate(np.flatnonzero(usable)[:num])])
    ordered = sorted(item for queue in queues for item in queue)
    return [(number, row) for _, number, row in ordered[:num]]


def display(
    event: Event,
    max_voxels: int,
    *,
    volumes_cm: NDArray[np.float64] | None = None,
    keep_mistakes: bool = False,
    quarantined: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return what is drawn of an event, and what is known of its particles.

    Above `max_voxels` some are left out at random; with `keep_mistakes` those of the wrong class last. What no
    stage has made yet is empty.

    Parameters
    ----------
    volumes_cm
        Lower and upper corners (N, 2, 3) of the active volumes [cm]; None: the imaged box.
    quarantined
        The step that set the event aside, and the reason: what was not made of it is empty.
    """
    has_truth = "truth_voxel" in event
    event = blank(event, [name for stage in CHAIN for name in stage.writes if name not in event])
    event = aligned(event, repair=quarantined is not None)
    box_cm = event.box.to_cm([(0, 0, 0), event.box.shape])
    volumes_cm = box_cm[None] if volumes_cm is None else volumes_cm
    rows = event_rows(event, ("", 0), quarantined, volumes_cm=volumes_cm)
    event = completed(event)
    kept = np.arange(event.num_voxels)
    if event.num_voxels > max_voxels:
        place = np.random.default_rng(event.entry).random(event.num_voxels)
        if keep_mistakes and has_truth:
            place += event["truth_voxel"]["semantic"] == event["semantic"]["label"]
        kept = np.sort(np.argpartition(place, max_voxels)[:max_voxels])
    energy_kev = np.clip(event["voxel"]["energy"][kept] * _KEV_PER_MEV, 0, np.iinfo(np.uint16).max)
    sides = {"prediction": _prediction(event, kept, has_truth, rows)}
    if has_truth:
        sides = {"truth": _truth(event, kept, rows), **sides}
    low, high = (
        np.concatenate([volumes_cm, box_cm[None]] if event.box.dimension == 2 else [volumes_cm])
        .reshape(-1, 2, 3)
        .transpose(1, 0, 2)
    )
    return {
        "title": f"{event.file_uid}, entry {event.entry}{_plane(event)}",
        "file_uid": event.file_uid,
        "entry": event.entry,
        **{name: int(event["event"][name][0]) for name in ("run", "subrun", "event") if "event" in event},
        "set_aside": ": ".join(quarantined) if quarantined else None,
        "dimension": event.box.dimension,
        "num_voxels": event.num_voxels,
        "num_drawn": len(kept),
        "energy_mev": round(float(event["voxel"]["energy"].sum(dtype=np.float64)), 1),
        "origin_cm": event.box.origin_cm,
        "pitch_cm": event.box.pitch_cm,
        "box_cm": np.round([low.min(axis=0), high.max(axis=0)], 3).tolist(),
        "volumes_cm": np.round(volumes_cm, 3).tolist(),
        "coord": _pack(event["voxel"]["coord"][kept].T, np.int16),
        "energy_kev": _pack(np.round(energy_kev), np.uint16),
        "sides": sides,
    }


def _plane(event: Event) -> str:
    return f", plane {event['event']['plane'][0]}" if event.box.dimension == 2 else ""


def _truth(event: Event, kept: NDArray[np.int64], rows: Mapping[str, Rows]) -> dict[str, Any]:
    voxel, particle = event["truth_voxel"], event["truth_particle"]
    numbers = {level: range(num_rows(event[f"truth_{level}"])) for level in _LEVELS}
    known = described(event, "truth_particles", rows, voxel["particle"], particle)
    return {
        **_labels(voxel, kept),
        "particles": _particles(particle, particle, numbers["particle"], known),
        "interactions": _interactions("truth_interactions", rows, particle, numbers["interaction"]),
        "fragments": _fragments("truth_fragments", rows, event["truth_fragment"], numbers["fragment"]),
        "points": _points(event, "truth_point", "point"),
        "vertices": _positions(event, event["truth_interaction"]["vertex"]),
    }


def _prediction(
    event: Event, kept: NDArray[np.int64], has_truth: bool, rows: Mapping[str, Rows]
) -> dict[str, Any]:
    identity, group = event["identity"], event["group"]
    numbers: dict[str, Sequence[int]] = {level: range(num_rows(event[level])) for level in _LEVELS}
    if has_truth:
        particles, interactions = match_objects(event)
        for level, pairs in (("particle", particles), ("interaction", interactions)):
            numbers[level] = _like_truth(pairs.best_true()[0], pairs.best_reco()[0])
    labels = {"semantic": event["semantic"]["label"], **group, "interaction": interaction_of_voxels(event)}
    known = described(event, "particles", rows, group["particle"], event["particle"])
    return {
        **_labels(labels, kept),
        "particles": _particles(event["particle"], identity, numbers["particle"], known),
        "interactions": _interactions("interactions", rows, identity, numbers["interaction"]),
        "fragments": _fragments("fragments", rows, event["fragment"], numbers["fragment"]),
        "points": _points(event, "point", "truth_point"),
        "vertices": _positions(event, event["interaction"]["vertex"]),
    }


_LEVELS = ("fragment", "particle", "interaction")


def _like_truth(truth_R: NDArray[np.int64], reco_T: NDArray[np.int64]) -> list[int]:
    """Give the best match of a true object that one's number, and so its colour; others get new numbers."""
    num_true = len(reco_T)
    return [
        int(true) if true >= 0 and reco_T[true] == reco else num_true + reco
        for reco, true in enumerate(truth_R)
    ]


def _labels(labels: Mapping[str, NDArray[Any]], kept: NDArray[np.int64]) -> dict[str, Any]:
    found = {level: _pack(labels[level][kept], np.int16) for level in _LEVELS}
    return {"semantic": _pack(labels["semantic"][kept], np.int8), **found}


def _particles(
    shape: Columns, identity: Columns, colours: Sequence[int], known: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Name each particle: its number, species or else class, and whether it is primary."""
    found = []
    for row, colour in enumerate(colours):
        species, semantic = int(identity["species"][row]), int(shape["semantic"][row])
        word = names_of(Species)[species] if species >= 0 else names_of(Semantic)[semantic].replace("_", " ")
        primary = ", primary" if identity["is_primary"][row] > 0 else ""
        name = f"{row} {word}{primary}, {shape['energy'][row]:.0f} MeV"
        found.append({"name": name, "colour": colour, **known[row]})
    return found


def _fragments(
    table: str, rows: Mapping[str, Rows], fragment: Columns, colours: Sequence[int]
) -> list[dict[str, Any]]:
    words = [name.replace("_", " ") for name in names_of(Semantic)]
    return [
        {
            "name": f"{row} {words[int(fragment['semantic'][row])]}",
            "colour": colour,
            "row": row_of(table, rows[table], row),
        }
        for row, colour in enumerate(colours)
    ]


def _interactions(
    table: str, rows: Mapping[str, Rows], particle: Columns, colours: Sequence[int]
) -> list[dict[str, Any]]:
    count = np.bincount(particle["interaction"][particle["interaction"] >= 0], minlength=len(colours))
    return [
        {
            "name": f"{row} with {count[row]} particle{'s' if count[row] != 1 else ''}",
            "colour": colour,
            "row": row_of(table, rows[table], row),
        }
        for row, colour in enumerate(colours)
    ]


def _points(event: Event, product: str, other: str) -> Mapping[str, Any]:
    """Return the points of one side; `alone` are those without one of the other side, as in the figures."""
    places = {
        name: placed_points(event) if name == "point" else event[name]
        for name in (product, other)
        if name in event
    }
    points = places[product]
    counted = {name: is_counted(name, columns) for name, columns in places.items()}
    alone = np.zeros(num_rows(points), bool)
    if len(counted) == 2:
        partners = places[other]["position"][counted[other]]
        far = metrics.nearest(points["position"], partners)[0] > POINT_LIMITS[0]
        alone = counted[product] & far
    return {
        "position": _positions(event, points["position"]),
        "semantic": points["semantic"].tolist(),
        "kind": points["kind"].tolist(),
        "alone": alone.tolist(),
    }


def _positions(event: Event, position: NDArray[Any]) -> list[list[float]]:
    """Return x, y and z of the points that are known [cm]."""
    position = position[np.isfinite(position).all(axis=-1)]
    found: list[list[float]] = np.round(event.box.to_cm(position), 2).T.tolist()
    return found


def _pack(values: NDArray[Any], dtype: Any) -> str:
    little = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()
