"""The file of steps that the simulation writes: records, units, and a writer with bounded memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc import __version__
from lartpc.atomic import abandon, complete, need_room, part_of
from lartpc.config import Simulate
from lartpc.event import PRODUCTS
from lartpc.neutrinos.record import record_fields, table
from lartpc.simulate.primary import Primary

FORMAT = "lartpc-geant4-steps"
FORMAT_VERSION = "1.1"
"""1.1: `neutrinos`."""

CHUNK_ROWS = 8192
FLUSH_ROWS = 100_000

SEGMENTS = np.dtype(
    [
        *((name, "i4") for name in ("event_id", "traj_id", "pdg_id")),
        *((name, "f4") for name in ("x_start", "y_start", "z_start", "x_end", "y_end", "z_end", "dE", "dx")),
        ("t0", "f8"),
    ]
)
"""A step that deposits energy, sorted by event; of a neutral particle a point with dx = 0."""

TRAJECTORIES = np.dtype(
    [
        *((name, "i4") for name in ("event_id", "traj_id", "parent_id", "pdg_id")),
        ("process", "S24"),
        ("ke", "f4"),
        ("xyz_start", "f4", (3,)),
        ("p_start", "f4", (3,)),
        ("t_start", "f8"),
        ("interaction_id", "i4"),
    ]
)
"""A particle at its creation; `process` is Geant4's name, "primary" for what was shot (parent 0)."""

PRIMARIES = np.dtype(
    [
        *((name, "i4") for name in ("event_id", "interaction_id", "pdg_id")),
        ("ke", "f4"),
        ("xyz", "f4", (3,)),
        ("direction", "f4", (3,)),
    ]
)
"""A particle that was shot; the i-th of an event is trajectory i + 1."""

EVENT = np.dtype([("event_id", "i4"), ("seed", "i8")])
"""One row per event, with or without steps, and Geant4's seed for it."""

NEUTRINOS = np.dtype([("event_id", "i4"), *((name, *of) for name, of in record_fields())])
"""An interaction of a generator's file: the columns of `truth_neutrino`, `interaction` being its number."""

DATASETS = {
    "segments": SEGMENTS,
    "trajectories": TRAJECTORIES,
    "primaries": PRIMARIES,
    "event": EVENT,
    "neutrinos": NEUTRINOS,
}

UNITS = {
    **dict.fromkeys(("x_start", "y_start", "z_start", "x_end", "y_end", "z_end", "dx"), "mm"),
    **dict.fromkeys(("xyz", "xyz_start"), "mm"),
    **dict.fromkeys(("dE", "ke"), "MeV"),
    "p_start": "MeV/c",
    **dict.fromkeys(("t0", "t_start"), "ns"),
}
"""Unit of each field that has one."""
UNITS_OF_NEUTRINOS = {name: column.unit for name, column in PRODUCTS["truth_neutrino"].columns.items()}


class StepsWriter:
    """Write events to a file of steps, which appears under its name when whole.

    Use as a context manager: an exception removes what was written.
    """

    def __init__(self, path: Path, cfg: Simulate, attrs: Mapping[str, Any]) -> None:
        self.num_events = 0
        self._path = path
        self._part = part_of(path)
        need_room(path)
        self._file = h5py.File(self._part, "w")
        self._file.attrs.update(
            {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "package_version": __version__,
                "config": cfg.model_dump_json(),
                "box_cm": cfg.box_cm,
                "centre_cm": (0.0, 0.0, 0.0),
                **attrs,
            }
        )
        self._waiting: dict[str, list[NDArray[Any]]] = {name: [] for name in DATASETS}
        self._num_waiting = 0
        for name, dtype in DATASETS.items():
            data = self._file.create_dataset(
                name, (0,), dtype, maxshape=(None,), chunks=(CHUNK_ROWS,), compression=1, shuffle=True
            )
            for field in dtype.names or ():
                data.attrs[field] = (UNITS_OF_NEUTRINOS if name == "neutrinos" else UNITS).get(field, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            abandon(self._part, self._file.close)
            return
        try:
            self._flush()
            self._file.close()
        except BaseException:
            abandon(self._part, self._file.close)
            raise
        complete(self._part, self._path)

    def add(
        self,
        event: int,
        seed: int,
        shot: Sequence[Primary],
        segments: NDArray[Any],
        trajectories: NDArray[Any],
        neutrinos: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Append an event; `event_id` of its records is set here.

        Parameters
        ----------
        segments, trajectories
            Records of the dtypes `SEGMENTS` and `TRAJECTORIES`, of any number.
        neutrinos
            Rows of `truth_neutrino`; what they do not say is unknown.
        """
        rows = {
            "segments": segments,
            "trajectories": trajectories,
            "primaries": _primary_rows(shot),
            "event": np.array([(event, seed)], EVENT),
            "neutrinos": _neutrino_rows(neutrinos),
        }
        for name, value in rows.items():
            value["event_id"] = event
            self._waiting[name].append(value)
            self._num_waiting += len(value)
        self.num_events += 1
        if self._num_waiting >= FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        need_room(self._path, sum(rows.nbytes for pieces in self._waiting.values() for rows in pieces))
        for name, pieces in self._waiting.items():
            rows = np.concatenate([np.empty(0, DATASETS[name]), *pieces])
            data = self._file[name]
            start = len(data)
            data.resize(start + len(rows), axis=0)
            data[start:] = rows
            pieces.clear()
        self._num_waiting = 0


def _primary_rows(shot: Sequence[Primary]) -> NDArray[Any]:
    rows = np.zeros(len(shot), PRIMARIES)
    for row, primary in zip(rows, shot, strict=True):
        row["interaction_id"] = primary.interaction
        row["pdg_id"] = primary.pdg
        row["ke"] = primary.kinetic_energy_mev
        row["xyz"] = np.multiply(primary.position_cm, 10)
        row["direction"] = primary.direction
    return rows


def _neutrino_rows(neutrinos: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    rows = np.zeros(len(neutrinos), NEUTRINOS)
    for name, values in table(neutrinos).items():
        rows[name] = values
    return rows
