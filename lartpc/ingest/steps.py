"""Energy-depositing steps of one event, as every reader returns them: cm, MeV, ns.

Shape suffixes: S steps, T trajectories.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from particle import pdgid

from lartpc.event import Columns
from lartpc.vocab import NONE

NO_PARENT = -1
"""Parent of a particle that leaves a generated vertex."""

SMALL_PDG = 3999
"""Largest particle number that is looked up in a table: all common particles but nuclei."""

LARGEST_ENERGY_MEV = 1e6
"""No step and no voxel of a liquid-argon TPC holds a TeV: heavy nuclei lose 10 GeV/cm."""

LARGEST_KINETIC_MEV = 1e15
"""Cosmic rays have been seen up to 3e14 MeV (Astrophys. J. 441 (1995) 144)."""

FARTHEST_CM = 1e7
"""No detector is 100 km large, nor that far from the origin of its coordinates."""

LARGEST_CODE = 2**31 - 1
"""Particle numbers have ten digits at most (PDG review, section 45), and those of nuclei begin with 10."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Trajectories:
    """The particles of one event (T,): what truth labels are made from.

    `parent_track_id` is NO_PARENT for generated particles, `interaction` is the number of the
    generated vertex or NONE where only the ancestors carry it, `process` holds
    `vocab.CreationProcess`. Kinetic energy [MeV], momentum (T, 3) [MeV/c], position (T, 3) [cm] and
    time [ns] are those at creation.
    """

    track_id: IntArray
    parent_track_id: IntArray
    pdg: IntArray
    process: IntArray
    kinetic_energy: FloatArray
    momentum: FloatArray
    position: FloatArray
    time: FloatArray
    interaction: IntArray

    def check(self, event: int) -> None:
        """Raise ValueError if a number is not finite, or a code or an energy is none that a particle has."""
        for name in ("kinetic_energy", "momentum", "position", "time"):
            value = getattr(self, name)
            if not np.isfinite(value).all():
                row = int(np.argwhere(~np.isfinite(value))[0, 0])
                raise ValueError(f"event {event}: the {name} of track {self.track_id[row]} is not finite")
        for name, bad in (
            (
                f"a kinetic energy above {LARGEST_KINETIC_MEV:g} MeV",
                self.kinetic_energy > LARGEST_KINETIC_MEV,
            ),
            ("a negative kinetic energy", self.kinetic_energy < 0),
            (
                f"a momentum above {LARGEST_KINETIC_MEV:g} MeV/c",
                (np.abs(self.momentum) > LARGEST_KINETIC_MEV).any(axis=-1),
            ),
            (
                f"its start more than {FARTHEST_CM:g} cm away",
                (np.abs(self.position) > FARTHEST_CM).any(axis=-1),
            ),
            ("a PDG code of more than 32 bits", np.abs(self.pdg) > LARGEST_CODE),
        ):
            if bad.any():
                raise ValueError(f"event {event}: track {self.track_id[np.argmax(bad)]} has {name}")


@dataclass(frozen=True)
class Steps:
    """The steps of one event: start and end (S, 3) [cm], energy (S,) [MeV], time (S,) [ns].

    `trajectories` is None where the source has steps only. `neutrinos` are the interactions of a generator, the
    columns of `truth_neutrino`, `interaction` being the number that its trajectories have; None: not known.
    """

    run: int
    subrun: int
    event: int
    start: FloatArray
    end: FloatArray
    energy: FloatArray
    time: FloatArray
    track_id: IntArray
    pdg: IntArray
    trajectories: Trajectories | None = None
    neutrinos: Columns | None = None

    def __len__(self) -> int:
        return len(self.energy)

    def check(self) -> None:
        """Raise ValueError if a position, time or energy is not finite or beyond what can be, or a code is."""
        for name in ("start", "end", "energy", "time"):
            bad = ~np.isfinite(getattr(self, name))
            if bad.any():
                row = int(np.argwhere(bad)[0, 0])
                raise ValueError(f"event {self.event}: the {name} of step {row} is not finite")
        if (self.energy < 0).any():
            row = int(np.argmax(self.energy < 0))
            raise ValueError(
                f"event {self.event}: the energy of step {row} is negative ({self.energy[row]:.6g} MeV)"
            )
        if (self.energy > LARGEST_ENERGY_MEV).any():
            row = int(np.argmax(self.energy))
            raise ValueError(
                f"event {self.event}: step {row} has {self.energy[row]:.6g} MeV, more than {LARGEST_ENERGY_MEV:g}"
            )
        for name in ("start", "end"):
            far = np.abs(getattr(self, name)) > FARTHEST_CM
            if far.any():
                row = int(np.argwhere(far)[0, 0])
                raise ValueError(
                    f"event {self.event}: the {name} of step {row} is more than {FARTHEST_CM:g} cm away"
                )
        if (np.abs(self.pdg) > LARGEST_CODE).any():
            row = int(np.argmax(np.abs(self.pdg)))
            raise ValueError(f"event {self.event}: step {row} has a PDG code of more than 32 bits")
        if self.trajectories is not None:
            self.trajectories.check(self.event)


def integers(where: str, value: Any) -> IntArray:
    """Return whole numbers as 64-bit integers; ValueError if they are none, or larger."""
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        raise ValueError(f"{where} is {array.dtype}; whole numbers are needed")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{where} holds {array.max()}, which does not fit into 64 bits")
    return array.astype(np.int64)


@lru_cache(maxsize=65_536)
def _is_neutral(pdg: int) -> bool:
    return bool(pdgid.charge(pdg) == 0)


@lru_cache
def _neutral_small() -> NDArray[np.bool_]:
    """Return for each code from -SMALL_PDG to SMALL_PDG whether it stands for a neutral particle."""
    return np.array([_is_neutral(code) for code in range(-SMALL_PDG, SMALL_PDG + 1)])


def is_neutral(pdg_S: IntArray) -> NDArray[np.bool_]:
    """Tell which Monte-Carlo particle numbers stand for neutral particles."""
    row_S = np.clip(pdg_S, -SMALL_PDG - 1, SMALL_PDG + 1) + SMALL_PDG
    neutral: NDArray[np.bool_] = _neutral_small()[np.clip(row_S, 0, 2 * SMALL_PDG)]
    for code in np.unique(pdg_S[(row_S < 0) | (row_S > 2 * SMALL_PDG)]):
        neutral[pdg_S == code] = _is_neutral(int(code))
    return neutral


def build_steps(
    rows: Mapping[str, Any],
    *,
    event: int,
    length_in_cm: float,
    time_in_ns: float,
    trajectories: Trajectories | None,
    run: int = 0,
    subrun: int = 0,
) -> Steps:
    """Turn columns of a file into `Steps`, with the file's units of length and time.

    `rows` holds x, y, z of `_start` and `_end`, energy, time, track_id and pdg. A neutral particle
    deposits at the end of its step, whatever way it went before: its steps become points there.
    """
    start_S3 = _stack(rows, "start", length_in_cm)
    end_S3 = _stack(rows, "end", length_in_cm)
    pdg_S = integers("pdg", rows["pdg"])
    start_S3 = np.where(is_neutral(pdg_S)[:, None], end_S3, start_S3)
    return Steps(
        run=run,
        subrun=subrun,
        event=event,
        start=start_S3,
        end=end_S3,
        energy=np.asarray(rows["energy"], np.float64),
        time=np.asarray(rows["time"], np.float64) * time_in_ns,
        track_id=integers("track_id", rows["track_id"]),
        pdg=pdg_S,
        trajectories=trajectories,
    )


def build_trajectories(
    rows: Mapping[str, Any],
    *,
    event: int,
    kinetic_energy: ArrayLike,
    process: ArrayLike,
    length_in_cm: float,
    time_in_ns: float,
) -> Trajectories:
    """Turn columns of a file into `Trajectories`, sorted by track id.

    A parent number of 0 or below means none where no particle carries that number.

    Raises
    ------
    ValueError
        A track id occurs twice.
    """
    track_id_T = integers("track_id", rows["track_id"])
    ascending = bool((track_id_T[1:] > track_id_T[:-1]).all())
    order_T: IntArray | slice = slice(None) if ascending else np.argsort(track_id_T, kind="stable")
    track_id_T = track_id_T[order_T]
    if (twice := track_id_T[1:] == track_id_T[:-1]).any():
        raise ValueError(f"event {event}: track {track_id_T[1:][twice][0]} occurs twice in the trajectories")
    parent_T = integers("parent_id", rows["parent_id"])[order_T]
    none_T = parent_T <= 0
    none_T[none_T] = ~np.isin(parent_T[none_T], track_id_T)
    interaction = rows.get("interaction")
    return Trajectories(
        track_id=track_id_T,
        parent_track_id=np.where(none_T, NO_PARENT, parent_T),
        pdg=integers("pdg", rows["pdg"])[order_T],
        process=np.asarray(process, np.int64)[order_T],
        kinetic_energy=np.asarray(kinetic_energy, np.float64)[order_T],
        momentum=np.asarray(rows["momentum"], np.float64)[order_T],
        position=np.asarray(rows["position"], np.float64)[order_T] * length_in_cm,
        time=np.asarray(rows["time"], np.float64)[order_T] * time_in_ns,
        interaction=(
            np.full(len(track_id_T), NONE, np.int64)
            if interaction is None
            else integers("interaction", interaction)[order_T]
        ),
    )


def _stack(rows: Mapping[str, Any], side: str, scale: float) -> FloatArray:
    return np.stack([np.asarray(rows[f"{axis}_{side}"], np.float64) for axis in "xyz"], axis=-1) * scale
