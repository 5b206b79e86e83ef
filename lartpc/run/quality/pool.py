"""Figures of many events from those of each: shares, means, medians and matrices of what `evaluate` wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lartpc import calibration, metrics
from lartpc.run.quality.interactions import pool_interactions
from lartpc.tables.fields import names_of
from lartpc.tables.metric_fields import INPUT, LEVELS, NODE_CLASSES
from lartpc.vocab import Flavour, Semantic, Species

if TYPE_CHECKING:
    import pyarrow.dataset as ds

POINT_LIMITS = (3, 10)
"""Distances up to which a point counts as found, as in the PPN paper, arXiv:2006.14745 [voxel]."""
ICPF_QUANTILE = 0.9
"""The quantile over images that MicroBooNE states beside the mean (arXiv:1808.07269)."""
TRACK_OR_SHOWER = np.array([int(kind == Semantic.TRACK) for kind in Semantic])
"""MicroBooNE's two classes for ours: 1 for tracks, 0 for showers, with Michels, deltas and low energy."""
SUREST_PERCENT = (90, 99)
"""Shares of the voxels, those of the least uncertainty first, whose error is a figure."""


def pool(source: "pa.Table | ds.Dataset") -> dict[str, dict[str, Any]]:
    """Pool a table of figures per event into one figure each, for each kind of input.

    A dataset is read column by column: what is held is one column of all events, at most some 200 bytes an
    event, and not the table. Medians and quantiles are exact.

    Returns
    -------
    For each input ("predicted", "truth") that occurs, names to numbers, as docs/reference/metrics.md defines
    them; what is undefined is nan. The keys `semantic_confusion`, `species_confusion`,
    `primary_confusion` and `flavour_confusion` hold matrices as lists of rows, `reliability` and
    `uncertainty_errors` the sums of `lartpc.calibration`, `energies` lines of bias and resolution.
    """
    import pyarrow.dataset as ds  # here: it brings pandas, which a job for one shard need not wait for

    dataset = source if isinstance(source, ds.Dataset) else ds.dataset(source)
    parts = {label: _Part(dataset, label) for label in INPUT}
    return {label: _pool(part) for label, part in parts.items() if part.num_rows()}


def pool_rows(table: pa.Table) -> dict[str, Any]:
    """Pool rows of one kind of input that are in memory, each as often as it is there."""
    return _pool(_Rows(table))


class _Source(Protocol):
    """Where rows of one kind of input come from, column by column."""

    def select(self, *columns: str) -> pa.Table: ...


@dataclass(frozen=True)
class _Rows:
    """Rows in memory."""

    table: pa.Table

    def select(self, *columns: str) -> pa.Table:
        return self.table.select(list(columns))


@dataclass(frozen=True)
class _Part:
    """The rows of a dataset of figures that are of one kind of input."""

    dataset: "ds.Dataset"
    label: str

    def select(self, *columns: str) -> pa.Table:
        """Read some columns."""
        return self.dataset.to_table(columns=list(columns), filter=self._is_of_label())

    def num_rows(self) -> int:
        """Count the rows."""
        num: int = self.dataset.count_rows(filter=self._is_of_label())
        return num

    def _is_of_label(self) -> pc.Expression:
        return pc.field("input").cast(pa.string()) == self.label


def _pool(table: _Source) -> dict[str, Any]:
    key = ["file_uid", "entry"]
    num_events = table.select(*key).group_by(key).aggregate([]).num_rows
    figures: dict[str, Any] = {"num_events": num_events}
    figures |= _pool_confusion(table, "semantic", names_of(Semantic))
    figures |= _pool_icpf(table)
    figures |= _pool_doubt(table)
    for side in ("truth_point", "point"):
        distance, code = _flat(table, f"{side}_distance"), _flat(table, f"{side}_semantic")
        figures |= _pool_distances(distance, side)
        for word, semantic in zip(names_of(Semantic), Semantic, strict=True):
            figures[f"{side}_within_{POINT_LIMITS[0]}_{word}"] = metrics.within(
                distance[code == semantic], POINT_LIMITS[0]
            )
    distance, large = _flat(table, "truth_point_distance"), _flat(table, "truth_point_is_large")
    figures |= _pool_distances(distance[large > 0] if len(large) else distance[:0], "truth_point_large")
    for name in ("nodes", *NODE_CLASSES, *(f"nodes_{word}" for word in NODE_CLASSES)):
        values = _flat(table, f"particle_ari_{name}")
        figures[f"particle_ari_{name}"] = metrics.mean(values)
        figures[f"particle_ari_{name}_num"] = int(np.count_nonzero(~np.isnan(values)))
    for level in LEVELS:
        for name in ("purity", "efficiency", "ari", "best_dice", "assigned"):
            values = _flat(table, f"{level}_{name}")
            figures[f"{level}_{name}"] = metrics.mean(values)
        figures[f"{level}_num_events"] = int(np.count_nonzero(~np.isnan(_flat(table, f"{level}_efficiency"))))
    figures |= _pool_confusion(table, "species", names_of(Species))
    figures |= _pool_confusion(table, "primary", ("secondary", "primary"))
    figures |= _pool_confusion(table, "flavour", names_of(Flavour))
    matchable = _flat(table, "num_matchable_particles")
    figures["num_matchable_particles"] = int(matchable[matchable >= 0].sum())
    figures["matched_share"] = (
        figures["species_num"] / figures["num_matchable_particles"]
        if figures["num_matchable_particles"]
        else float("nan")
    )
    lengths = _lengths(table, "vertex_distance_cm")
    vertex = _flat(table, "vertex_distance_cm") / np.repeat(_flat(table, "voxel_size_cm"), lengths)
    figures |= pool_interactions(partial(_flat, table), vertex)
    return figures


def _pool_distances(distance: NDArray[Any], side: str) -> dict[str, Any]:
    near = distance[distance <= POINT_LIMITS[0]]
    return {
        f"{side}_num": len(distance),
        **{f"{side}_within_{limit}": metrics.within(distance, limit) for limit in POINT_LIMITS},
        f"{side}_median_voxel": metrics.median(distance),
        f"{side}_median_within_{POINT_LIMITS[0]}_voxel": metrics.median(near),
    }


def _pool_confusion(table: _Source, what: str, words: Sequence[str]) -> dict[str, Any]:
    num = len(words)
    flat = _flat(table, f"{what}_confusion").reshape(-1, num, num)
    confusion = flat.sum(axis=0, dtype=np.int64)
    scores = metrics.class_scores(confusion)
    return {
        f"{what}_num": int(confusion.sum()),
        f"{what}_accuracy": scores.accuracy,
        f"{what}_mean_recall": scores.mean_recall,
        f"{what}_mean_f1": scores.mean_f1,
        **{f"{what}_recall_{word}": float(scores.recall_K[i]) for i, word in enumerate(words)},
        **{f"{what}_precision_{word}": float(scores.precision_K[i]) for i, word in enumerate(words)},
        f"{what}_confusion": confusion.tolist(),
    }


def _pool_icpf(table: _Source) -> dict[str, float]:
    """Pool the share of wrong voxels image by image, with MicroBooNE's two classes and with our five."""
    words = names_of(Semantic)
    confusion = _flat(table, "semantic_confusion").reshape(-1, len(words), len(words))
    figures = {}
    for stem, matrices, names in (
        ("icpf", metrics.merge_classes(confusion, TRACK_OR_SHOWER, 2), ("shower", "track")),
        ("icpf_five", confusion, words),
    ):
        of_image, of_class = metrics.incorrect_fractions(matrices)
        figures[f"{stem}_mean"] = metrics.mean(of_image)
        figures[f"{stem}_quantile_90"] = metrics.quantile(of_image, ICPF_QUANTILE)
        figures |= {f"{stem}_{name}": metrics.mean(of_class[:, row]) for row, name in enumerate(names)}
    return figures


def _pool_doubt(table: _Source) -> dict[str, Any]:
    """Pool what says how far scores can be believed, and how well ghosts are told from deposits."""
    reliability = _flat(table, "reliability").reshape(-1, calibration.NUM_BINS, 3).sum(axis=0)
    errors = _flat(table, "uncertainty_errors").reshape(-1, calibration.NUM_UNCERTAINTIES, 2).sum(axis=0)
    words = (*names_of(Semantic), "ghost")
    kept = _flat(table, "ghost_counts").reshape(-1, len(words), 2).sum(axis=0)
    confusion = _flat(table, "semantic_confusion").reshape(-1, len(Semantic), len(Semantic)).sum(axis=0)
    right = np.append(np.diag(confusion), 0)
    ghosts, real = kept[-1], kept[:-1].sum(axis=0)
    figures: dict[str, Any] = {
        "semantic_calibration_error": calibration.calibration_error(reliability),
        "uncertain_num": int(errors[:, 0].sum()),
        **{
            f"semantic_error_surest_{share}": calibration.error_among_surest(errors, share / 100)
            for share in SUREST_PERCENT
        },
        "reliability": reliability.tolist(),
        "uncertainty_errors": errors.tolist(),
        "ghost_num": int(ghosts.sum()),
    }
    far = _flat(table, "ghost_far_counts").reshape(-1, 2).sum(axis=0)
    if far.sum():
        figures["ghost_far_removed"] = float(far[1] / far.sum())
    if ghosts.sum():
        figures["ghost_removed"] = float(ghosts[1] / ghosts.sum())
        figures["ghost_real_kept"] = float(real[0] / real.sum()) if real.sum() else float("nan")
        for row, word in enumerate(names_of(Semantic)):
            num = kept[row].sum()
            figures[f"semantic_num_{word}_of_all"] = int(num)
            figures[f"semantic_recall_{word}_of_all"] = float(right[row] / num) if num else float("nan")
    return figures


def _flat(table: _Source, column: str) -> NDArray[Any]:
    """Return the values of a column, those of lists joined end to end, without nulls."""
    values = table.select(column)[column].combine_chunks()
    if pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = values.drop_null().flatten()
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found


def _lengths(table: _Source, column: str) -> NDArray[np.int64]:
    lengths = pc.fill_null(pc.list_value_length(table.select(column)[column]), 0)
    return np.asarray(lengths, np.int64)
