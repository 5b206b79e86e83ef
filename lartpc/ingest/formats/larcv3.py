"""LArCV 3 files, HDF5: voxels with clusters and particles, `/Data/<kind>_<producer>_group`.

The layout is that of larcv 3.5.1 (src/larcv3/core/dataformat). An entry of a product has rows in
`extents`, these have rows (projections, here volumes) in `voxel_extents` or `projection_extents`, and so
on down to `voxels`. Shape suffixes: E events, V voxels, C clusters, P particles.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lartpc.ingest.formats.frames import frames_of
from lartpc.ingest.formats.hdf5 import (
    dataset,
    is_hdf5,
    is_number,
    names,
    node,
    open_hdf5,
    read,
    tile,
)
from lartpc.ingest.formats.larcv import (
    Grid,
    Tensor,
    assemble,
    choose,
    cm_per_unit,
    split_names,
)
from lartpc.ingest.source import Voxels, VoxelSource
from lartpc.ingest.steps import FARTHEST_CM, FloatArray, IntArray, integers
from lartpc.vocab import NONE

POSITIONS = ("vtx", "end_pt", "first_step", "last_step", "parent_vtx", "ancestor_vtx")
PLAIN = (
    "shape",
    "trackid",
    "pdg",
    "px",
    "py",
    "pz",
    "process",
    "parent_trackid",
    "parent_pdg",
    "ancestor_trackid",
)


NUMBERS = {
    *PLAIN,
    "first",
    "N",
    "id",
    "projection_id",
    "value",
    "image_sizes",
    "number_of_voxels",
    "origin",
} - {"process"}
"""Fields that must be real numbers."""

FARTHEST_MM = 10 * FARTHEST_CM
"""No image begins farther away, whatever the unit of the file."""


class Larcv3Reader(VoxelSource):
    """Reader of LArCV 3; see `source.VoxelSource`. Reads the rows of one event at a time."""

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        found = split_names(names(path, node(path, file, "Data")), "_group")
        chosen = choose(found["sparse3d"], found["cluster3d"], found["particle"])
        assert chosen is not None, "no voxels: not recognised"
        self.selection = str(chosen)
        self.truth = chosen.truth
        super().__init__(path, file, identities(path, file))
        self._image = self._product("sparse3d", chosen.image)
        self._classes = self._product("sparse3d", chosen.classes)
        self._clusters = self._product("cluster3d", chosen.clusters)
        self._particles = self._product("particle", chosen.particles)
        base = self._image or self._clusters
        assert base is not None, "neither image nor clusters"
        self._base = base
        self.unit_cm = 1.0
        pitch_N3, corners_N23 = base.frames()
        size = frames_of(path, pitch_N3, corners_N23).size
        if size is not None:
            self.unit_cm = cm_per_unit(size)
        self._frames = frames_of(path, pitch_N3 * self.unit_cm, corners_N23 * self.unit_cm)
        self.voxel_size_cm, self.centre_cm = self._frames

    def read(self, entry: int) -> Voxels:
        """Read one event; ValueError if its rows make no sense."""
        grid = self._base.first_grid(entry)
        if grid is None:
            return Voxels(np.zeros((0, 3), np.int64), np.zeros(0), num_voxels=(1, 1, 1))
        found = assemble(
            grid,
            self.unit_cm,
            image=self._image.tensor(entry, grid) if self._image else None,
            classes=self._classes.tensor(entry, grid) if self._classes else None,
            clusters=self._clusters.tensor(entry, grid) if self._clusters else None,
            particles=self._particles.particles(entry) if self._particles else None,
        )
        if len(found):
            self._frames.check(grid.pitch * self.unit_cm)
        return found

    def _product(self, kind: str, producer: str) -> "Product | None":
        return (
            Product(self.path, self._file, kind, producer, num_events=self.num_events) if producer else None
        )


class Product:
    """One product of a file, of images in 3D or in 2D. Rows are found by `first` and `N` of the table above."""

    def __init__(self, path: Path, file: Any, kind: str, producer: str, *, num_events: int) -> None:
        self.name = f"Data/{kind}_{producer}_group"
        self._path = path
        self._file = file
        self._extents = self._index("extents")
        if len(self._extents) != num_events:
            raise ValueError(
                f"{path}: '{self.name}' has {len(self._extents)} events, 'Events/event_id' has {num_events}"
            )
        if kind == "particle":
            self._rows = self._table("particles", (*PLAIN, *POSITIONS))
            self._tile("extents", self._extents, "particles", len(self._rows))
            return
        self._clustered, self._dense = kind.startswith("cluster"), kind.startswith("image")
        images = {"cluster": "projection_extents", "image": "image_extents"}.get(kind[:-2], "voxel_extents")
        self._projections = self._index(images)
        self._meta = self._frames(2 if kind.endswith("2d") else 3)
        rows = "images" if self._dense else "voxels"
        self._rows = self._numbers(rows) if self._dense else self._table(rows, ("id", "value"))
        self._tile("extents", self._extents, images, len(self._projections))
        if len(self._meta) != len(self._projections):
            raise ValueError(
                f"{path}: '{self.name}/image_meta' has {len(self._meta)} rows, '{images}' {len(self._projections)}"
            )
        last, name = self._projections, images
        if self._clustered:
            self._clusters = self._index("cluster_extents")
            self._tile(images, last, "cluster_extents", len(self._clusters))
            last, name = self._clusters, "cluster_extents"
        self._tile(name, last, rows, len(self._rows))

    @property
    def num_images(self) -> int:
        """Number of images of all entries."""
        return len(self._meta)

    def grid(self, image: int) -> Grid:
        """Return the grid of an image, of as many axes as it has; ValueError if it is none."""
        if image >= self.num_images:
            raise ValueError(
                f"'{self.name}/image_meta' has {self.num_images} rows, row {image} is referred to"
            )
        meta = self._meta[image]
        num = meta["number_of_voxels"].astype(np.int64)
        if not (num > 0).all():
            raise ValueError(f"{self._path}: '{self.name}': image {image} has a side of no voxels")
        origin = meta["origin"].astype(np.float64)
        if not (np.abs(origin) <= FARTHEST_MM).all():
            raise ValueError(
                f"{self._path}: '{self.name}': image {image} has its corner at {origin.tolist()}"
            )
        return Grid(origin, meta["image_sizes"] / num, num)

    def first_grid(self, entry: int) -> Grid | None:
        """Return the grid of an entry's first image, None where it has no images."""
        first, count = self._range(self._extents[entry])
        return self.grid(first) if count else None

    def frames(self) -> tuple[FloatArray, FloatArray]:
        """Return the sides of the voxels (N, 3), and the corners (N, 2, 3), of the images that have voxels."""
        meta = self._meta[(self._meta["number_of_voxels"] > 0).all(axis=-1)]
        low, sides = meta["origin"].astype(np.float64), meta["image_sizes"].astype(np.float64)
        return sides / meta["number_of_voxels"], np.stack([low, low + sides], axis=1)

    def tensor(self, entry: int, grid: Grid) -> Tensor:
        """Return the voxels of an entry, all of its volumes on the given grid."""
        coords, values, numbers = [np.zeros((0, 3), np.int64)], [np.zeros(0)], [np.zeros(0, np.int64)]
        num_clusters = 0
        for image in self.images(entry):
            size_C = self._cluster_sizes(image)
            coord, value = self.pixels(image)
            coords.append(coord + self._shift(image, grid))
            values.append(value)
            numbers.append(
                np.repeat(num_clusters + np.arange(len(size_C)), size_C)
                if self._clustered
                else np.full(len(value), NONE, np.int64)
            )
            num_clusters += len(size_C)
        return Tensor(np.concatenate(coords), np.concatenate(values), np.concatenate(numbers), num_clusters)

    def images(self, entry: int) -> range:
        """Return the rows of an entry's images."""
        first, count = self._range(self._extents[entry])
        return range(first, first + count)

    def projection(self, image: int) -> int:
        """Return what the file numbers the projection of an image with."""
        return int(self._meta[image]["projection_id"])

    def pixels(self, image: int) -> tuple[IntArray, FloatArray]:
        """Return the indices (V, D) of the voxels or pixels of an image, and their values (V,)."""
        start, num = self._range(self._projections[image])
        num_D = self.grid(image).num
        if self._dense:
            if num != num_D.prod():
                raise ValueError(f"'{self.name}': image {image} of {num_D.tolist()} pixels has {num}")
            value = read(self._path, self._rows, start, start + num).astype(np.float64)
            return np.argwhere(value.reshape(num_D)).astype(np.int64), value[value != 0]
        if self._clustered:
            clusters = self._clusters[start : start + num]
            size_C = clusters[:, 1]
            used = np.flatnonzero(size_C)
            start, num = (int(clusters[used[0], 0]) if len(used) else 0), int(size_C.sum())
            if (clusters[used, 0] != start + (np.cumsum(size_C) - size_C)[used]).any():
                raise ValueError(f"'{self.name}': the clusters of image {image} are not together")
        voxels = read(self._path, self._rows, start, start + num)
        id_V = integers("id", voxels["id"])
        if len(id_V) and not 0 <= id_V.min() <= id_V.max() < num_D.prod():
            raise ValueError(f"'{self.name}': voxel {id_V.max()} of {num_D.prod()}")
        index = np.unravel_index(id_V, tuple(num_D.tolist()))
        return np.stack(index, axis=-1).astype(np.int64), voxels["value"].astype(np.float64)

    def _cluster_sizes(self, image: int) -> IntArray:
        """Return the number of voxels of each cluster of an image; none of an image without clusters."""
        start, num = self._range(self._projections[image]) if self._clustered else (0, 0)
        sizes: IntArray = self._clusters[start : start + num, 1] if num else np.zeros(0, np.int64)
        return sizes

    def particles(self, entry: int) -> dict[str, Any]:
        """Return the particles of an entry, positions as (P, 4)."""
        first, count = self._range(self._extents[entry])
        rows = read(self._path, self._rows, first, first + count)
        return {name: rows[name] for name in PLAIN} | {
            name: np.stack([rows[name][axis] for axis in "xyzt"], axis=-1) for name in POSITIONS
        }

    def _shift(self, image: int, grid: Grid) -> IntArray:
        """Return where an image begins on the given grid (3,)."""
        own = self.grid(image)
        if not (np.abs(own.pitch - grid.pitch) <= 1e-6 * grid.pitch).all():
            raise ValueError(f"'{self.name}': voxels of {own.pitch} beside voxels of {grid.pitch}")
        shift_3: IntArray = np.rint(grid.to_voxel(own.origin)).astype(np.int64)
        return shift_3

    def _frames(self, dimension: int) -> Any:
        """Return the frame of each image; ValueError unless it has so many axes."""
        meta = self._whole("image_meta", ("image_sizes", "number_of_voxels", "origin"))
        for name in ("image_sizes", "number_of_voxels", "origin"):
            if meta.dtype[name].shape != (dimension,):
                raise ValueError(
                    f"{self._path}: field '{name}' of '{self.name}/image_meta' has the shape {meta.dtype[name].shape}; "
                    f"it must have {dimension} axes"
                )
        return meta

    def _table(self, table: str, needed: tuple[str, ...]) -> Any:
        return _dataset(self._path, self._file, f"{self.name}/{table}", needed)

    def _numbers(self, name: str) -> Any:
        data = dataset(self._path, self._file, f"{self.name}/{name}")
        if not is_number(data.dtype):
            raise ValueError(f"{self._path}: '{self.name}/{name}' is {data.dtype}; it must be numbers")
        return data

    def _whole(self, table: str, needed: tuple[str, ...]) -> Any:
        """Return a table of one row per event or image, which memory holds."""
        data = self._table(table, needed)
        return read(self._path, data, 0, len(data))

    def _index(self, table: str) -> IntArray:
        """Return the first row and the number of rows of each element (N, 2)."""
        rows = self._whole(table, ("first", "N"))
        where = f"{self._path}: '{self.name}/{table}"
        return np.stack([integers(f"{where}.{name}'", rows[name]) for name in ("first", "N")], axis=-1)

    def _tile(self, table: str, index_N2: IntArray, of: str, num: int) -> None:
        tile(self._path, f"{self.name}/{table}", index_N2[:, 0], index_N2[:, 1], f"{self.name}/{of}", num)

    @staticmethod
    def _range(row: Any) -> tuple[int, int]:
        return int(row[0]), int(row[1])


def identities(path: Path, file: Any) -> IntArray:
    """Return run, subrun and number of each event (E, 3)."""
    table = _dataset(path, file, "Events/event_id", ("run", "subrun", "event"))
    ids = read(path, table, 0, len(table))
    found = [integers(f"{path}: 'Events/event_id.{name}'", ids[name]) for name in ("run", "subrun", "event")]
    return np.stack(found, axis=-1)


def recognises(path: Path) -> bool:
    """Tell whether the file is LArCV 3 with voxels in 3D."""
    found = split_names(products_in(path), "_group")
    return bool(found["sparse3d"] or found["cluster3d"])


def products_in(path: Path) -> tuple[str, ...]:
    """Return the names of a file's products; none if it is not LArCV 3."""
    if not is_hdf5(path):
        return ()
    with open_hdf5(path) as file:
        if not {"Data", "Events"} <= set(names(path, file)):
            return ()
        data = node(path, file, "Data")
        return names(path, data) if isinstance(data, h5py.Group) else ()


def _dataset(path: Path, file: Any, name: str, needed: tuple[str, ...]) -> Any:
    data = dataset(path, file, name)
    held = data.dtype.names or ()
    if lacking := [field for field in needed if field not in held]:
        raise ValueError(
            f"{path}: dataset '{name}' has no field '{lacking[0]}'; it has {', '.join(held) or 'none'}"
        )
    for field in needed:
        if field in NUMBERS and not is_number(data.dtype[field].base):
            raise ValueError(
                f"{path}: field '{field}' of '{name}' is {data.dtype[field]}; it must be numbers"
            )
    return data
