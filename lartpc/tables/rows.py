"""One event to the rows of every table."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import PRODUCTS, TRUTH, Columns, Event, empty, num_rows
from lartpc.metrics import Overlaps, nearest, overlaps
from lartpc.tables.schema import KIND, STATUS, Rows, names_of
from lartpc.truth import completed
from lartpc.vocab import GHOST, NONE, Semantic, Species

SLICE_CM = 3.0
"""Thickness of the slices of a track whose centroids make up its path: ten voxels of 3 mm, thin enough
to follow multiple scattering and thick enough to average over the width of a track [cm]."""

_LETTERS = {
    Species.PHOTON: "g",
    Species.ELECTRON: "e",
    Species.MUON: "mu",
    Species.PION: "pi",
    Species.PROTON: "p",
    Species.KAON: "ka",
}


def event_rows(
    event: Event, origin: tuple[str, int], quarantined: tuple[str, str] | None = None
) -> dict[str, Rows]:
    """Turn an event with all products of the chain into rows of each table.

    Parameters
    ----------
    origin
        The source file of the event, and its number there.
    quarantined
        The step that set the event aside, and the reason. Such an event has whatever products were made;
        the missing rest counts as empty.

    Raises
    ------
    ValueError
        A product is not aligned with the one that it describes.
    """
    event = _aligned(event, repair=quarantined is not None)
    has_truth, has_points, has_particles, has_interactions = (
        name in event for name in ("truth_voxel", "truth_point", "truth_particle", "truth_interaction")
    )
    event = completed(event)
    particle_pairs, interaction_pairs = match_objects(event)
    point_cm, true_cm = (event.box.to_cm(event[name]["position"]) for name in ("point", "truth_point"))
    point_distance_cm, truth_point = nearest(point_cm, true_cm)
    truth_point_distance_cm, point = nearest(true_cm, point_cm)
    tables: dict[str, Rows] = {
        "events": {"source": [origin[0]], "source_entry": [origin[1]]}
        | _events(event, has_truth, quarantined),
        "interactions": _interactions(event, interaction_pairs, has_interactions),
        "particles": _particles(event, particle_pairs, has_particles),
        "points": _points(event, truth_point, point_distance_cm if has_points else None),
        "truth_interactions": _truth_interactions(event, interaction_pairs),
        "truth_particles": _truth_particles(event, particle_pairs),
        "truth_points": _truth_points(event, point, truth_point_distance_cm),
        "matches": _matches(particle_pairs, interaction_pairs),
        "quarantine": {
            "step": [quarantined[0]] if quarantined else [],
            "reason": [quarantined[1]] if quarantined else [],
        },
    }
    return {name: {**_keys(event, columns), **columns} for name, columns in tables.items()}


def throughput_rows(
    file_uid: str, attributes: Mapping[str, Mapping[str, Any]], num_events: int, num_voxels: int
) -> Rows:
    """Turn the root attributes of a shard's files, by step, into rows of `throughput`.

    `num_events` and `num_voxels` are those of the shard, for files that do not state them.
    """
    return {
        "file_uid": [file_uid] * len(attributes),
        "sample": [sample_of(file_uid)] * len(attributes),
        "step": list(attributes),
        "seconds": [float(attrs.get("seconds", np.nan)) for attrs in attributes.values()],
        "num_events": [int(attrs.get("num_events", num_events)) for attrs in attributes.values()],
        "num_voxels": [int(attrs.get("num_voxels", num_voxels)) for attrs in attributes.values()],
        "weights": [str(attrs.get("weights", "")) for attrs in attributes.values()],
    }


def sample_of(file_uid: str) -> str:
    """Return the sample's name, the part of a file uid before the slash."""
    return file_uid.split("/", 1)[0]


def match_objects(event: Event) -> tuple[Overlaps, Overlaps]:
    """Find the true and reconstructed particles, and interactions, that share voxels."""
    truth, energy = event["truth_voxel"], event["voxel"]["energy"]
    particle_V = event["group"]["particle"]
    return (
        overlaps(
            truth["particle"],
            particle_V,
            energy,
            num_rows(event["truth_particle"]),
            num_rows(event["particle"]),
        ),
        overlaps(
            truth["interaction"],
            interaction_of_voxels(event),
            energy,
            num_rows(event["truth_interaction"]),
            num_rows(event["interaction"]),
        ),
    )


def interaction_of_voxels(event: Event) -> NDArray[np.int64]:
    """Return the reconstructed interaction of each voxel (V,), -1 for none."""
    return take(event["identity"]["interaction"], event["group"]["particle"])


def take(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return `values[rows]`, and -1 where the row is negative."""
    found: NDArray[np.int64] = np.append(values, NONE)[rows].astype(np.int64)
    return found


def _aligned(event: Event, repair: bool) -> Event:
    """Give products that describe others row by row the same length, or raise ValueError."""
    missing = {
        name: empty(name)
        for name in PRODUCTS
        if name not in event and name not in TRUTH and name != "proposal" and repair
    }
    event = event.with_products(missing)
    if not num_rows(event["event"]) and repair:
        event = event.with_products({"event": empty("event", 1)})
    for name in event:
        per = PRODUCTS[name].per
        if per and num_rows(event[name]) != num_rows(event[per]):
            if not repair:
                raise ValueError(
                    f"{event.file_uid}, entry {event.entry}: product '{name}' has "
                    f"{num_rows(event[name])} rows, '{per}' has {num_rows(event[per])}; "
                    "the files are not of one run, make them again"
                )
            event = event.with_products({name: empty(name, num_rows(event[per]))})
    return event


def _keys(event: Event, columns: Rows) -> Rows:
    rows = len(next(iter(columns.values())))
    return {
        "file_uid": [event.file_uid] * rows,
        "sample": [sample_of(event.file_uid)] * rows,
        "entry": np.full(rows, event.entry, np.int64),
    }


def _xyz(name: str, vector: NDArray[Any], ending: str = "_cm") -> Rows:
    stem = f"{name}_" if name else ""
    return {f"{stem}{axis}{ending}": vector[:, i] for i, axis in enumerate("xyz")}


def _ids(columns: Columns) -> NDArray[np.int64]:
    return np.arange(num_rows(columns))


def _counts(codes: NDArray[Any], enum: type[IntEnum], stem: str) -> Rows:
    found = np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(enum))
    return {stem.format(word): found[i : i + 1] for i, word in enumerate(names_of(enum))}


_ENERGIES = ("energy_mev", "energy_outside_mev", "energy_below_mev", "energy_lost_mev")


def _events(event: Event, has_truth: bool, quarantined: tuple[str, str] | None) -> Rows:
    source = event["event"]
    truth_label = event["truth_voxel"]["semantic"]
    truth_counts = _counts(truth_label, Semantic, "truth_num_voxels_{}")
    return {
        **{name: source[name] for name in ("run", "subrun", "event", "plane", "num_steps")},
        "status": [STATUS.index("quarantined" if quarantined else "ok")],
        "quarantine_step": [quarantined[0] if quarantined else None],
        "has_truth": [has_truth],
        "num_voxels": [event.num_voxels],
        **{name: source[name] for name in _ENERGIES},
        "energy_voxels_mev": [event["voxel"]["energy"].sum(dtype=np.float64)],
        **_counts(event["semantic"]["label"], Semantic, "num_voxels_{}"),
        **{name: count if has_truth else [-1] for name, count in truth_counts.items()},
        "num_voxels_ghost": [np.count_nonzero(event["semantic"]["label"] == GHOST)],
        "truth_num_voxels_ghost": [np.count_nonzero(truth_label == GHOST) if has_truth else -1],
        "num_voxels_grouped": [np.count_nonzero(event["group"]["particle"] >= 0)],
        **{
            f"num_{name}s": [num_rows(event[name])]
            for name in (
                *("point", "fragment", "particle", "interaction"),
                *("truth_point", "truth_particle", "truth_interaction"),
            )
        },
    }


def _species_table(num: int, row: NDArray[Any], species: NDArray[Any]) -> NDArray[np.int64]:
    """Count the species (num, species) of the objects that belong to each row."""
    known = (row >= 0) & (species >= 0)
    cell = row[known].astype(np.int64) * len(Species) + species[known]
    counts: NDArray[np.int64] = np.bincount(cell, minlength=num * len(Species)).astype(np.int64)
    return counts.reshape(num, len(Species))


def _composition(num: int, row: NDArray[Any], species: NDArray[Any], is_primary: NDArray[Any]) -> Rows:
    """Count the particles of each interaction by species, and spell its topology."""
    all_particles = _species_table(num, row, species)
    primaries = _species_table(num, np.where(is_primary > 0, row, NONE), species)
    words = names_of(Species)
    return {
        **{f"num_{word}s": all_particles[:, i] for i, word in enumerate(words)},
        **{f"num_primary_{word}s": primaries[:, i] for i, word in enumerate(words)},
        "topology": [
            "".join(f"{count}{_LETTERS[s]}" for s, count in zip(Species, counts, strict=True) if count)
            for counts in primaries.tolist()
        ],
    }


def _sizes(labels: NDArray[Any], num: int) -> NDArray[np.int64]:
    return np.bincount(labels[labels >= 0], minlength=num).astype(np.int64)


def _interactions(event: Event, pairs: Overlaps, has_truth: bool) -> Rows:
    found, identity = event["interaction"], event["identity"]
    num = num_rows(found)
    best, iou = pairs.best_true()
    return {
        "interaction_id": _ids(found),
        **_xyz("vertex", event.box.to_cm(found["vertex"])),
        "num_particles": found["num_particles"],
        "num_primaries": found["num_primaries"],
        **_composition(num, identity["interaction"], identity["species"], identity["is_primary"]),
        "num_voxels": _sizes(interaction_of_voxels(event), num),
        "energy_mev": found["energy"],
        "truth_interaction_id": best,
        "truth_iou": iou if has_truth else np.full(num, np.nan),
    }


def _particles(event: Event, pairs: Overlaps, has_truth: bool) -> Rows:
    found, identity = event["particle"], event["identity"]
    num = num_rows(found)
    size = event.box.voxel_size_cm
    start, end = (event.box.to_cm(found[name]) for name in ("start_point", "end_point"))
    vertex = np.concatenate([event.box.to_cm(event["interaction"]["vertex"]), np.full((1, 3), np.nan)])
    best, iou = pairs.best_true()
    grouped = event["group"]["particle"] >= 0
    point_V, label_V = event["voxel"]["coord"][grouped] + 0.5, event["group"]["particle"][grouped]
    wall = np.full(num, np.inf)
    np.minimum.at(wall, label_V, np.minimum(point_V, event.box.num_voxels - point_V).min(axis=1))
    path = _path_length_cm(point_V, label_V, found["start_point"], found["end_point"], size)
    return {
        "particle_id": _ids(found),
        "interaction_id": identity["interaction"],
        "semantic": found["semantic"],
        "species": identity["species"],
        **{f"species_score_{word}": identity["species_score"][:, i] for i, word in _words(Species)},
        "is_primary": identity["is_primary"] > 0,
        "primary_score": identity["primary_score"],
        "num_voxels": found["num_voxels"],
        "num_fragments": found["num_fragments"],
        "energy_mev": found["energy"],
        "length_cm": np.linalg.norm(end - start, axis=1),
        "path_length_cm": np.where(found["semantic"] == Semantic.TRACK, path, np.nan),
        **_xyz("start", start),
        **_xyz("end", end),
        **_xyz("direction", found["start_direction"], ""),
        "vertex_distance_cm": np.linalg.norm(start - vertex[identity["interaction"]], axis=1),
        "wall_distance_cm": wall * size,
        "truth_particle_id": best,
        "truth_iou": iou if has_truth else np.full(num, np.nan),
    }


def _path_length_cm(
    point_V: NDArray[Any],
    label_V: NDArray[Any],
    start: NDArray[Any],
    end: NDArray[Any],
    voxel_size_cm: float,
) -> NDArray[np.float64]:
    """Measure the line (F,) from start to end through the centroids of the slices between them [cm].

    Slices are cut across the straight line from start to end, so a track that turns back is measured
    too short. `point_V` (V, 3) are the centres of the voxels, `label_V` their particles.
    """
    num = len(start)
    line_F = end.astype(np.float64) - start
    straight_F = np.linalg.norm(line_F, axis=1)
    axis_F = line_F / np.maximum(straight_F, 1e-9)[:, None]
    slices_F = np.maximum(np.ceil(straight_F * voxel_size_cm / SLICE_CM), 1).astype(np.int64)
    along_V = np.einsum("vi,vi->v", point_V - start[label_V], axis_F[label_V])
    slice_V = np.floor(along_V / np.maximum(straight_F, 1e-9)[label_V] * slices_F[label_V])
    slice_V = np.clip(slice_V, 0, slices_F[label_V] - 1).astype(np.int64)
    offset_F = np.cumsum(slices_F) - slices_F
    cell_V = offset_F[label_V] + slice_V
    count = np.bincount(cell_V, minlength=int(slices_F.sum()))
    filled = count > 0
    centroid = np.column_stack(
        [np.bincount(cell_V, weights=point_V[:, i], minlength=len(count)) for i in range(3)]
    )
    label = np.concatenate([np.arange(num), np.repeat(np.arange(num), slices_F)[filled], np.arange(num)])
    points = np.concatenate([start, centroid[filled] / count[filled, None], end])
    order = np.argsort(label, kind="stable")
    step = np.linalg.norm(np.diff(points[order], axis=0), axis=1)
    same = np.diff(label[order]) == 0
    length = np.bincount(label[order][1:][same], weights=step[same], minlength=num)
    return length.astype(np.float64) * voxel_size_cm


def _words(enum: type[IntEnum]) -> list[tuple[int, str]]:
    return list(enumerate(names_of(enum)))


def _points(event: Event, truth_point: NDArray[Any], distance_cm: NDArray[Any] | None) -> Rows:
    found = event["point"]
    return {
        "point_id": _ids(found),
        **_xyz("", event.box.to_cm(found["position"])),
        "semantic": found["semantic"],
        "kind": found["kind"],
        "score": found["score"],
        "end_score": found["end_score"],
        **{f"class_score_{word}": found["class_score"][:, i] for i, word in _words(Semantic)},
        "truth_point_id": truth_point,
        "truth_distance_cm": np.full(num_rows(found), np.nan) if distance_cm is None else distance_cm,
    }


def _truth_interactions(event: Event, pairs: Overlaps) -> Rows:
    true, particle = event["truth_interaction"], event["truth_particle"]
    num = num_rows(true)
    best, iou = pairs.best_reco()
    return {
        "truth_interaction_id": _ids(true),
        **_xyz("vertex", event.box.to_cm(true["vertex"])),
        "is_vertex_in_box": event.box.contains(true["vertex"]),
        "num_particles": true["num_particles"],
        "num_primaries": true["num_primaries"],
        **_composition(num, particle["interaction"], particle["species"], particle["is_primary"]),
        "num_voxels": _sizes(event["truth_voxel"]["interaction"], num),
        "energy_mev": true["energy"],
        "interaction_id": best,
        "iou": iou,
    }


def _truth_particles(event: Event, pairs: Overlaps) -> Rows:
    true = event["truth_particle"]
    start, end = (event.box.to_cm(true[name]) for name in ("start_point", "end_point"))
    best, iou = pairs.best_reco()
    return {
        "truth_particle_id": _ids(true),
        "truth_interaction_id": true["interaction"],
        **{name: true[name] for name in ("track_id", "parent_track_id", "pdg", "species", "semantic")},
        "process": true["process"],
        "is_primary": true["is_primary"],
        "num_voxels": true["num_voxels"],
        "energy_mev": true["energy"],
        "energy_init_mev": true["energy_init"],
        **_xyz("momentum", true["momentum"], "_mev_c"),
        "momentum_mev_c": np.linalg.norm(true["momentum"], axis=1),
        "length_cm": np.linalg.norm(end - start, axis=1),
        **_xyz("start", start),
        **_xyz("end", end),
        "time_ns": true["time"],
        "particle_id": best,
        "iou": iou,
    }


def _truth_points(event: Event, point: NDArray[Any], distance_cm: NDArray[Any]) -> Rows:
    true = event["truth_point"]
    return {
        "truth_point_id": _ids(true),
        **_xyz("", event.box.to_cm(true["position"])),
        "semantic": true["semantic"],
        "kind": true["kind"],
        "truth_particle_id": true["particle"],
        "point_id": point,
        "distance_cm": distance_cm,
    }


def _matches(*pairs: Overlaps) -> Rows:
    """List the pairs of particles, then of interactions."""
    return {
        "kind": np.repeat(np.arange(len(KIND)), [len(p.true_M) for p in pairs]),
        "reco_id": np.concatenate([p.reco_M for p in pairs]),
        "truth_id": np.concatenate([p.true_M for p in pairs]),
        "iou": np.concatenate([p.iou_M for p in pairs]),
        "num_shared_voxels": np.concatenate([p.num_voxels_M for p in pairs]),
        "shared_energy_mev": np.concatenate([p.energy_M for p in pairs]),
        "is_best_of_reco": np.concatenate([p.best_true()[0][p.reco_M] == p.true_M for p in pairs]),
        "is_best_of_truth": np.concatenate([p.best_reco()[0][p.true_M] == p.reco_M for p in pairs]),
    }
