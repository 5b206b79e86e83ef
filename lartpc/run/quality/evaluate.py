"""`lartpc evaluate`: compare one shard with its truth, event by event."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lartpc import calibration, config, metrics
from lartpc.atomic import final_path
from lartpc.event import PROPOSED, TRUTH, Columns, Event
from lartpc.provenance import provenance
from lartpc.run.quality.interactions import interact_figures
from lartpc.run.volumes import active_volumes_cm
from lartpc.stages import CHAIN, EVALUATE_VERSION, Stage
from lartpc.store import Events, open_events
from lartpc.tables import TABLES, Rows, TableWriter
from lartpc.tables.measured import Measured, measured_reco
from lartpc.tables.metric_fields import INPUT, NODE_CLASSES
from lartpc.tables.rows import interaction_of_voxels, placed_points, sample_of
from lartpc.truth import adopted, is_far_ghost, truth_for, upstream_from_truth
from lartpc.vocab import GHOST, Semantic

Input = Literal["predicted", "truth", "planes"]
Figures = dict[str, Any]

PLANES = " (planes)"
"""Stands behind the names of files of images in what 3D points are made from."""

LARGE_VOXELS, LARGE_MEV = 7, 10.0
"""True points of particles of at least so many voxels and so much energy are also counted by themselves: the cut in
the published code of the PPN paper, arXiv:2006.14745 (`min_voxel_count`, `min_energy_deposit`)."""

DELTA_SCORE = 0.5
"""Predicted points with at least this score of being a delta are left out, as true deltas are."""


def evaluate(
    event_files: Sequence[Path],
    out: Path,
    section: config.Summarize | None = None,
    *,
    input_label: Input = "predicted",
) -> int:
    """Write a row of figures per event of a shard and return their number.

    Events that were set aside have no row. A stage is judged where the source states the truth that it
    takes; without any the table is empty.

    Parameters
    ----------
    event_files
        The shard's files: `ingest` and the stages to judge. Figures of a stage whose file is missing stay
        empty.
    section
        How energies are measured, as for the tables; None: the defaults.
    input_label
        What the stages were run on. With "truth", `interact` is judged on the particles that it was
        given, which are made from the truth again. "planes" are images of which 3D points are made: their figures
        stand beside those of the points.
    """
    section = section or config.Summarize()
    with open_events(*event_files) as events:
        judge = Judge(events, section, input_label)
        if not any(set(_judged(row)) <= set(events.products) for row in CHAIN):
            raise ValueError(
                f"nothing to compare: {', '.join(map(str, event_files))} hold no output of a stage; give the files of "
                "the stages that are to be judged, too"
            )
        if not judge.present:
            sys.stderr.write(
                f"warning: {events.file_uid}: the source states no truth that a stage is judged by\n"
            )
        with TableWriter(out, "metrics", made_from(events, section, input_label)) as writer:
            for event in events.stream(judge.products) if judge.present else ():
                writer.append(judge.rows(event))
    return writer.num_rows


def made_from(events: Events, section: config.Summarize, input_label: Input = "predicted") -> dict[str, Any]:
    """Return what figures were made from: the code, the settings, and the event files with their digests."""
    # files of images have the names of those of the points that are made of them
    suffix = PLANES if input_label == "planes" else ""
    about = provenance("evaluate", EVALUATE_VERSION, config=section.model_dump(mode="json"))
    about["inputs"] = {
        f"{name}{suffix}": {"path": str(final_path(path)), "content": content}
        for name, (path, content) in events.contents().items()
    }
    return about


class Judge:
    """Compares the events of an open shard with their truth.

    `present` are the stages that can be judged, `products` what is needed of an event for it.
    """

    def __init__(self, events: Events, section: config.Summarize, input_label: Input = "predicted") -> None:
        self.present = [row for row in CHAIN if _needed(row, input_label) <= set(events.products)]
        truth = [name for name in TRUTH if name in events.products]
        self.products = ["event", "voxel", *truth, *(name for row in self.present for name in _judged(row))]
        self._set_aside = events.quarantined()
        self._volumes_cm = active_volumes_cm(events, section)
        self._section, self._input_label = section, input_label

    def rows(self, event: Event, found: Measured | None = None) -> Rows:
        """Return the row of `metrics` of an event, none where nothing can be judged or it was set aside.

        Parameters
        ----------
        found
            What was measured of its reconstructed particles; None: they are measured here.
        """
        if not self.present or event.entry in self._set_aside:
            return {name: [] for name in TABLES["metrics"].fields}
        figures = _keys(event, self.present, self._input_label)
        grouped = event if self._input_label == "truth" else adopted(event)
        for row in self.present:
            if row.name == "interact":
                figures |= self._interact(grouped, found)
            else:
                figures |= _JUDGES[row.name](event if row.name == "segment" else grouped)
        return {name: [value] for name, value in figures.items()}

    def _interact(self, event: Event, found: Measured | None) -> Figures:
        on_truth = self._input_label == "truth"
        given = upstream_from_truth(event, ["group", "particle"]) if on_truth else event
        if found is None:
            found = measured_reco(given, self._volumes_cm, self._section)
        return _agreement(event, "interaction", interaction_of_voxels(given)) | interact_figures(given, found)


def _judged(row: Stage) -> tuple[str, ...]:
    return tuple(name for name in row.writes if name not in PROPOSED)


def _needed(row: Stage, input_label: Input) -> set[str]:
    """Return the products without which a stage cannot be judged on this kind of input."""
    inputs = truth_for(row.reads) if input_label == "truth" else ()
    return {*_judged(row), *_TRUTH_OF[row.name], *inputs}


def _keys(event: Event, present: Sequence[Stage], input_label: Input) -> Figures:
    """Return a row of figures that says what event it is of, and nothing else."""
    figures: Figures = {name: _unknown(field.type) for name, field in TABLES["metrics"].fields.items()}
    return figures | {
        "file_uid": event.file_uid,
        "sample": sample_of(event.file_uid),
        "entry": event.entry,
        "input": INPUT.index(input_label),
        "stages": ",".join(row.name for row in present),
        "plane": int(event["event"]["plane"][0]),
        "num_voxels": event.num_voxels,
        "voxel_size_cm": event.box.voxel_size_cm,
        "num_matchable_particles": -1,
        "num_matchable_interactions": -1,
    }


def _unknown(kind: pa.DataType) -> float | None:
    return float("nan") if pa.types.is_floating(kind) else None


def _segment(event: Event) -> Figures:
    true, semantic = event["truth_voxel"]["semantic"], event["semantic"]
    label, num_classes = semantic["label"], len(Semantic)
    counted = (true >= 0) & (label >= 0)
    right = (true == label)[counted]
    # Ghosts are counted behind the classes; what is not known does not count.
    kind = np.where(true == GHOST, num_classes, true)
    return {
        "semantic_confusion": metrics.confusion_matrix(true, label, num_classes).ravel(),
        "reliability": calibration.reliability(semantic["score"][counted], true[counted]).ravel(),
        "uncertainty_errors": calibration.errors_by_uncertainty(
            semantic["uncertainty"][counted], right
        ).ravel(),
        "ghost_counts": np.bincount(
            (2 * kind + (label == GHOST))[kind >= 0], minlength=2 * (num_classes + 1)
        ),
        "ghost_far_counts": np.bincount(label[is_far_ghost(event)] == GHOST, minlength=2),
    }


def is_counted(product: str, points: Columns) -> NDArray[np.bool_]:
    """Tell which points (P,) of a product, `truth_point` or `point`, enter the figures: all but deltas."""
    if product == "truth_point":
        counted: NDArray[np.bool_] = points["semantic"] != Semantic.DELTA
    else:
        counted = points["class_score"][:, Semantic.DELTA] < DELTA_SCORE
    return counted


def _points(event: Event) -> Figures:
    true, found = event["truth_point"], placed_points(event)
    is_true, is_found = is_counted("truth_point", true), is_counted("point", found)
    true_position, position = true["position"][is_true], found["position"][is_found]
    return {
        "truth_point_distance": metrics.nearest(true_position, position)[0],
        "truth_point_semantic": true["semantic"][is_true],
        "truth_point_is_large": _is_large(event, true["particle"][is_true]),
        "point_distance": metrics.nearest(position, true_position)[0],
        "point_semantic": found["semantic"][is_found],
    }


def _is_large(event: Event, particle_P: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which particles (P,) are not small; where the source states no particles, none is known to be."""
    if "truth_particle" not in event:
        return np.zeros(len(particle_P), bool)
    particle = event["truth_particle"]
    is_large = (particle["num_voxels"] >= LARGE_VOXELS) & (particle["energy"] >= LARGE_MEV)
    large: NDArray[np.bool_] = np.append(is_large, False)[particle_P]
    return large


def _cluster(event: Event) -> Figures:
    group = event["group"]
    return {
        **_agreement(event, "fragment", group["fragment"]),
        **_agreement(event, "particle", group["particle"]),
        **_by_class(event),
    }


def _by_class(event: Event) -> Figures:
    """Return the ARI of particles of a true class, and on fragments only, as lartpc_mlreco3d states it."""
    group, truth = event["group"], event["truth_voxel"]
    particle_V, true_V = group["particle"], _counted(event, "particle")
    kind_V = np.append(event["fragment"]["semantic"], -1)[group["fragment"]]
    owner_V = np.append(event["truth_particle"]["semantic"], -1)[truth["particle"]]
    chosen = {"nodes": group["fragment"] >= 0}
    for word in NODE_CLASSES:
        kind = Semantic[word.upper()]
        chosen |= {word: owner_V == kind, f"nodes_{word}": kind_V == kind}
    return {
        f"particle_ari_{name}": metrics.clustering(np.where(of_V, true_V, -1), particle_V).ari
        for name, of_V in chosen.items()
    }


def _counted(event: Event, level: str) -> NDArray[np.integer]:
    truth = event["truth_voxel"]
    return np.where(truth["semantic"] == Semantic.LOW_ENERGY, -1, truth[level])


def _agreement(event: Event, level: str, predicted_V: NDArray[Any]) -> Figures:
    """Compare clusters on the voxels that truly are in one and are not low-energy deposits."""
    found = metrics.clustering(_counted(event, level), predicted_V)
    return {
        f"{level}_{name}": getattr(found, name)
        for name in ("purity", "efficiency", "ari", "best_dice", "assigned")
    }


_JUDGES: Mapping[str, Callable[[Event], Figures]] = {
    "segment": _segment,
    "points": _points,
    "cluster": _cluster,
}
"""What of a stage is compared with the truth alone; `interact` needs to know the detector, too."""

_TRUTH_OF = {
    "segment": ("truth_voxel",),
    "points": ("truth_point",),
    "cluster": ("truth_voxel", "truth_fragment", "truth_particle"),
    "interact": ("truth_voxel", "truth_particle", "truth_interaction"),
}
"""The truth that each stage is judged by."""
