"""One event to the rows of every table."""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Summarize
from lartpc.event import PRODUCTS, PROPOSED, TRUTH, Columns, Event, empty, num_rows
from lartpc.metrics import Overlaps, nearest, overlaps
from lartpc.tables.fields import Rows, names_of, xyz_rows
from lartpc.tables.fragments import fragment_rows, voxel_rows
from lartpc.tables.image_fields import image_rows
from lartpc.tables.interactions import interaction_rows, truth_interaction_rows
from lartpc.tables.measured import Measured, measured
from lartpc.tables.neutrinos import truth_neutrino_rows, truth_primary_rows
from lartpc.tables.particles import particle_rows, truth_particle_rows
from lartpc.tables.schema import KIND, STATUS
from lartpc.truth import adopted, completed
from lartpc.vocab import GHOST, NONE, Semantic


def event_rows(
    event: Event,
    origin: tuple[str, int],
    quarantined: tuple[str, str] | None = None,
    *,
    volumes_cm: NDArray[np.float64] | None = None,
    cfg: Summarize | None = None,
    particles: tuple[Measured, Measured] | None = None,
) -> dict[str, Rows]:
    """Turn an event with all products of the chain into rows of each table.

    Parameters
    ----------
    origin
        The source file of the event, and its number there.
    quarantined
        The step that set the event aside, and the reason. Such an event has whatever products were made;
        the missing rest counts as empty.
    volumes_cm
        Lower and upper corners (N, 2, 3) of the active volumes [cm]; None: the imaged box.
    cfg
        What is measured, and how; None: the defaults.
    particles
        What `measured` found of the reconstructed and of the true particles; None: they are measured here.

    Raises
    ------
    ValueError
        A product is not aligned with the one that it describes.
    """
    event = aligned(event, repair=quarantined is not None)
    has_truth, has_points, has_fragments, has_particles, has_interactions = (
        name in event
        for name in ("truth_voxel", "truth_point", "truth_fragment", "truth_particle", "truth_interaction")
    )
    event = completed(event)
    cfg = cfg or Summarize()
    if volumes_cm is None:
        volumes_cm = event.box.to_cm([[(0, 0, 0), event.box.shape]])
    found, true = particles or measured(event, volumes_cm, cfg)
    particle_pairs, interaction_pairs = match_objects(event)
    fragment_pairs = _pairs(adopted(event), "fragment", event["group"]["fragment"])
    fragments, truth_fragments = fragment_rows(event, fragment_pairs, has_fragments)
    event = event.with_products({"point": placed_points(event)})
    point_cm, true_cm = (event.box.to_cm(event[name]["position"]) for name in ("point", "truth_point"))
    point_distance_cm, truth_point = nearest(point_cm, true_cm)
    truth_point_distance_cm, point = nearest(true_cm, point_cm)
    tables: dict[str, Rows] = {
        "events": {"source": [origin[0]], "source_entry": [origin[1]]}
        | _events(event, has_truth, quarantined),
        "interactions": interaction_rows(event, found, interaction_pairs, has_interactions, volumes_cm, cfg),
        "particles": particle_rows(event, found, particle_pairs, has_particles),
        "fragments": fragments,
        "points": _points(event, truth_point, point_distance_cm if has_points else None),
        "truth_interactions": truth_interaction_rows(event, true, interaction_pairs, volumes_cm, cfg),
        "truth_particles": truth_particle_rows(event, true, particle_pairs),
        "truth_fragments": truth_fragments,
        "truth_neutrinos": truth_neutrino_rows(event, cfg),
        "truth_primaries": truth_primary_rows(event),
        "truth_points": _truth_points(event, point, truth_point_distance_cm),
        "matches": _matches(event, particle_pairs, interaction_pairs, fragment_pairs),
        "voxels": voxel_rows(event, cfg.voxels),
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
        "warnings": ["; ".join(json.loads(attrs.get("warnings", "[]"))) for attrs in attributes.values()],
    }


def sample_of(file_uid: str) -> str:
    """Return the sample's name, the part of a file uid before the slash."""
    return file_uid.split("/", 1)[0]


def match_objects(event: Event) -> tuple[Overlaps, Overlaps]:
    """Find the true and reconstructed particles, and interactions, that share voxels."""
    event = adopted(event)
    return (
        _pairs(event, "particle", event["group"]["particle"]),
        _pairs(event, "interaction", interaction_of_voxels(event)),
    )


def _pairs(event: Event, level: str, label_V: NDArray[Any]) -> Overlaps:
    return overlaps(
        event["truth_voxel"][level],
        label_V,
        event["voxel"]["energy"],
        num_rows(event[f"truth_{level}"]),
        num_rows(event[level]),
    )


def interaction_of_voxels(event: Event) -> NDArray[np.int64]:
    """Return the reconstructed interaction of each voxel (V,), -1 for none."""
    return take(event["identity"]["interaction"], event["group"]["particle"])


def take(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return `values[rows]`, and -1 where the row is negative."""
    found: NDArray[np.int64] = np.append(values, NONE)[rows].astype(np.int64)
    return found


def placed_points(event: Event) -> Columns:
    """Return the columns of `point`, with places and scores of `final_point` where the event has them."""
    point = event["point"]
    if "final_point" not in event:
        return point
    final = event["final_point"]
    known = np.asarray(np.isfinite(final["position"]).all(axis=1))
    return {
        **point,
        "position": np.where(known[:, None], final["position"], point["position"]),
        "score": np.where(known, final["score"], point["score"]),
    }


def aligned(event: Event, repair: bool) -> Event:
    """Give products that describe others row by row the same length, or raise ValueError."""
    missing = {
        name: empty(name)
        for name in PRODUCTS
        if name not in event and name not in TRUTH and name not in PROPOSED and repair
    }
    event = event.with_products(missing)
    if not num_rows(event["event"]) and repair:
        event = event.with_products({"event": empty("event", 1)})
    for name in event:
        per = None if name in PROPOSED else PRODUCTS[name].per
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
                *("truth_point", "truth_fragment", "truth_particle", "truth_interaction"),
                "truth_neutrino",
            )
        },
        **image_rows(event, "image", 1),
    }


def _words(enum: type[IntEnum]) -> list[tuple[int, str]]:
    return list(enumerate(names_of(enum)))


def _points(event: Event, truth_point: NDArray[Any], distance_cm: NDArray[Any] | None) -> Rows:
    found = event["point"]
    return {
        "point_id": _ids(found),
        **xyz_rows("", event.box.to_cm(found["position"])),
        "semantic": found["semantic"],
        "kind": found["kind"],
        "score": found["score"],
        "end_score": found["end_score"],
        **{f"class_score_{word}": found["class_score"][:, i] for i, word in _words(Semantic)},
        "truth_point_id": truth_point,
        "truth_distance_cm": np.full(num_rows(found), np.nan) if distance_cm is None else distance_cm,
    }


def _truth_points(event: Event, point: NDArray[Any], distance_cm: NDArray[Any]) -> Rows:
    true = event["truth_point"]
    return {
        "truth_point_id": _ids(true),
        **xyz_rows("", event.box.to_cm(true["position"])),
        "semantic": true["semantic"],
        "kind": true["kind"],
        "truth_particle_id": true["particle"],
        "point_id": point,
        "distance_cm": distance_cm,
    }


def _matches(event: Event, *pairs: Overlaps) -> Rows:
    """List the pairs of objects of each kind, in the order of `KIND`."""
    reco = [event[kind]["energy"][p.reco_M] for kind, p in zip(KIND, pairs, strict=True)]
    true = [event[f"truth_{kind}"]["energy"][p.true_M] for kind, p in zip(KIND, pairs, strict=True)]
    shared = np.concatenate([p.energy_M for p in pairs])
    reco_energy, true_energy = np.concatenate(reco), np.concatenate(true)
    return {
        "kind": np.repeat(np.arange(len(KIND)), [len(p.true_M) for p in pairs]),
        "reco_id": np.concatenate([p.reco_M for p in pairs]),
        "truth_id": np.concatenate([p.true_M for p in pairs]),
        "iou": np.concatenate([p.iou_M for p in pairs]),
        "num_shared_voxels": np.concatenate([p.num_voxels_M for p in pairs]),
        "shared_energy_mev": shared,
        "energy_iou": _share(shared, reco_energy + true_energy - shared),
        "purity": _share(shared, reco_energy),
        "completeness": _share(shared, true_energy),
        "is_best_of_reco": np.concatenate([p.best_true()[0][p.reco_M] == p.true_M for p in pairs]),
        "is_best_of_truth": np.concatenate([p.best_reco()[0][p.true_M] == p.reco_M for p in pairs]),
    }


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return shares of energy; rounding cannot lift them above one."""
    share = np.full(len(part), np.nan)
    np.divide(np.minimum(part, whole), whole, out=share, where=whole > 0)
    return share
