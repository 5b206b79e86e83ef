"""The study: events with parts masked go through the network again, and scores are compared voxel by voxel.

Shape suffixes: V voxels, K classes.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.atomic import make_folder, write_each
from lartpc.event import SEEN, Columns, Event
from lartpc.run.domain import look_outside
from lartpc.run.explain.masks import Mask, Particles, masks_of, particles_of
from lartpc.stages import stage
from lartpc.store import open_events
from lartpc.vocab import NONE, Semantic

TABLE, FIGURE = "explain.json", "explain.png"
NEAR_VOXELS = 3.0
"""A particle is beside the mask if one of its voxels is no farther from it."""
DISTANCES_CM = (0.0, 0.6, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 1000.0)
"""Edges of the distances from the mask in which changes are averaged."""


@dataclass
class Sums:
    """Changes of scores: of each particle its mean change, its share of voxels of another class, its voxels."""

    change: list[float] = field(default_factory=list)
    turned: list[float] = field(default_factory=list)
    num_voxels: list[int] = field(default_factory=list)

    def as_row(self) -> dict[str, float | int | None]:
        """Return means over particles, and the error of the mean change; None with one particle only."""
        num = len(self.change)
        return {
            "num_particles": num,
            "num_voxels": sum(self.num_voxels),
            "change": float(np.mean(self.change)),
            "error": float(np.std(self.change, ddof=1) / np.sqrt(num)) if num > 1 else None,
            "turned": float(np.mean(self.turned)),
        }


def explain(
    files: Sequence[Path],
    section: config.Segment,
    weights: Path,
    out: Path,
    *,
    entries: Sequence[int] = (),
    num_events: int = 1,
) -> list[dict[str, Any]]:
    """Mask parts of events, segment what is left, and write a table and a figure of how scores change.

    The score that is compared is that of the class that a particle has: how much of it its voxels lose or gain in the
    mean. `turned` is the share of its voxels that get another class than before.

    Parameters
    ----------
    files
        The files of a shard: `ingest`, and `cluster` where there is no truth.
    entries
        Entries of events; none: the first `num_events`.

    Returns
    -------
    A row for each kind of mask, relation (the rest of the same particle, one beside the mask, one away) and class.

    Raises
    ------
    ValueError
        There is no such entry, an event has no particles, or nothing can be masked.
    """
    from lartpc.run.weights import load_weights, read_weights

    row = stage("segment")
    net = load_weights(weights, row, section, read_weights(weights, "train them with 'lartpc train segment'"))
    network = row.module()
    sums: dict[tuple[str, str, int], Sums] = defaultdict(Sums)
    by_distance: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros((2, len(DISTANCES_CM) - 1)))
    num_masks: dict[str, int] = defaultdict(int)
    with open_events(*files) as events:
        events.require(("voxel",))
        look_outside(events, row, section, weights)
        for event in _chosen(events, entries, num_events):
            particles = particles_of(event)
            masks = list(masks_of(event, particles))
            images = [event, *(_without(event, mask.masked_V) for mask in masks)]
            said = [
                found["semantic"]
                for pack in _packs(images, section.infer.max_voxels)
                for found in network.infer(net, pack, section)
            ]
            for mask, after in zip(masks, said[1:], strict=True):
                num_masks[mask.kind] += 1
                _compare(event, particles, mask, said[0], after, sums, by_distance)
    if not sums:
        raise ValueError(f"nothing can be masked in these events of {files[0]}; choose others with --entry")
    rows = [
        {
            "mask": kind,
            "num_masks": num_masks[kind],
            "relation": relation,
            "class": Semantic(semantic).name.lower(),
        }
        | found.as_row()
        for (kind, relation, semantic), found in sorted(sums.items())
    ]
    curves = {
        kind: [float(change / num) if num else None for change, num in zip(*sum_2D, strict=True)]
        for kind, sum_2D in sorted(by_distance.items())
    }
    make_folder(out)
    from lartpc.run.explain.figure import drawn

    written = json.dumps({"rows": rows, "distances_cm": DISTANCES_CM, "by_distance": curves}, indent=1) + "\n"
    write_each({out / TABLE: written, out / FIGURE: drawn(rows, curves, DISTANCES_CM)})
    return rows


def _chosen(events: Any, entries: Sequence[int], num_events: int) -> Iterable[Event]:
    """Yield the wanted events, or raise ValueError where there is no such entry."""
    known = {int(entry): index for index, entry in enumerate(events.entries)}
    if missing := [entry for entry in entries if entry not in known]:
        raise ValueError(f"{events.file_uid} has no entry {missing[0]}; it has {len(known)} of them")
    wanted = [known[entry] for entry in entries] or range(min(num_events, len(events)))
    set_aside = events.quarantined()
    for index in wanted:
        event = events[index]
        if event.entry not in set_aside and event.num_voxels:
            yield event


def _without(event: Event, masked_V: NDArray[np.bool_]) -> Event:
    """Return the image of an event without some voxels."""
    seen = {
        product: {name: value[~masked_V] for name, value in event[product].items()}
        for product in ("voxel", *SEEN)
        if product in event
    }
    return Event(event.file_uid, event.entry, event.box, seen)


def _packs(images: Sequence[Event], max_voxels: int) -> Iterable[list[Event]]:
    """Yield consecutive images, up to a number of voxels together."""
    pack: list[Event] = []
    for image in images:
        if pack and sum(one.num_voxels for one in pack) + image.num_voxels > max_voxels:
            yield pack
            pack = []
        pack.append(image)
    if pack:
        yield pack


def _compare(
    event: Event,
    particles: Particles,
    mask: Mask,
    before: Columns,
    after: Columns,
    sums: dict[tuple[str, str, int], Sums],
    by_distance: dict[str, NDArray[np.float64]],
) -> None:
    """Add how the scores and labels of the voxels that are left change."""
    from lartpc.lean import cKDTree

    left_V = ~mask.masked_V
    before_VK, after_VK = before["score"], after["score"]
    owner_V = particles.owner_V[left_V]
    coord_V3 = event["voxel"]["coord"]
    away_V = cKDTree(coord_V3[mask.masked_V]).query(coord_V3[left_V])[0]
    turned_V = before["label"][left_V] != after["label"]
    for row in np.unique(owner_V[owner_V != NONE]).tolist():
        mine_V = owner_V == row
        semantic = int(particles.semantic_F[row])
        if semantic < 0:
            continue
        is_beside = bool(away_V[mine_V].min() <= NEAR_VOXELS)
        relation = "the rest of it" if row == mask.particle else "beside it" if is_beside else "away from it"
        change_V = after_VK[mine_V, semantic].astype(np.float64) - before_VK[left_V][mine_V, semantic]
        found = sums[mask.kind, relation, semantic]
        found.change.append(float(change_V.mean()))
        found.turned.append(float(turned_V[mine_V].mean()))
        found.num_voxels.append(int(mine_V.sum()))
    # what all classes' scores change by: half of the sum of the differences
    moved_V = 0.5 * np.abs(after_VK.astype(np.float64) - before_VK[left_V]).sum(axis=1)
    place_V = np.digitize(away_V * event.box.voxel_size_cm, DISTANCES_CM) - 1
    num = len(DISTANCES_CM) - 1
    kept_V = place_V < num
    by_distance[mask.kind] += np.stack(
        [np.bincount(place_V[kept_V], moved_V[kept_V], num), np.bincount(place_V[kept_V], minlength=num)]
    )
