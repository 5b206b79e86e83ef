"""PILArNet-M images (arXiv:2502.02558, arXiv:2512.01324): voxels with labels, in HDF5 or Parquet.

One row of numbers per event in each table; `pilarnet_layout` knows the revisions and the files. Shape suffixes:
V voxels, C clusters, P particles.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.event import TRUTH, Columns
from lartpc.ingest.formats.hdf5 import is_hdf5, names, node, open_hdf5
from lartpc.ingest.formats.pilarnet_layout import (
    DIRECTION,
    NUM_PROBED,
    Hdf5Rows,
    ParquetRows,
    Rows,
    find_layout,
    is_parquet,
    parquet_columns,
)
from lartpc.ingest.source import LARGEST_INDEX, Voxels, VoxelSource
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.vocab import NONE, Semantic, Species

SIDE = 768
"""Voxels per side of the image."""

MEV_PER_GEV = 1000.0
UNIT = "GeV/c"
"""Unit of momenta; masses are in MeV."""

WRITER = "lartpc"
"""Files of ours that do not state the unit of their momenta are of versions that wrote MeV/c, and no masses."""


class PilarnetReader(VoxelSource):
    """Reader of PILArNet-M; see `source.VoxelSource`.

    Points are found from the times of the voxels, where these differ. Files of `lartpc export` also hold
    voxel size, centre and event numbers.
    """

    def __init__(self, path: Path) -> None:
        rows: Rows = ParquetRows(path) if is_parquet(path) else Hdf5Rows(path, open_hdf5(path))
        super().__init__(path, rows.file, rows.identities())
        self._rows = rows
        layout = find_layout(rows)
        self.revision, self._columns = layout.name, layout.columns
        self._has_momenta = not rows.writer.startswith(WRITER) or rows.momentum_unit == UNIT
        if rows.momentum_unit not in ("", UNIT):
            raise ValueError(f"{path}: its 'momentum_unit' is '{rows.momentum_unit}'; it must be {UNIT}")
        self.voxel_size_cm, self.centre_cm = rows.voxel_size_cm, rows.centre_cm
        self._has_times = self._probe_times()
        self.truth = tuple(name for name in TRUTH if self._has_times or name != "truth_point")

    def read(self, entry: int) -> Voxels:
        """Read one event; ValueError if its rows make no sense."""
        point, cluster = self._table("point", entry), self._table("cluster", entry)
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
        label_C = {name: _integers(name, cluster[name]) for name in self._columns["cluster"][1:]}
        semantic_C = label_C["semantic"]
        low_C = semantic_C == Semantic.LOW_ENERGY
        fragment_C = np.where((label_C["fragment"] < 0) | low_C, NONE, np.arange(len(size_C)))
        group_C = np.where(low_C, NONE, label_C["group"])
        group, lead, particle_C = _renumber(group_C, _rank(label_C["fragment"], group_C, size_C))
        interaction, _, interaction_C = _renumber(np.where(low_C, NONE, label_C["interaction"]))
        of_V = np.repeat(np.arange(len(size_C)), size_C)
        particle: Columns = {"track_id": group, "interaction": interaction_C[lead]}
        fragment: Columns = {"semantic": semantic_C}
        if "pid" in label_C:
            pid = label_C["pid"][lead]
            particle["species"] = np.where((pid >= 0) & (pid < len(Species)), pid, NONE)
        more = self._more(entry, len(size_C))
        particle |= self._kinematics(more, lead)
        vertex = self._vertices(entry, more, interaction, interaction_C)
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

    def _more(self, entry: int, num_clusters: int) -> dict[str, FloatArray]:
        """Read what the tables beside `cluster` say of the clusters."""
        more: dict[str, FloatArray] = {}
        for name in ("cluster_extra", "cluster_extra_2"):
            if name in self._columns:
                table = self._table(name, entry)
                if (num := len(next(iter(table.values())))) != num_clusters:
                    raise ValueError(f"'{name}' has {num} clusters, 'cluster' has {num_clusters}")
                more |= table
        return more

    def _kinematics(self, more: dict[str, FloatArray], lead_P: IntArray) -> Columns:
        """Return what is known of the particles at creation, from the cluster that leads each."""
        known: Columns = {}
        if "is_primary" in more:
            is_primary = more["is_primary"][lead_P]
            if not np.isin(is_primary, (NONE, 0, 1)).all():
                wrong = is_primary[~np.isin(is_primary, (NONE, 0, 1))][0]
                raise ValueError(f"is_primary of a cluster is {wrong:g}; it must be 0, 1 or -1")
            known["is_primary"] = is_primary.astype(np.int64)
        if "momentum" not in more or not self._has_momenta:
            return known
        mass_mev, total_mev = more["mass"][lead_P], MEV_PER_GEV * more["momentum"][lead_P]
        is_known = (mass_mev >= 0) & (total_mev >= 0) & np.isfinite(mass_mev) & np.isfinite(total_mev)
        energy_mev = np.hypot(mass_mev, total_mev) - mass_mev
        known["energy_init"] = np.where(is_known, energy_mev, np.nan)
        if set(DIRECTION) <= set(more):
            momentum_P3 = np.stack([more[name][lead_P] for name in DIRECTION], axis=-1)
            is_stated = np.isfinite(momentum_P3).all(axis=-1) & (momentum_P3 != NONE).any(axis=-1)
            known["momentum"] = np.where(is_stated[:, None], MEV_PER_GEV * momentum_P3, np.nan)
        return known

    def _vertices(
        self, entry: int, more: dict[str, FloatArray], interaction: IntArray, interaction_C: IntArray
    ) -> FloatArray:
        """Return the vertices of the interactions (I, 3): of their own table, else of the first cluster of each."""
        vertex = np.full((len(interaction), 3), np.nan)
        axes = [f"vertex_{axis}" for axis in "xyz"]
        if "interaction_extra" in self._columns:
            table = self._table("interaction_extra", entry)
            label = _integers("interaction", table["interaction"])
            stated, row = np.unique(label, return_index=True)
            if len(stated) != len(label):
                raise ValueError("'interaction_extra' has an interaction twice")
            known, place, row_of = np.intersect1d(interaction, stated, return_indices=True)
            if len(known):
                vertex[place] = np.stack([table[axis][row[row_of]] for axis in axes], axis=-1)
        elif "vertex_x" in more:
            _, row = np.unique(interaction_C, return_index=True)
            row = row[interaction_C[row] != NONE]
            vertex = np.stack([more[axis][row] for axis in axes], axis=-1)
        vertex[(vertex == NONE).all(axis=-1)] = np.nan
        return vertex

    def _table(self, name: str, entry: int) -> dict[str, FloatArray]:
        """Read the row of an event as columns of equal length."""
        row: NDArray[Any] = np.asarray(self._rows.row(name, entry), np.float64)
        columns = self._columns[name]
        if len(row) % len(columns):
            raise ValueError(f"'{name}' has {len(row)} numbers, not a multiple of {len(columns)}")
        return dict(zip(columns, row.reshape(-1, len(columns)).T, strict=True))

    def _probe_times(self) -> bool:
        """Tell whether the times of the voxels differ within a cluster of the first events."""
        for entry in range(min(self.num_events, NUM_PROBED)):
            try:
                time_V = self._table("point", entry)["time"]
                size_C = _integers("num_points", self._table("cluster", entry)["num_points"])
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
    if is_parquet(path):
        return {"point", "cluster"} <= set(parquet_columns(path))
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


def _rank(fragment_C: IntArray, group_C: IntArray, size_C: IntArray) -> IntArray:
    """Return the order in which clusters lead their group: the one whose number is the group's, then the largest."""
    order = np.lexsort((-size_C, fragment_C != group_C))
    rank_C = np.empty(len(order), np.int64)
    rank_C[order] = np.arange(len(order))
    return rank_C


def _renumber(label_C: IntArray, rank_C: IntArray | None = None) -> tuple[IntArray, IntArray, IntArray]:
    """Return the labels of 0 and above, a row of each, and the place of each row's label, NONE if below.

    The row is the first in the order of `rank_C`.
    """
    known = np.flatnonzero(label_C >= 0)
    if rank_C is not None:
        known = known[np.argsort(rank_C[known])]
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
