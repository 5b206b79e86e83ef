"""The voxels of a batch as the fragment networks see them, and the links among which they decide.

Tensor suffixes: V voxels, P points, D dimensions, C channels, K classes, E links.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lartpc.event import Event
from lartpc.fragments.classes import CLASSES
from lartpc.images import ENERGY_FULL_MEV, ENERGY_SCALE_MEV
from lartpc.lean import cKDTree
from lartpc.links import links
from lartpc.vocab import Semantic

POINT_REACH = 8.0
"""Points farther away than this are not seen [voxel]."""

NUM_FEATURES = 2 + len(Semantic) + len(CLASSES) + 3


@dataclass(frozen=True)
class Images:
    """The voxels of several events, one event after the other.

    Attributes
    ----------
    coord_VD1
        Event in the batch and voxel indices (V, 4).
    feat_VC
        Logarithm of the energy, 1, each class (0 or 1), nearness to a point of each class that has fragments
        (1 at the point, 0 from `POINT_REACH` on), position from the centre of the box over half its side:
        `NUM_FEATURES` columns.
    link_E2
        Rows of voxels of one event and one class that are near each other.
    class_V
        Event and class of each voxel as one number, -1 for classes without fragments.
    num_events, num_cells
        Events in the batch, and voxels per side of their box.
    """

    coord_VD1: Tensor
    feat_VC: Tensor
    link_E2: Tensor
    class_V: Tensor
    num_events: int
    num_cells: int


def stack(batch: list[Event], radius: float, device: torch.device) -> Images:
    """Put the voxels of a batch one after another and link those of one class nearer than `radius`.

    Raises
    ------
    ValueError
        The events have boxes of different sizes.
    """
    sides = {event.box.num_voxels for event in batch}
    if len(sides) != 1:
        raise ValueError(f"the events of a batch must have one box size, got {sorted(sides)} voxels per side")
    side = sides.pop()
    coord = np.concatenate([event["voxel"]["coord"] for event in batch]).astype(np.int64)
    of_event = np.repeat(np.arange(len(batch)), [event.num_voxels for event in batch])
    semantic = np.concatenate([event["semantic"]["label"] for event in batch]).astype(np.int64)
    link, first = [], 0
    for event in batch:
        rows = first + np.flatnonzero(np.isin(event["semantic"]["label"], CLASSES))
        near = links(coord[rows], radius)
        link.append(rows[near[semantic[rows[near[:, 0]]] == semantic[rows[near[:, 1]]]]])
        first += event.num_voxels
    energy = np.concatenate([event["voxel"]["energy"] for event in batch])
    scaled = np.log1p(np.maximum(energy, 0) / ENERGY_SCALE_MEV) / math.log1p(
        ENERGY_FULL_MEV / ENERGY_SCALE_MEV
    )
    features = np.concatenate(
        [
            scaled[:, None],
            np.ones((len(coord), 1)),
            semantic[:, None] == np.arange(len(Semantic)),
            np.concatenate([_nearness(event) for event in batch]),
            (coord + 0.5) / (0.5 * side) - 1,
        ],
        axis=1,
    ).astype(np.float32)
    class_V = np.where(np.isin(semantic, CLASSES), of_event * len(Semantic) + semantic, -1)
    return Images(
        torch.from_numpy(np.concatenate([of_event[:, None], coord], axis=1)).to(device),
        torch.from_numpy(features).to(device),
        torch.from_numpy(np.concatenate(link)).to(device),
        torch.from_numpy(class_V).to(device),
        len(batch),
        side,
    )


def _nearness(event: Event) -> NDArray[np.float64]:
    """Return how near each voxel is to a point of each class (V, K), from 0 to 1."""
    point, centre = event["point"], event["voxel"]["coord"] + 0.5
    near = np.zeros((len(centre), len(CLASSES)))
    for column, semantic in enumerate(CLASSES):
        position = point["position"][point["semantic"] == semantic]
        if len(position) and len(centre):
            away_V = cKDTree(position).query(centre, distance_upper_bound=POINT_REACH)[0]
            near[:, column] = np.maximum(1 - away_V / POINT_REACH, 0)
    return near
