"""PILArNet-M images in HDF5 (arXiv:2502.02558; revision 2: arXiv:2512.01324): voxels with labels.

One row of numbers per event in each dataset. Shape suffixes: V voxels, C clusters, P particles.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.event import TRUTH, Columns
from lartpc.ingest.formats.hdf5 import (
    attribute,
    dataset,
    is_hdf5,
    is_number,
    names,
    node,
    open_hdf5,
    positive,
    read,
    readable,
    stated_centre,
)
from lartpc.ingest.source import LARGEST_INDEX, Voxels, VoxelSource, numbered
from lartpc.ingest.steps import FloatArray, IntArray, integers
from lartpc.vocab import NONE, Semantic, Species

POINT = ("x", "y", "z", "value", "energy", "time", "num_electrons", "dx")
CLUSTER = ("num_points", "fragment", "group", "interaction", "semantic")
CLUSTER_2 = (*CLUSTER, "pid")
CLUSTER_EXTRA = ("unused", "momentum", "vertex_x", "vertex_y", "vertex_z")
"""Columns of the flattened rows of `point`, of `cluster` of revisions 1 and 2, and of `cluster_extra`."""

SIDE = 768
"""Voxels per side of the image."""

NUM_PROBED = 64
"""First events that are looked into, to tell the revision and whether there are times."""


class PilarnetReader(VoxelSource):
    """Reader of PILArNet-M; see `source.VoxelSource`.

    Points are found from the times of the voxels, where these differ. Files of `lartpc export` also hold
    voxel size, centre and event numbers.
    """

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        held = names(path, file)
        self._data = {
            name: dataset(path, file, name)
            for name in ("point", "cluster", "cluster_extra")
            if name in held or name != "cluster_extra"
        }
        for name, data in self._data.items():
            row_type = h5py.check_vlen_dtype(data.dtype)
            if row_type is None or not is_number(row_type):
                raise ValueError(
                    f"{path}: dataset '{name}' is {data.dtype}; it must be one row of numbers per event"
                )
            if len(data) != len(self._data["point"]):
                raise ValueError(
                    f"{path}: '{name}' has {len(data)} events, 'point' has {len(self._data['point'])}"
                )
        super().__init__(path, file, self._identities(path, file, held))
        self._columns = self._revision()
        size_cm = attribute(path, file, "voxel_size_cm")
        if size_cm is not None:
            self.voxel_size_cm = positive(f"{path}: the attribute 'voxel_size_cm'", size_cm)
        self.centre_cm = stated_centre(path, file)
        self._has_times = self._probe_times()
        self.truth = tuple(name for name in TRUTH if self._has_times or name != "truth_point")

    def read(self, entry: int) -> Voxels:
        """Read one event; ValueError if its rows make no sense."""
        point = self._table("point", POINT, entry)
        cluster = self._table("cluster", self._columns, entry)
        size_C = _integers("num_points", cluster["num_points"])
        if (size_C < 0).any() or size_C.sum() != len(point["x"]):
            raise ValueError(
                f"'cluster' counts {size_C.sum()} points in its {len(size_C)} clusters, "
                f"'point' has {len(point['x'])}"
            )
        position_V3 = np.stack([point[axis] for axis in "xyz"], axis=-1)
        if not np.isfinite(position_V3).all():
            raise ValueError(f"'point' has a coordinate that is not finite in row {_first_bad(position_V3)}")
        if (np.abs(position_V3) > LARGEST_INDEX).any():
            raise ValueError("'point' has a coordinate outside of any image")
        coord_V3 = np.floor(position_V3).astype(np.int64)
        return Voxels(
            coord=coord_V3,
            energy=point["value"],
            num_voxels=(SIDE, SIDE, SIDE),
            truth=self._truth(entry, cluster, size_C, coord_V3, point["time"]),
        )

    def _truth(
        self,
        entry: int,
        cluster: dict[str, FloatArray],
        size_C: IntArray,
        coord_V3: IntArray,
        time_V: FloatArray,
    ) -> dict[str, Columns]:
        label_C = {name: _integers(name, cluster[name]) for name in self._columns[1:]}
        semantic_C = label_C["semantic"]
        low_C = semantic_C == Semantic.LOW_ENERGY
        fragment_C = np.where((label_C["fragment"] < 0) | low_C, NONE, np.arange(len(size_C)))
        group_C = np.where(low_C, NONE, label_C["group"])
        group, first, particle_C = _renumber(group_C)
        interaction, _, interaction_C = _renumber(np.where(low_C, NONE, label_C["interaction"]))
        of_V = np.repeat(np.arange(len(size_C)), size_C)
        particle: Columns = {"track_id": group, "interaction": interaction_C[first]}
        vertex = np.full((len(interaction), 3), np.nan)
        fragment: Columns = {"semantic": semantic_C}
        if "pid" in label_C:
            pid = label_C["pid"][first]
            particle["species"] = np.where((pid >= 0) & (pid < len(Species)), pid, NONE)
        if "cluster_extra" in self._data:
            extra = self._table("cluster_extra", CLUSTER_EXTRA, entry)
            if len(extra["momentum"]) != len(size_C):
                raise ValueError(
                    f"'cluster_extra' has {len(extra['momentum'])} clusters, 'cluster' has {len(size_C)}"
                )
            _, row = np.unique(interaction_C, return_index=True)
            row = row[interaction_C[row] != NONE]
            vertex = np.stack([extra[f"vertex_{axis}"][row] for axis in "xyz"], axis=-1)
            vertex[(vertex == NONE).all(axis=-1)] = np.nan
        if self._has_times:
            particle_V = particle_C[of_V]
            particle["start_point"], particle["end_point"], _ = _ends(
                particle_V, len(group), coord_V3, time_V
            )
            start, _, first_time = _ends(fragment_C[of_V], len(size_C), coord_V3, time_V)
            fragment["start_point"] = start
            earliest = np.full(len(group) + 1, np.inf)
            np.fmin.at(earliest, particle_C, first_time)
            known_C = np.isfinite(first_time) & (particle_C != NONE)
            fragment["is_primary"] = np.where(known_C, first_time == earliest[particle_C], NONE)
        return {
            "truth_voxel": {
                "semantic": semantic_C[of_V],
                "fragment": fragment_C[of_V],
                "particle": particle_C[of_V],
                "interaction": interaction_C[of_V],
            },
            "truth_fragment": fragment,
            "truth_particle": particle,
            "truth_interaction": {"vertex": vertex},
        }

    def _identities(self, path: Path, file: Any, held: tuple[str, ...]) -> IntArray:
        num_events = len(self._data["point"])
        if "identity" not in held:
            return numbered(np.arange(num_events))
        data = dataset(path, file, "identity", ndim=2)
        if data.shape != (num_events, 3):
            raise ValueError(
                f"{path}: 'identity' has the shape {data.shape}; it must be ({num_events}, 3), run, subrun and event "
                "number of each event of 'point'"
            )
        return integers(f"{path}: 'identity'", read(path, data, 0, num_events))

    def _table(self, name: str, columns: tuple[str, ...], entry: int) -> dict[str, FloatArray]:
        """Read the row of an event as columns of equal length."""
        row: NDArray[Any] = np.asarray(self._row(name, entry), np.float64)
        if len(row) % len(columns):
            raise ValueError(f"'{name}' has {len(row)} numbers, not a multiple of {len(columns)}")
        return dict(zip(columns, row.reshape(-1, len(columns)).T, strict=True))

    def _row(self, name: str, entry: int) -> NDArray[Any]:
        with readable(self.path, name):
            row: NDArray[Any] = self._data[name][entry]
        return row

    def _revision(self) -> tuple[str, ...]:
        """Tell the columns of `cluster` by the first events: their points must add up."""
        named = CLUSTER_2 if "cluster_extra" in self._data else CLUSTER
        for entry in range(min(self.num_events, NUM_PROBED)):
            try:
                num_points = len(self._row("point", entry)) / len(POINT)
                row = self._row("cluster", entry)
            except ValueError:
                continue  # the event will be set aside
            fits = [
                columns
                for columns in (CLUSTER, CLUSTER_2)
                if not len(row) % len(columns) and row[:: len(columns)].sum() == num_points
            ]
            if len(row) and len(fits) == 1:
                return fits[0]
        return named

    def _probe_times(self) -> bool:
        """Tell whether the times of the voxels differ within a cluster of the first events."""
        for entry in range(min(self.num_events, NUM_PROBED)):
            try:
                time_V = self._table("point", POINT, entry)["time"]
                size_C = _integers("num_points", self._table("cluster", self._columns, entry)["num_points"])
            except ValueError:
                continue
            if (size_C < 0).any() or size_C.sum() != len(time_V):
                continue
            same_V = np.diff(np.repeat(np.arange(len(size_C)), size_C)) == 0
            same_V[: max(size_C[:1].sum() - 1, 0)] = False  # the first are the low-energy deposits
            if (np.diff(time_V)[same_V] != 0).any():
                return True
        return False


def recognises(path: Path) -> bool:
    """Tell whether the file has PILArNet-M's points and clusters."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        held = names(path, file)
        if "point" not in held:
            return False
        point = node(path, file, "point")
        return isinstance(point, h5py.Dataset) and (
            "cluster" in held or h5py.check_vlen_dtype(point.dtype) is not None
        )


def _integers(name: str, value_C: FloatArray) -> IntArray:
    bad_C = ~(np.abs(value_C) <= LARGEST_INDEX) | (value_C != np.rint(value_C))
    if bad_C.any():
        raise ValueError(f"the {name} of a cluster is {value_C[bad_C][0]}, not a 32-bit integer")
    return value_C.astype(np.int64)


def _first_bad(value_V3: FloatArray) -> int:
    return int(np.argmin(np.isfinite(value_V3).all(axis=-1)))


def _renumber(label_C: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the labels of 0 and above, a row of each, and the place of each row's label, NONE if below."""
    known = np.flatnonzero(label_C >= 0)
    label, first, inverse = np.unique(label_C[known], return_index=True, return_inverse=True)
    place_C = np.full(len(label_C), NONE, np.int64)
    place_C[known] = inverse
    return label, known[first], place_C


def _ends(
    key_V: IntArray, num: int, coord_V3: IntArray, time_V: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the centres of the first and last voxel of each key (num, 3), and its first time (num,).

    They are nan where a key has several voxels, but one time, or none at all.
    """
    used = np.flatnonzero((key_V != NONE) & np.isfinite(time_V))
    order = used[np.lexsort((time_V[used], key_V[used]))]
    key, first, count = np.unique(key_V[order], return_index=True, return_counts=True)
    early, late = order[first], order[first + count - 1]
    known = (time_V[early] < time_V[late]) | (count == 1)
    start, end, first_time = np.full((num, 3), np.nan), np.full((num, 3), np.nan), np.full(num, np.nan)
    start[key[known]] = coord_V3[early[known]] + 0.5
    end[key[known]] = coord_V3[late[known]] + 0.5
    first_time[key] = time_V[early]
    return start, end, first_time
