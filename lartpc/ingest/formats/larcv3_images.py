"""LArCV 3 files, HDF5: images of planes, `/Data/<kind>_<producer>_group`, sparse, as clusters of pixels, or dense.

The layout is that of voxels in 3D (see `larcv3`), with an image for each plane, and frames of two axes: the first goes
across the wires (columns of an image), the second along the drift (rows), and runs fastest in the number of a pixel.
Shape suffixes: E events, U pixels.
"""

from pathlib import Path

import h5py
import numpy as np

from lartpc.ingest.formats.hdf5 import is_hdf5, names, node, open_hdf5
from lartpc.ingest.formats.larcv import CLASSES, cm_per_unit, preferred, split_names
from lartpc.ingest.formats.larcv3 import Product, identities
from lartpc.ingest.source import PlaneSource, Voxels

SAME = 1e-6
"""Largest relative difference between sizes of pixels that are the same."""

KINDS = ("sparse2d", "cluster2d", "image2d")
"""Kinds of images in the order in which they are taken."""


class Larcv3ImageReader(PlaneSource):
    """Reader of images of LArCV 3; see `source.PlaneSource`. Reads the pixels of one event at a time."""

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        kind, producer = _chosen(names(path, node(path, file, "Data")))
        self.selection = f"{kind}_{producer}"
        super().__init__(path, file, identities(path, file))
        self._images = Product(path, file, kind, producer, num_events=self.num_events)
        self._projections: list[int] = []
        self._unit_cm = 1.0
        for entry in range(self.num_events):
            if images := self._images.images(entry):
                across, along = self._images.grid(images[0]).pitch.tolist()
                self._unit_cm = cm_per_unit(min(across, along))
                self.num_planes = len(images)
                self.pixel_cm = (along * self._unit_cm, across * self._unit_cm)
                self._projections = [self._images.projection(image) for image in images]
                break

    def read(self, entry: int) -> list[Voxels]:
        """Read one event; ValueError if its rows make no sense."""
        images = self._images.images(entry)
        projections = [self._images.projection(image) for image in images]
        if projections != self._projections:
            raise ValueError(
                f"images of the projections {projections}, and {self._projections} in the first event that has any"
            )
        return [self._image(image) for image in images]

    def _image(self, image: int) -> Voxels:
        grid = self._images.grid(image)
        size_cm = grid.pitch[::-1] * self._unit_cm
        if not (np.abs(size_cm - self.pixel_cm) <= SAME * np.asarray(self.pixel_cm)).all():
            raise ValueError(
                f"pixels of {size_cm.tolist()} cm, and of {list(self.pixel_cm)} cm in the first event"
            )
        index_U2, value_U = self._images.pixels(image)
        index_U2, value_U = index_U2[value_U != 0], value_U[value_U != 0]
        num_across, num_along = grid.num.tolist()
        return Voxels(
            np.concatenate([index_U2[:, ::-1], np.zeros((len(index_U2), 1), np.int64)], axis=1),
            value_U,
            num_voxels=(num_along, num_across, 1),
        )


def _chosen(products: tuple[str, ...]) -> tuple[str, str]:
    """Return kind and producer of the images that are read, those of voxel classes never; "" where there are none."""
    found = split_names(products, "_group")
    for kind in KINDS:
        if images := [name for name in found[kind] if not name.endswith(CLASSES)]:
            return kind, preferred(images)
    return "", ""


def recognises(path: Path) -> bool:
    """Tell whether the file is LArCV 3 with images of planes."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        if not {"Data", "Events"} <= set(names(path, file)):
            return False
        data = node(path, file, "Data")
        return isinstance(data, h5py.Group) and bool(_chosen(names(path, data))[0])
