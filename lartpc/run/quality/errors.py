"""Statistical errors of the pooled figures, by resampling whole events.

Objects of one event are not independent of each other: a shower that is split spoils the figures of voxels,
fragments, particles and interactions at once. Events are independent, and so they are what is drawn again
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lartpc.run.quality.pool import pool_rows
from lartpc.tables.fields import names_of
from lartpc.tables.metric_fields import INPUT
from lartpc.vocab import Semantic, Species

if TYPE_CHECKING:
    import pyarrow.dataset as ds

NUM_REPLICAS = 60
"""The error of an error from so many replicas is 1 / sqrt(2 * 60), 9 %."""
MAX_EVENTS = 4000
"""Events that are resampled. Of more, so many are; the error falls with the root of their number."""
_SEED = 1
_KEYS = ("file_uid", "entry", "input")


def bootstrap(
    source: "pa.Table | ds.Dataset", pooled: Mapping[str, Any], num_replicas: int = NUM_REPLICAS
) -> dict[str, dict[str, float]]:
    """Return the standard error of each figure that `pool` makes of a table, for each kind of input.

    The error is the standard deviation of the figure over replicas of the sample, in each of which as many
    events are drawn with replacement as there are; nan of a single event, and where fewer than two replicas have
    the figure. Bias
    and resolution of energies in bins are under the names that `in_bin` gives. A share of 0 or 1 has the same
    value in all replicas; its error is that of Wilson's interval for one standard deviation, 1 / (N + 1). The
    same table gives the same errors.

    Parameters
    ----------
    pooled
        What `pool` makes of the table.
    """
    import pyarrow.dataset as ds  # here: it brings pandas, which a job for one shard need not wait for

    dataset = source if isinstance(source, ds.Dataset) else ds.dataset(source)
    keys = dataset.to_table(columns=list(_KEYS))
    label = np.asarray(keys["input"].cast(pa.string()))
    found = {}
    for name in INPUT:
        row = np.flatnonzero(label == name)
        if not len(row):
            continue
        names = keys.take(row).select(["file_uid", "entry"]).to_pandas()
        event, distinct = names.groupby(["file_uid", "entry"]).ngroup().to_numpy(), names.drop_duplicates()
        random = np.random.default_rng(_SEED)
        num = len(distinct)
        used = random.permutation(num)[:MAX_EVENTS]
        kept = np.isin(event, used)
        table = dataset.filter(pc.field("input").cast(pa.string()) == name).to_table().filter(pa.array(kept))
        errors = _replicate(table, event[kept], num_replicas, random)
        found[name] = {key: error * (len(used) / num) ** 0.5 for key, error in errors.items()}
        found[name] |= _of_certain(pooled[name], errors)
    return found


def _replicate(
    table: pa.Table, event: NDArray[np.int64], num_replicas: int, random: np.random.Generator
) -> dict[str, float]:
    """Return the spread of each figure over replicas; the rows of an event are drawn together."""
    table = table.combine_chunks()
    order = np.argsort(event, kind="stable")
    _, first, count = np.unique(event[order], return_index=True, return_counts=True)
    values: dict[str, list[float]] = {}
    for _ in range(num_replicas):
        drawn = random.integers(0, len(first), len(first))
        length = count[drawn]
        # the rows of the drawn events, one event after another
        place = np.repeat(first[drawn] - np.cumsum(length) + length, length) + np.arange(length.sum())
        for key, value in _numbers(pool_rows(table.take(order[place]))).items():
            values.setdefault(key, []).append(value)
    errors = {}
    for key, found in values.items():
        # one event says nothing of how events differ
        known = np.array(found)[np.isfinite(found)] if len(first) > 1 else np.zeros(0)
        errors[key] = float(np.std(known, ddof=1)) if len(known) > 1 else float("nan")
    return errors


def _of_certain(figures: Mapping[str, Any], errors: Mapping[str, float]) -> dict[str, float]:
    """Return the errors of shares that are 0 or 1, which resampling cannot tell."""
    found = {}
    for key, error in errors.items():
        if error == 0 and figures.get(key) in (0.0, 1.0) and (num := num_objects(figures, key)):
            found[key] = 1 / (num + 1)
    return found


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that are shares, means and medians, with those of energies in bins."""
    found = {key: value for key, value in figures.items() if isinstance(value, float)}
    for line in figures["energies"]:
        for key in ("bias", "resolution"):
            found[in_bin(line, key)] = line[key]
    return found


def in_bin(line: Mapping[str, Any], key: str) -> str:
    """Return the name of the error of `key`, bias or resolution, of a line of `energies`."""
    return f"{line['what']}_from_{line['low_mev']:g}_{key}"


def num_objects(figures: Mapping[str, Any], key: str) -> int | None:
    """Return how many objects a pooled figure is measured on; None where it is not said.

    They are the objects in its denominator: voxels, images, points, events with clusters, particles or
    interactions, as docs/reference/metrics.md defines the figure.
    """
    for what, words in (("semantic", names_of(Semantic)), ("species", names_of(Species))):
        confusion = np.array(figures.get(f"{what}_confusion", []))
        for place, word in enumerate(words):
            if confusion.size and key == f"{what}_recall_{word}":
                return int(confusion[place].sum())
            if confusion.size and key == f"{what}_precision_{word}":
                return int(confusion[:, place].sum())
    if key.endswith("_median_within_3_voxel"):
        side = key.removesuffix("_median_within_3_voxel")
        num: int = round(figures[f"{side}_within_3"] * figures[f"{side}_num"])
        return num
    if key.startswith(("matched_class_", "matched_size_", "matched_primary", "particle_ari_")):
        return figures.get(f"{key}_num")
    if key.endswith("_of_all"):
        value = figures.get(key.replace("recall", "num"))
        return None if value is None else int(value)
    stem = next((stem for start, stem in _COUNTS.items() if key.startswith(start)), None)
    if stem is None:
        # bias and resolution, parents, counts: the number goes by the same name
        stem = next((key.removesuffix(end) + "_num" for end in _ENDS if key.endswith(end)), "")
        stem = key.replace("parent_right", "parent_num") if key.startswith("parent_right") else stem
    value = figures.get(stem)
    return None if value is None else int(value)


_COUNTS = {
    "semantic_recall": "semantic_num",
    "semantic_": "semantic_num",
    "icpf_": "num_events",
    "ghost_": "ghost_num",
    "truth_point_large_": "truth_point_large_num",
    "truth_point_": "truth_point_num",
    "point_": "point_num",
    "matched_share": "num_matchable_particles",
    "matched_energy": "num_matchable_particles",
    "michel_id_purity": "michel_id_num_reco",
    "michel_id_efficiency": "michel_id_num",
    "interaction_matched_share": "topology_num",
    "topology_right": "topology_num",
    **{
        f"{level}_{name}": f"{level}_num_events"
        for level in ("fragment", "particle", "interaction")
        for name in ("purity", "efficiency", "ari", "best_dice", "assigned")
    },
    "species_": "species_num",
    "primary_accuracy": "primary_num",
    "pi_zero_found": "pi_zero_num",
    "pi_zero_real": "pi_zero_num_reco",
    "orientation_right": "orientation_num",
    "start_within": "start_num",
    "flavour_": "flavour_num",
    "vertex_": "vertex_num",
}
"""What is counted, by how the figures' names begin; the first that fits holds."""
_ENDS = ("_bias", "_resolution", "_right")
