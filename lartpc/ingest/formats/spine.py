"""SPINE's HDF5 output (1.4, layouts 1 and 2): its images, with the truth particles on them.

Shape suffixes: V voxels, P particles, F fragments, N interactions.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.event import TRUTH, Columns
from lartpc.ingest.formats import spine_products
from lartpc.ingest.formats.frames import Frames, frames_of, probe
from lartpc.ingest.formats.hdf5 import open_hdf5
from lartpc.ingest.formats.neutrinos import FIELDS, of_rows
from lartpc.ingest.formats.spine_products import Rows, open_products
from lartpc.ingest.keys import rows_of
from lartpc.ingest.processes import process_of_codes, process_of_name
from lartpc.ingest.source import LARGEST_INDEX, Voxels, VoxelSource, numbered
from lartpc.ingest.steps import FARTHEST_CM, NO_PARENT, FloatArray, IntArray, integers
from lartpc.vocab import NONE, Semantic, Species

PIXELS = "px"
"""How objects say that their positions are in voxels, not in cm."""

recognises = spine_products.is_spine


class Image(NamedTuple):
    """An image in the file: its positions, its energies, and the objects' field of their rows in it."""

    points: str
    energy: str
    members: str


IMAGES = (
    Image("points", "depositions", "index_adapt"),
    Image("points_label", "depositions_label", "index"),
)
"""What the reconstruction saw, and the true image; the first that the true particles have voxels in counts."""

OBJECTS = ("truth_particles", "truth_fragments", "truth_interactions", "reco_particles")
NEUTRINO_PRODUCTS = ("neutrinos", "truth_interactions")
"""Products that have attributes of neutrinos, the first one that there is counts."""
PARTICLE = (
    *("id", "track_id", "parent_track_id", "pdg_code", "pid", "shape", "creation_process", "interaction_id"),
    *("is_primary", "ke", "momentum", "t", "first_step", "last_step", "start_point", "end_point"),
)
ENDS = {"start_point": ("first_step", "start_point"), "end_point": ("last_step", "end_point")}
"""Our name → fields of a position, the preferred one first; nan says that one is not set."""


class SpineReader(VoxelSource):
    """Reader of SPINE HDF5; see `source.VoxelSource`. Truth needs `truth_particles` with indexes."""

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        self._products = open_products(path, file)
        names = self._products.names()
        found = [image for image in IMAGES if {image.points, image.energy} <= set(names)]
        if not found or "meta" not in names:
            pairs = ", or ".join(f"'{image.points}' and '{image.energy}'" for image in IMAGES)
            raise ValueError(
                f"{path}: an image needs the products {pairs}, and 'meta'; the file has "
                f"{', '.join(sorted(names))}; add them to the keys that SPINE's writer stores"
            )
        self._image = next((image for image in found if self._has_members(image.members)), found[0])
        used = {
            *OBJECTS,
            self._image.points,
            self._image.energy,
            "meta",
            "run_info",
            "truth_fragments",
        } & set(names)
        for name in sorted(used):
            self._products.check(name)
        num_events = self._products.num_events
        super().__init__(path, file, numbered(np.arange(num_events)))
        if "run_info" in names:
            self._identity_E3 = self._run_info()
        self._common_units = probe(num_events, self._units)
        self._frames = self._common_frames()
        self.voxel_size_cm, self.centre_cm = self._frames
        if self._has_members(self._image.members):
            self.truth = tuple(name for name in TRUTH if name != "truth_point" or self._knows_ends())
            self._neutrinos = next(
                (name for name in NEUTRINO_PRODUCTS if "pdg_code" in self._products.fields(name)), ""
            )
            self.truth += ("truth_neutrino",) if self._neutrinos else ()

    def read(self, entry: int) -> Voxels:
        """Read one event; ValueError if its rows make no sense."""
        position = self._products.array(self._image.points, entry)
        energy = self._products.array(self._image.energy, entry).astype(np.float64)
        if position.ndim != 2 or position.shape[1] != 3 or energy.shape != (len(position),):
            raise ValueError(
                f"'{self._image.points}' has shape {position.shape}, '{self._image.energy}' {energy.shape}; "
                "they must be (N, 3) and (N,)"
            )
        if not (np.abs(position) <= LARGEST_INDEX).all():
            raise ValueError(
                f"'{self._image.points}' has a coordinate that is not finite, or outside of any image"
            )
        origin, pitch_cm, _ = self._meta(entry)
        self._frames.check(np.full(3, pitch_cm))
        in_cm = self._is_cm(entry)
        x, y, z = origin.tolist()
        return Voxels(
            coord=np.floor(_voxels(position, origin, pitch_cm, in_cm)).astype(np.int64),
            energy=energy,
            origin_cm=(x, y, z),
            truth=self._truth(entry, len(energy), origin, pitch_cm, in_cm) if self.truth else {},
        )

    def _truth(
        self, entry: int, num_voxels: int, origin: FloatArray, pitch_cm: float, in_cm: bool
    ) -> dict[str, Columns]:
        index = self._image.members
        rows = self._products.objects("truth_particles", entry, (*PARTICLE, index))
        number_N, vertex_N3 = self._interactions(entry, rows)
        shape_P = _classes(rows["shape"])
        particle_V = _spread(rows[index], num_voxels, "truth_particles", index)
        truth_voxel = {"particle": particle_V, "semantic": np.append(shape_P, NONE)[particle_V]}
        particle: Columns = {
            "semantic": shape_P,
            "interaction": rows_of(rows["interaction_id"].astype(np.int64), number_N),
        }
        for ours, theirs in (
            ("track_id", "track_id"),
            ("parent_track_id", "parent_track_id"),
            ("pdg", "pdg_code"),
            ("is_primary", "is_primary"),
            ("energy_init", "ke"),
            ("momentum", "momentum"),
            ("time", "t"),
        ):
            if theirs in rows:
                particle[ours] = rows[theirs]
        if {"track_id", "parent_track_id"} <= set(particle):
            alone = particle["parent_track_id"] == particle["track_id"]  # LArCV's way to say: no parent
            particle["parent_track_id"] = np.where(alone, NO_PARENT, particle["parent_track_id"])
        if "pid" in rows:
            pid = rows["pid"].astype(np.int64)
            particle["species"] = np.where((pid >= 0) & (pid < len(Species)), pid, NONE)
        if "creation_process" in rows:
            particle["process"] = np.array([_process(name) for name in rows["creation_process"]], np.int64)
        for ours, choices in ENDS.items():
            position = np.full((len(shape_P), 3), np.nan)
            for theirs in choices:
                if theirs in rows:
                    given = _voxels(rows[theirs].astype(np.float64), origin, pitch_cm, in_cm)
                    position = np.where(np.isnan(position), given, position)
            particle[ours] = position
        truth: dict[str, Columns] = {
            "truth_voxel": truth_voxel,
            "truth_particle": particle,
            "truth_interaction": {"vertex": _voxels(vertex_N3, origin, pitch_cm, in_cm)},
        }
        if self._neutrinos:
            neutrinos = self._products.objects(self._neutrinos, entry, FIELDS)
            position = neutrinos["position"].astype(np.float64).reshape(-1, 3)
            to_cm = 1.0 if in_cm else pitch_cm
            shift_3 = np.zeros(3) if in_cm else origin
            truth["truth_neutrino"] = of_rows(
                neutrinos, position * to_cm + shift_3, vertex_N3 * to_cm + shift_3
            )
        if index in self._products.fields("truth_fragments"):
            fragments = self._products.objects("truth_fragments", entry, ("shape", index))
            fragment_V = _spread(fragments[index], num_voxels, "truth_fragments", index)
            shape_F = _classes(fragments["shape"])
            truth_voxel["fragment"] = fragment_V
            truth_voxel["semantic"] = np.where(
                fragment_V == NONE, truth_voxel["semantic"], np.append(shape_F, NONE)[fragment_V]
            )
            truth["truth_fragment"] = {"semantic": shape_F}
        return truth

    def _interactions(self, entry: int, particles: Rows) -> tuple[IntArray, FloatArray]:
        """Return the numbers of the interactions, sorted, and their vertices (N, 3), nan where not known."""
        fields = self._products.fields("truth_interactions")
        if {"id", "vertex"} <= set(fields):
            rows = self._products.objects("truth_interactions", entry, ("id", "vertex"))
            number = rows["id"].astype(np.int64)
            order = np.argsort(number, kind="stable")
            return number[order], rows["vertex"].astype(np.float64)[order]
        number = np.unique(particles["interaction_id"]).astype(np.int64)
        number = number[number >= 0]
        return number, np.full((len(number), 3), np.nan)

    def _meta(self, entry: int) -> tuple[FloatArray, float, IntArray]:
        """Return lower corner (3,) [cm], voxel size [cm] and number of voxels (3,) of an event's image."""
        rows = self._products.objects("meta", entry, ("lower", "size", "count"))
        if missing := {"lower", "size", "count"} - set(rows):
            raise ValueError(f"{self.path}: product 'meta' has no field {', '.join(sorted(missing))}")
        if len(rows["size"]) != 1 or any(rows[name].shape != (1, 3) for name in rows):
            raise ValueError(f"'meta' of event {entry} has {len(rows['size'])} rows; it must have one")
        size = rows["size"][0].astype(np.float64)
        if not (np.abs(rows["lower"]) <= FARTHEST_CM).all():
            raise ValueError(
                f"'meta' of event {entry} has its lower corner at {rows['lower'][0].tolist()} cm"
            )
        if not (size > 0).all() or not np.isfinite(size).all() or np.ptp(size) > 5e-3 * size.mean():
            raise ValueError(
                f"{self.path}: 'meta' of event {entry} has voxels of "
                f"{' x '.join(f'{length:.6g}' for length in size)} cm; cubes are needed"
            )
        lower = np.asarray(rows["lower"][0], np.float64)
        return lower, float(size.mean()), np.asarray(rows["count"][0], np.int64)

    def _common_frames(self) -> Frames:
        """Return what most images have in common [cm], of those that are whole."""
        sizes, corners = [], []
        for entry in range(self.num_events):
            try:
                low, size_cm, count = self._meta(entry)
            except ValueError:
                continue  # the event will be set aside
            sizes.append(np.full(3, size_cm))
            corners.append(np.stack([low, low + size_cm * count]))
        return frames_of(self.path, np.array(sizes).reshape(-1, 3), np.array(corners).reshape(-1, 2, 3))

    def _is_cm(self, entry: int) -> bool:
        """Tell whether positions are in cm, SPINE's default, or in voxels: as objects say, of the event or of most."""
        units = self._units(entry)
        return (self._common_units if units is None else units) != PIXELS

    def _units(self, entry: int) -> str | None:
        """Return the unit of positions that the objects of an event state; None where there is none."""
        found = {
            _text(unit)
            for name in OBJECTS
            if "units" in self._products.fields(name)
            for unit in self._products.objects(name, entry, ("units",))["units"]
        }
        if len(found) > 1:
            raise ValueError(f"objects of event {entry} have positions in {' and in '.join(sorted(found))}")
        return found.pop() if found else None

    def _run_info(self) -> IntArray:
        rows = self._products.whole("run_info", ("run", "subrun", "event"))
        lengths = {name: len(rows.get(name, ())) for name in ("run", "subrun", "event")}
        if set(lengths.values()) != {self.num_events}:
            raise ValueError(
                f"{self.path}: 'run_info' must have run, subrun and event of each of the {self.num_events} "
                f"events, it has {lengths}"
            )
        return np.stack(
            [integers(f"{self.path}: 'run_info.{name}'", rows[name]) for name in lengths], axis=-1
        )

    def _knows_ends(self) -> bool:
        fields = [field for field in ENDS["start_point"] if field in self._products.fields("truth_particles")]

        def look(entry: int) -> bool | None:
            values = self._products.objects("truth_particles", entry, fields).values()
            return True if any(np.isfinite(value).any() for value in values) else None

        return probe(self.num_events, look) is not None

    def _has_members(self, field: str) -> bool:
        """Tell whether true particles have voxels by this field: SPINE leaves empty what it did not make."""
        if field not in self._products.fields("truth_particles"):
            return False

        def look(entry: int) -> bool | None:
            rows = self._products.objects("truth_particles", entry, (field,))
            return True if any(len(members) for members in rows[field]) else None

        return probe(self._products.num_events, look) is not None


def _voxels(position: NDArray[np.floating], origin: FloatArray, pitch_cm: float, in_cm: bool) -> FloatArray:
    """Turn positions (..., 3) into voxel units of the grid."""
    voxel: FloatArray = np.asarray(position, np.float64)
    return (voxel - origin) / pitch_cm if in_cm else voxel


def _spread(index_P: NDArray[np.object_], num_voxels: int, name: str, field: str) -> IntArray:
    """Return the object of each voxel (V,), NONE for none; the first of several counts."""
    owner_V = np.full(num_voxels, NONE, np.int64)
    if not len(index_P):
        return owner_V
    voxel = np.concatenate([np.asarray(index, np.int64) for index in index_P])
    owner = np.repeat(np.arange(len(index_P)), [len(index) for index in index_P])
    if len(voxel) and not 0 <= voxel.min() <= voxel.max() < num_voxels:
        raise ValueError(f"'{name}.{field}' points to voxel {voxel.max()}, the image has {num_voxels}")
    owner_V[voxel[::-1]] = owner[::-1]
    return owner_V


def _classes(shape: NDArray[np.integer]) -> IntArray:
    """Return SPINE's shapes as classes: ghosts and unknown ones are none."""
    shape = shape.astype(np.int64)
    return np.where((shape >= 0) & (shape < len(Semantic)), shape, NONE)


def _process(name: str | bytes) -> int:
    """Return the class of a process, which is Geant4's name, or its type and subtype as '2::13'."""
    text = _text(name)
    if not text:
        return NONE
    kind, _, subtype = text.partition("::")
    if kind.isdecimal() and subtype.isdecimal():
        return int(process_of_codes([int(kind)], [int(subtype)], [0])[0])
    return int(process_of_name(text))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
