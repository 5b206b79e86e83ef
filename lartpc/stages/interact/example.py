"""What `interact` learns from an event, worked out once: a symmetry of the box turns features, and leaves most.

Tracks begin in the graph at their end of lower x (`lartpc.kinematics.relations.canonical`), which is another end where
the box is turned: what depends on it is kept for both ends.

Shape suffixes: F particles, E edges (each pair once), C channels.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns, Event
from lartpc.graphs import EDGE_TENSORS, EDGE_VECTORS, Graph, edge_features, turned
from lartpc.kinematics import FEATURES, Clusters, directions, features
from lartpc.kinematics.clusters import Ints
from lartpc.kinematics.describe import DIRECTION_SCALE, TENSORS, VECTORS
from lartpc.kinematics.relations import SHELLS, begins_late, end_features, pair_features
from lartpc.stages.interact.graph import Nodes, geometry_of
from lartpc.stages.interact.targets import Targets, targets_of
from lartpc.vocab import NONE, Semantic

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """The particles of an event with their targets, as they start in the files.

    `back_FC` are the features of nodes whose ends are exchanged. `pair_4EC` are the features of edges beyond
    `graph.edge_features`: both nodes as they are, the second's ends exchanged, the first's, and those of both.
    """

    semantic_F: NDArray[np.int8]
    start_F3: Floats
    end_F3: Floats
    node_FC: Floats
    back_FC: Floats
    pair_2E: Ints
    edge_EC: Floats
    pair_4EC: Floats
    targets: Targets
    side: int
    num_voxels: int

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        targets = [getattr(self.targets, field.name) for field in fields(self.targets)]
        values = [*vars(self).values(), *targets, *self.targets.groups.values()]
        return sum(value.nbytes for value in values if isinstance(value, np.ndarray))

    def turned(self, axes: NDArray[np.int64], flip: NDArray[np.bool_]) -> "Turned":
        """Return what the network learns of the event in a symmetry of its box (`lartpc.nets.augment.symmetry`)."""
        start_F3, end_F3 = (
            np.where(flip, self.side - place[:, axes], place[:, axes]).astype(np.float32)
            for place in (self.start_F3, self.end_F3)
        )
        back_F = (self.semantic_F == Semantic.TRACK) & begins_late(start_F3, end_F3)
        nodes = np.where(back_F[:, None], self.back_FC, self.node_FC)
        one_E, two_E = back_F[self.pair_2E].astype(np.int64)
        pairs = self.pair_4EC[2 * one_E + two_E, np.arange(len(one_E))]
        edges = turned(self.edge_EC, axes, flip, EDGE_VECTORS, EDGE_TENSORS)
        graph: Graph[NDArray[Any]] = Graph(
            turned(nodes, axes, flip, VECTORS, TENSORS), self.pair_2E, np.concatenate([edges, pairs], axis=1)
        )
        starts_F = self.targets.start_F
        targets = replace(self.targets, start_F=np.where(starts_F == NONE, NONE, starts_F ^ back_F))
        return Turned(self.semantic_F, graph, targets, self.num_voxels)


@dataclass(frozen=True)
class Turned:
    """What the network learns of an event: classes of its particles (F,), their graph, and targets."""

    semantic_F: NDArray[np.int8]
    graph: Graph[NDArray[Any]]
    targets: Targets
    num_voxels: int


def example(event: Event, cfg: config.Interact) -> Example:
    """Return what is learned from an event."""
    known = geometry_of(event, cfg)
    clusters, edges = known.clusters, (known.pair_E2, known.one_E3, known.two_E3)
    columns = {name: values[known.row_F] for name, values in event["particle"].items()}
    side = event.box.num_voxels
    node_FC = np.concatenate([features(clusters, columns, side), end_features(clusters, columns)], axis=1)
    is_track_F = columns["semantic"] == Semantic.TRACK
    back_FC = _exchanged(node_FC, is_track_F, columns, clusters)
    given = Nodes(known.row_F, np.zeros(len(known.row_F), bool), Graph(node_FC, known.pair_E2.T, node_FC))
    return Example(
        columns["semantic"],
        columns["start_point"],
        columns["end_point"],
        node_FC,
        back_FC,
        np.ascontiguousarray(known.pair_E2.T),
        edge_features(known.one_E3, known.two_E3, side),
        _of_both_ends(columns, is_track_F, back_FC[:, _at("start_direction_x")] / DIRECTION_SCALE, *edges),
        targets_of(event, given, cfg),
        side,
        event.num_voxels,
    )


def _at(name: str) -> slice:
    first = FEATURES.index(name)
    return slice(first, first + 3)


def _exchanged(
    node_FC: Floats, is_track_F: NDArray[np.bool_], columns: Columns, clusters: Clusters
) -> Floats:
    """Return the features of nodes (F, C) where the ends of tracks are exchanged."""
    own_FC = node_FC[is_track_F]
    out_FC = own_FC.copy()
    start, end = _at("start_x"), _at("end_x")
    out_FC[:, start], out_FC[:, end] = own_FC[:, end], own_FC[:, start]
    start, end = _at("start_direction_x"), _at("end_direction_x")
    out_FC[:, start] = own_FC[:, end]
    first_F3 = columns["start_point"][is_track_F].astype(np.float64)
    out_FC[:, end] = DIRECTION_SCALE * directions(clusters.only(is_track_F), first_F3)
    # x - 1 at the start, (x - 1) / 2 at the end
    dedx, stop = FEATURES.index("start_dedx"), FEATURES.index("end_dedx")
    out_FC[:, dedx], out_FC[:, stop] = 2.0 * own_FC[:, stop], 0.5 * own_FC[:, dedx]
    shells, middle = len(FEATURES), len(FEATURES) + len(SHELLS)
    out_FC[:, shells:middle], out_FC[:, middle:] = own_FC[:, middle:], own_FC[:, shells:middle]
    back_FC = node_FC.copy()
    back_FC[is_track_F] = out_FC
    return back_FC


def _of_both_ends(
    columns: Columns, is_track_F: NDArray[np.bool_], back_F3: Floats, pair_E2: Ints, one_E3: Any, two_E3: Any
) -> Floats:
    """Return `Example.pair_4EC`; `back_F3` are the directions (F, 3) at the other end."""
    track, num = is_track_F[:, None], len(is_track_F)
    start, end = columns["start_point"], columns["end_point"]
    both = {
        "start_point": np.concatenate([start, np.where(track, end, start)]),
        "end_point": np.concatenate([end, np.where(track, start, end)]),
        "start_direction": np.concatenate([columns["start_direction"], back_F3]),
        "energy": np.tile(columns["energy"], 2),
    }
    ways = [pair_E2 + np.array([one, two]) * num for one in (0, 1) for two in (0, 1)]
    found = pair_features(both, np.concatenate(ways), np.tile(one_E3, (4, 1)), np.tile(two_E3, (4, 1)))
    return found.reshape(4, len(pair_E2), found.shape[1])
