"""LArCV 3 files, HDF5: images of planes, `/Data/<kind>_<producer>_group`, sparse, as clusters of pixels, or dense.

The layout is that of voxels in 3D (see `larcv3`), with an image for each plane, and frames of two axes: the first goes
across the wires (columns of an image), the second along the drift (rows), and runs fastest in the number of a pixel.
What brought each pixel may stand beside them, as in the files of SBND's CosmicTagger: `sparse2d_<...>cosmicseg`.
Shape suffixes: E events, U pixels.
"""

from pathlib import Path

import numpy as np

from lartpc.event import Columns, empty
from lartpc.ingest.formats.frames import probe
from lartpc.ingest.formats.hdf5 import names, node, open_hdf5
from lartpc.ingest.formats.larcv import CLASSES, cm_per_unit, preferred, split_names
from lartpc.ingest.formats.larcv3 import Product, identities, products_in
from lartpc.ingest.keys import rows_of
from lartpc.ingest.source import PlaneSource, Voxels
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.neutrinos.record import NEUTRINOS
from lartpc.vocab import GHOST, NONE, Origin

SAME = 1e-6
"""Largest relative difference between sizes of pixels that are the same."""

KINDS = ("sparse2d", "cluster2d", "image2d")
"""Kinds of images in the order in which they are taken."""

ORIGINS = "cosmicseg"
"""Ending of the producer of an image (`sparse2d`) of origins: 0 background, 1 cosmic, 2 neutrino, as `vocab.Origin`."""

MEV_PER_GEV = 1e3


class Larcv3ImageReader(PlaneSource):
    """Reader of images of LArCV 3; see `source.PlaneSource`. Reads the pixels of one event at a time."""

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        kind, producer = _chosen(names(path, node(path, file, "Data")))
        found = split_names(names(path, node(path, file, "Data")), "_group")
        origins = preferred([name for name in found["sparse2d"] if name.endswith(ORIGINS)])
        self.selection = f"{kind}_{producer}" + (f", sparse2d_{origins}" if origins else "")
        super().__init__(path, file, identities(path, file))
        self._images = Product(path, file, kind, producer, num_events=self.num_events)
        self._origins: Product | None = None
        self._neutrinos: Product | None = None
        if origins:
            self.truth = ("truth_voxel", "truth_interaction", "truth_neutrino")
            self._origins = Product(path, file, "sparse2d", origins, num_events=self.num_events)
            if particles := preferred(found["particle"]):
                self._neutrinos = Product(path, file, "particle", particles, num_events=self.num_events)
        self._projections: tuple[int, ...] = ()
        self._unit_cm = 1.0
        frame = probe(self.num_events, self._frame)
        if frame is not None:
            self._projections, (across, along) = frame
            self._unit_cm = cm_per_unit(min(across, along))
            self.num_planes = len(self._projections)
            self.pixel_cm = (along * self._unit_cm, across * self._unit_cm)

    def _frame(self, entry: int) -> tuple[tuple[int, ...], tuple[float, float]] | None:
        """Return the projections of an event's images, and the size of their pixels across and along."""
        images = self._images.images(entry)
        if not images:
            return None
        across, along = self._images.grid(images[0]).pitch.tolist()
        if not (0 < across < np.inf and 0 < along < np.inf):
            return None
        return tuple(self._images.projection(image) for image in images), (across, along)

    def read(self, entry: int) -> list[Voxels]:
        """Read one event; ValueError if its rows make no sense."""
        images = self._images.images(entry)
        projections = tuple(self._images.projection(image) for image in images)
        if projections != self._projections:
            raise ValueError(
                f"images of the projections {list(projections)}, and {list(self._projections)} in most events"
            )
        if self._origins is None:
            return [self._image(image) for image in images]
        labels = self._origins.images(entry)
        if tuple(self._origins.projection(image) for image in labels) != projections:
            raise ValueError(f"origins of the projections of {len(labels)} images beside {projections}")
        neutrino = self._neutrino(entry)
        return [
            self._image(image, self._origins.pixels(label), neutrino)
            for image, label in zip(images, labels, strict=True)
        ]

    def _neutrino(self, entry: int) -> Columns:
        """Return `truth_neutrino` of an event: the one that its origins speak of, and what its particles say of it."""
        found = empty("truth_neutrino", 1) | {"interaction": np.zeros(1, np.int64)}
        if self._neutrinos is None:
            return found
        rows = self._neutrinos.particles(entry)
        kept = np.flatnonzero(np.isin(np.abs(rows["pdg"]), NEUTRINOS))[:1]
        if not len(kept):
            return found
        momentum = np.stack([rows[name][kept] for name in ("px", "py", "pz")], axis=-1) * MEV_PER_GEV
        return found | {
            "pdg": rows["pdg"][kept],
            "momentum": momentum,
            "energy": np.linalg.norm(momentum, axis=-1),
            "vertex": rows["vtx"][kept, :3],
        }

    def _image(
        self, image: int, origin: tuple[IntArray, FloatArray] | None = None, neutrino: Columns | None = None
    ) -> Voxels:
        grid = self._images.grid(image)
        size_cm = grid.pitch[::-1] * self._unit_cm
        if not (np.abs(size_cm - self.pixel_cm) <= SAME * np.asarray(self.pixel_cm)).all():
            raise ValueError(
                f"pixels of {size_cm.tolist()} cm, and of {list(self.pixel_cm)} cm in most events"
            )
        index_U2, value_U = self._images.pixels(image)
        index_U2, value_U = index_U2[value_U != 0], value_U[value_U != 0]
        num_across, num_along = grid.num.tolist()
        return Voxels(
            np.concatenate([index_U2[:, ::-1], np.zeros((len(index_U2), 1), np.int64)], axis=1),
            value_U,
            num_voxels=(num_along, num_across, 1),
            truth={}
            if origin is None or neutrino is None
            else {"truth_voxel": _labels(index_U2, *origin), "truth_neutrino": neutrino},
        )


def _labels(index_U2: IntArray, at_L2: IntArray, value_L: FloatArray) -> Columns:
    """Return class and interaction of pixels from the origins at others: 0 is the neutrino, 1 all that is cosmic.

    Background has the class of ghosts; pixels that have no origin there, and classes of the others, are not known.
    """
    if wrong := set(np.unique(value_L)) - set(map(float, Origin)):
        raise ValueError(f"the origin {wrong.pop():g} is none of {', '.join(f'{kind:d}' for kind in Origin)}")
    side = 1 + max(int(index_U2.max(initial=0)), int(at_L2.max(initial=0)))
    known_L = at_L2[:, 0] * side + at_L2[:, 1]
    order = np.argsort(known_L, kind="stable")
    row_U = rows_of(index_U2[:, 0] * side + index_U2[:, 1], known_L[order])
    origin_U = np.append(value_L[order].astype(np.int64), NONE)[row_U]
    interaction = np.select([origin_U == Origin.NEUTRINO, origin_U == Origin.COSMIC], [0, 1], NONE)
    return {"semantic": np.where(origin_U == Origin.BACKGROUND, GHOST, NONE), "interaction": interaction}


def _chosen(products: tuple[str, ...]) -> tuple[str, str]:
    """Return kind and producer of the images that are read, those of labels never; "" where there are none."""
    found = split_names(products, "_group")
    for kind in KINDS:
        if images := [name for name in found[kind] if not name.endswith((CLASSES, ORIGINS))]:
            return kind, preferred(images)
    return "", ""


def recognises(path: Path) -> bool:
    """Tell whether the file is LArCV 3 with images of planes."""
    return bool(_chosen(products_in(path))[0])
