"""LArCV 2 files, ROOT: voxels with clusters and particles, tree `<kind>_<producer>_tree`.

The classes are those of larcv2 (larcv/core/DataFormat: EventBase.h, Voxel3D.h, Particle.h). Shape
suffixes: E events, V voxels, C clusters, P particles.
"""

from pathlib import Path
from typing import Any

import numpy as np

from lartpc.event import Columns
from lartpc.ingest.formats.frames import frames_of, most
from lartpc.ingest.formats.larcv import (
    Grid,
    Tensor,
    assemble,
    choose,
    cm_per_unit,
    split_names,
)
from lartpc.ingest.formats.neutrinos import FIELDS, MEMBERS
from lartpc.ingest.formats.root import Branch, is_root, members, open_root, tree, trees
from lartpc.ingest.formats.root_vectors import Vectors
from lartpc.ingest.source import Voxels, VoxelSource
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.vocab import NONE

CM = 1
"""DistanceUnit_t of an image whose lengths are in cm."""

POSITIONS = ("vtx", "end_pt", "first_step", "last_step", "ancestor_vtx")
NUMBERS = (
    "id",
    "shape",
    "trackid",
    "pdg",
    "px",
    "py",
    "pz",
    "parent_trackid",
    "parent_pdg",
    "ancestor_trackid",
)
LATER = ("group_id", "interaction_id")
"""Members that the first versions do not have."""


class Larcv2Reader(VoxelSource):
    """Reader of LArCV 2; see `source.VoxelSource`. One basket of each branch is held in memory."""

    def __init__(self, path: Path) -> None:
        file = open_root(path)
        found = split_names(sorted(trees(path, file)), "_tree")
        chosen = choose(found["sparse3d"], found["cluster3d"], found["particle"])
        assert chosen is not None, "no voxels: not recognised"
        neutrino = sorted(found["neutrino"], key=lambda name: (name != chosen.particles, name))[:1]
        self.selection = ", ".join([str(chosen), *(f"neutrino_{name}" for name in neutrino)])
        self.truth = chosen.truth + (("truth_neutrino",) if neutrino and chosen.truth else ())
        self._image = (
            _Image(path, tree(path, file, f"sparse3d_{chosen.image}_tree")) if chosen.image else None
        )
        self._classes = (
            _Image(path, tree(path, file, f"sparse3d_{chosen.classes}_tree")) if chosen.classes else None
        )
        self._clusters = (
            _Clusters(path, tree(path, file, f"cluster3d_{chosen.clusters}_tree"))
            if chosen.clusters
            else None
        )
        self._particles = (
            _Particles(path, tree(path, file, f"particle_{chosen.particles}_tree"))
            if chosen.particles
            else None
        )
        self._neutrinos = (
            _Neutrinos(path, tree(path, file, f"neutrino_{neutrino[0]}_tree"))
            if "truth_neutrino" in self.truth
            else None
        )
        base = self._image or self._clusters
        assert base is not None, "neither image nor clusters"
        self._base = base
        super().__init__(path, file, base.identity_E3)
        for other in (self._classes, self._clusters, self._particles, self._neutrinos):
            if other and not np.array_equal(other.identity_E3, base.identity_E3):
                raise ValueError(
                    f"{path}: trees '{base.name}' and '{other.name}' do not list the same events; write "
                    "both in one go"
                )
        self.unit_cm = 1.0
        valid_E, low_E3 = base.meta.valid_E, base.meta.origin_E3
        with np.errstate(all="ignore"):  # `frames_of` refuses corners that are not finite
            corners_E23 = np.stack([low_E3, low_E3 + base.meta.pitch_E3 * base.meta.num_E3], axis=1)
        pitch_N3, corners_N23 = base.meta.pitch_E3[valid_E], corners_E23[valid_E]
        size = frames_of(path, pitch_N3, corners_N23).size
        if size is not None:
            self.unit_cm = cm_per_unit(size, stated_cm=base.meta.unit == CM)
        self._frames = frames_of(path, pitch_N3 * self.unit_cm, corners_N23 * self.unit_cm)
        self.voxel_size_cm, self.centre_cm = self._frames

    def read(self, entry: int) -> Voxels:
        """Read one event; ValueError if its bytes make no sense."""
        grid = self._base.meta.grid(entry)
        found = assemble(
            grid,
            self.unit_cm,
            image=self._image.tensor(entry) if self._image else None,
            classes=self._classes.tensor(entry) if self._classes else None,
            clusters=self._clusters.tensor(entry) if self._clusters else None,
            particles=self._particles.read(entry) if self._particles else None,
            neutrinos=self._neutrinos.read(entry) if self._neutrinos else None,
        )
        if len(found):
            self._frames.check(self._base.meta.pitch_E3[entry] * self.unit_cm)
        return found


class Tree:
    """A tree of one product: identities of its events, and its branches."""

    def __init__(self, path: Path, tree: Any) -> None:
        self.name = str(tree.name)
        self._path = path
        self._tree = tree
        self.identity_E3: IntArray = np.stack(
            [self.branch(name).all_numbers().astype(np.int64) for name in ("_run", "_subrun", "_event")],
            axis=-1,
        )

    def branch(self, name: str) -> Branch:
        """Return a branch by its name."""
        return Branch(self._path, self._tree, name)


class _Meta:
    """The grids of a product, one per event; not valid where the event is empty."""

    def __init__(self, tree: Tree) -> None:
        def all_of(*names: str) -> Any:
            return np.stack([tree.branch(f"_meta._{name}").all_numbers() for name in names], axis=-1)

        self._tree = tree.name
        self.origin_E3: FloatArray = all_of("p1.x", "p1.y", "p1.z").astype(np.float64)
        self.pitch_E3: FloatArray = all_of("xlen", "ylen", "zlen").astype(np.float64)
        self.num_E3: IntArray = all_of("xnum", "ynum", "znum").astype(np.int64)
        self.valid_E = (self.num_E3 > 0).all(axis=-1) & (self.pitch_E3 > 0).all(axis=-1)
        units = [int(unit) for unit in all_of("unit")[self.valid_E, 0]]
        self.unit = NONE if (unit := most(units)) is None else unit

    def grid(self, entry: int) -> Grid:
        pitch_3 = self.pitch_E3[entry] if self.valid_E[entry] else np.ones(3)
        return Grid(self.origin_E3[entry], pitch_3, self.num_E3[entry])

    def coord(self, id_V: IntArray, entry: int) -> IntArray:
        """Return the voxels (V, 3) of their ids, in which x runs fastest."""
        num_x, num_y, num_z = self.num_E3[entry].tolist()
        if len(id_V) and int(id_V.max()) >= num_x * num_y * num_z:
            raise ValueError(f"'{self._tree}': voxel {id_V.max()} of {num_x * num_y * num_z}")
        if not len(id_V):
            return np.zeros((0, 3), np.int64)
        return np.stack([id_V % num_x, id_V // num_x % num_y, id_V // (num_x * num_y)], axis=-1)


class _Image(Tree):
    def __init__(self, path: Path, tree: Any) -> None:
        super().__init__(path, tree)
        self.meta = _Meta(self)
        self._id = self.branch("_voxel_v._id")
        self._value = self.branch("_voxel_v._value")

    def tensor(self, entry: int) -> Tensor:
        coord = self.meta.coord(self._id.numbers(entry).astype(np.int64), entry)
        value = self._value.numbers(entry).astype(np.float64)
        if len(value) != len(coord):
            raise ValueError(f"'{self.name}': {len(coord)} voxels with {len(value)} values")
        return Tensor(coord, value, np.full(len(coord), NONE, np.int64))


class _Clusters(Tree):
    def __init__(self, path: Path, tree: Any) -> None:
        super().__init__(path, tree)
        self.meta = _Meta(self)
        self._voxels = Vectors(self.branch("_voxel_vv._voxel_v"), "larcv::Voxel", ("_id", "_value"))

    def tensor(self, entry: int) -> Tensor:
        voxels, size_C = self._voxels.read(entry)
        return Tensor(
            self.meta.coord(voxels["_id"].astype(np.int64), entry),
            voxels["_value"].astype(np.float64),
            np.repeat(np.arange(len(size_C)), size_C),
            len(size_C),
        )


class _Particles(Tree):
    def __init__(self, path: Path, tree: Any) -> None:
        super().__init__(path, tree)
        has = members(path, tree)
        later = [name for name in LATER if f"_part_v._{name}" in has]
        self._numbers = {name: self.branch(f"_part_v._{name}") for name in (*NUMBERS, *later)}
        self._positions = {
            name: [self.branch(f"_part_v._{name}._{axis}") for axis in "xyzt"] for name in POSITIONS
        }
        self._process = self.branch("_part_v._process")

    def read(self, entry: int) -> Columns:
        """Return the particles of an entry, positions as (P, 4)."""
        columns: Columns = {name: branch.numbers(entry) for name, branch in self._numbers.items()}
        columns["process"] = np.array(self._process.strings(entry, len(columns["pdg"])), np.bytes_)
        for name, branches in self._positions.items():
            columns[name] = np.stack([branch.numbers(entry) for branch in branches], axis=-1)
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"'{self.name}': branches with {sorted(lengths)} particles")
        return columns


class _Neutrinos(Tree):
    """Neutrinos (larcv/core/DataFormat/Neutrino.h); of the members, earlier versions have a part."""

    def __init__(self, path: Path, tree: Any) -> None:
        super().__init__(path, tree)
        has = members(path, tree)
        wanted = {name: f"_part_v._{MEMBERS.get(name, name)}" for name in FIELDS}
        self._numbers = {name: self.branch(of) for name, of in wanted.items() if of in has}
        if "pdg_code" not in self._numbers:
            raise ValueError(
                f"{path}: tree '{self.name}' has no branch '_part_v._pdg'; it has {', '.join(sorted(has))}"
            )
        self._position = [self.branch(f"_part_v._vtx._{axis}") for axis in "xyz"]
        self._momentum = [
            self.branch(name) for name in ("_part_v._px", "_part_v._py", "_part_v._pz") if name in has
        ]

    def read(self, entry: int) -> Columns:
        """Return the neutrinos of an entry, named as SPINE does, positions (N, 3) in units of the file."""
        columns: Columns = {name: branch.numbers(entry) for name, branch in self._numbers.items()}
        columns["position"] = np.stack([branch.numbers(entry) for branch in self._position], axis=-1)
        if len(self._momentum) == 3:
            columns["momentum"] = np.stack([branch.numbers(entry) for branch in self._momentum], axis=-1)
        if len(lengths := {len(column) for column in columns.values()}) > 1:
            raise ValueError(f"'{self.name}': branches with {sorted(lengths)} neutrinos")
        return columns


def recognises(path: Path) -> bool:
    """Tell whether the file is LArCV 2 with voxels in 3D."""
    if not is_root(path):
        return False
    with open_root(path) as file:
        found = split_names(sorted(trees(path, file)), "_tree")
        return bool(found["sparse3d"] or found["cluster3d"])
