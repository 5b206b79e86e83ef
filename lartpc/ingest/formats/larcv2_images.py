"""LArCV 2 files, ROOT: dense images of planes, tree `image2d_<producer>_tree`.

The classes are those of larcv2 (larcv/core/DataFormat: EventImage2D.h, Image2D.h, ImageMeta.h). A pixel's place in
the list of an image is column × number of rows + row; columns go along x of the image's own frame, which in images of
wires is across the wires, rows along its y, the drift. Shape suffixes: I images of an event, U pixels that are not 0.
"""

from pathlib import Path

import numpy as np

from lartpc.ingest.formats.frames import probe
from lartpc.ingest.formats.larcv import cm_per_unit, preferred, split_names
from lartpc.ingest.formats.larcv2 import CM, Tree
from lartpc.ingest.formats.root import is_root, open_root, tree, trees
from lartpc.ingest.source import PlaneSource, Voxels
from lartpc.ingest.steps import FloatArray, IntArray

HEADER = 6
"""Bytes before the images of an entry: a byte count u4 and a version u2."""

SAME = 1e-6
"""Largest relative difference between sizes of pixels that are the same."""


class Larcv2ImageReader(PlaneSource):
    """Reader of images of LArCV 2; see `source.PlaneSource`. The images of one event are held in memory."""

    def __init__(self, path: Path) -> None:
        file = open_root(path)
        producer = preferred(split_names(sorted(trees(path, file)), "_tree")["image2d"])
        images = _Images(path, tree(path, file, f"image2d_{producer}_tree"))
        self.selection = f"image2d_{producer}"
        self._images = images
        super().__init__(path, file, images.identity_E3)
        frame = probe(self.num_events, self._frame)
        if frame is not None:
            self.num_planes, self.pixel_cm = frame

    def _frame(self, entry: int) -> tuple[int, tuple[float, float]] | None:
        """Return the number of images of an event, and the size of their pixels."""
        size_I2 = self._images.sizes(entry)
        return (len(size_I2), (float(size_I2[0, 0]), float(size_I2[0, 1]))) if len(size_I2) else None

    def read(self, entry: int) -> list[Voxels]:
        """Read one event; ValueError if its bytes make no sense."""
        size_I2 = self._images.sizes(entry)
        if len(size_I2) != self.num_planes:
            raise ValueError(f"{len(size_I2)} images, and {self.num_planes} in most events")
        if not (np.abs(size_I2 - self.pixel_cm) <= SAME * np.asarray(self.pixel_cm)).all():
            raise ValueError(
                f"pixels of {size_I2.tolist()} cm, and of {list(self.pixel_cm)} cm in most events"
            )
        return self._images.read(entry)


class _Images(Tree):
    """The tree of a producer's images."""

    def __init__(self, path: Path, tree: object) -> None:
        super().__init__(path, tree)
        self._img = self.branch("_image_v._img")
        self._meta = {
            name: self.branch(f"_image_v._meta._{name}")
            for name in ("p1.x", "p1.y", "p2.x", "p2.y", "col_count", "row_count", "unit")
        }

    def _sides(self, entry: int) -> IntArray:
        """Return the number of rows and of columns of each image (I, 2)."""
        side_I2: IntArray = np.stack(
            [self._meta[name].numbers(entry).astype(np.int64) for name in ("row_count", "col_count")], axis=-1
        )
        if not ((side_I2 > 0) & (side_I2 < 2**31)).all():
            raise ValueError(f"'{self.name}': images of {side_I2.tolist()} rows and columns")
        return side_I2

    def sizes(self, entry: int) -> FloatArray:
        """Return the size of the pixels of each image along rows and columns (I, 2) [cm]."""
        side_I2 = self._sides(entry)
        low, high = (
            np.stack([self._meta[f"{end}.{axis}"].numbers(entry) for axis in "yx"], axis=-1).astype(
                np.float64
            )
            for end in ("p1", "p2")
        )
        if not low.shape == high.shape == side_I2.shape:
            raise ValueError(f"'{self.name}': corners of {len(low)} images, sides of {len(side_I2)}")
        unit_I = self._meta["unit"].numbers(entry)
        size_I2: FloatArray = (high - low) / side_I2
        if not (np.isfinite(size_I2) & (size_I2 > 0)).all():
            raise ValueError(f"'{self.name}': pixels of the size {size_I2.tolist()}")
        scale = [cm_per_unit(float(size.min()), stated_cm=bool((unit_I == CM).all())) for size in size_I2]
        size_cm_I2: FloatArray = size_I2 * np.array(scale)[:, None]
        return size_cm_I2

    def read(self, entry: int) -> list[Voxels]:
        """Return the pixels of each image that are not 0, the third index 0."""
        data, position = self._img.entry(entry), HEADER
        found = []
        for num_rows, num_columns in self._sides(entry).tolist():
            num = num_rows * num_columns
            begin, position = position + 4, position + 4 + 4 * num
            if position > len(data) or int(data[begin - 4 : begin].view(">u4")[0]) != num:
                raise ValueError(f"'{self.name}': an image of {num_rows} x {num_columns} has other pixels")
            value = data[begin:position].view(">f4").astype(np.float64)
            at_U = np.flatnonzero(value)
            column_U, row_U = np.divmod(at_U, num_rows)
            found.append(
                Voxels(
                    np.stack([row_U, column_U, np.zeros_like(at_U)], axis=-1).astype(np.int64),
                    value[at_U],
                    num_voxels=(num_rows, num_columns, 1),
                )
            )
        if position != len(data) and not (not found and not len(data)):
            raise ValueError(f"'{self.name}': {len(data)} bytes, but the images in them take {position}")
        return found


def recognises(path: Path) -> bool:
    """Tell whether the file is LArCV 2 with images of planes."""
    if not is_root(path):
        return False
    with open_root(path) as file:
        return bool(split_names(sorted(trees(path, file)), "_tree")["image2d"])
