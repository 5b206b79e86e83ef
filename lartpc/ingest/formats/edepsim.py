"""edep-sim steps in HDF5, the input of larnd-sim: cm, MeV, µs; old and new field names.

The names are those of larnd-sim's converter (cli/dumpTree.py), from 2020 to today.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lartpc.event import GENERATED, TRUTH
from lartpc.ingest.formats.edepsim_header import HEADER, NEEDED, OPTIONAL, neutrinos_of
from lartpc.ingest.formats.hdf5 import fields, is_hdf5, names, open_hdf5
from lartpc.ingest.formats.tables import Aliases, Table, index_events
from lartpc.ingest.physics import kinetic_energy_mev, kinetic_from_momentum_mev
from lartpc.ingest.processes import process_of_codes
from lartpc.ingest.source import StepSource, numbered
from lartpc.ingest.steps import IntArray, Steps, Trajectories, build_steps, build_trajectories
from lartpc.vocab import NONE

NS_PER_US = 1000.0

SEGMENTS: Aliases = {
    "event_id": ("event_id", "eventID"),
    "track_id": ("traj_id", "trackID"),
    "pdg": ("pdg_id", "pdgId"),
    **{f"{axis}_{side}": (f"{axis}_{side}",) for axis in "xyz" for side in ("start", "end")},
    "energy": ("dE",),
    # `t*` is overwritten by the drift simulation, `t0*` stays the time of the step
    "time": ("t0_start", "t0", "t_start"),
}
TRAJECTORIES: Aliases = {
    "event_id": ("event_id", "eventID"),
    "track_id": ("traj_id", "trackID"),
    "parent_id": ("parent_id", "parentID"),
    "pdg": ("pdg_id", "pdgId"),
    "process": ("start_process",),
    "subprocess": ("start_subprocess",),
    "energy": ("E_start",),
    "position": ("xyz_start",),
    "momentum": ("pxyz_start",),
    "time": ("t_start",),
    "interaction": ("vertex_id", "vertexID"),
}
EVENTS: Aliases = {"event_id": ("event_id", "eventID")}
HEADERS = ("mc_hdr", "genie_hdr")
"""Datasets of neutrinos, of the 2x2 simulation."""
EVENT_TABLES = ("vertices", *HEADERS)
"""Datasets that list events, whether these left steps or not."""


class EdepSimReader(StepSource):
    """Reader of edep-sim HDF5; see `source.StepSource`. Truth needs `trajectories` with start processes."""

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        self._segments = Table(path, file, "segments", SEGMENTS, optional=("time",))
        tables = [self._segments]
        if {"start_process", "start_subprocess"} <= set(fields(path, file, "trajectories", is_ours=True)):
            self.truth = TRUTH + GENERATED
            self._trajectories = Table(
                path, file, "trajectories", TRAJECTORIES, optional=("energy", "interaction")
            )
            tables.append(self._trajectories)
        self._header: int | None = None
        for name in EVENT_TABLES:
            if fields(path, file, name, is_ours=True):
                is_header = name in HEADERS
                table = Table(path, file, name, HEADER if is_header else EVENTS, optional=OPTIONAL)
                if is_header and set(table.field) >= NEEDED and self.truth:
                    self._header = len(tables)
                tables.append(table)
        self._tables = tables
        ids, self._rows = index_events(tables)
        super().__init__(path, file, numbered(ids))
        if "packets" in names(path, file):
            self.selection = "segments, the true deposits; not packets"

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""
        _, _, event = self.identity(entry)
        rows = self._segments.columns(*self._rows[0][entry])
        rows.setdefault("time", np.zeros(len(rows["energy"])))
        trajectories = self._read_trajectories(entry, event) if self.has_truth else None
        steps = build_steps(
            rows, event=event, length_in_cm=1.0, time_in_ns=NS_PER_US, trajectories=trajectories
        )
        if self._header is None or trajectories is None:
            return steps
        heads = self._tables[self._header].columns(*self._rows[self._header][entry])
        return replace(steps, neutrinos=neutrinos_of(heads, trajectories))

    def _read_trajectories(self, entry: int, event: int) -> Trajectories:
        rows: dict[str, Any] = self._trajectories.columns(*self._rows[1][entry])
        if "energy" in rows:
            kinetic_T = kinetic_energy_mev(rows["energy"], rows["momentum"])
        else:
            kinetic_T = kinetic_from_momentum_mev(rows["pdg"], rows["momentum"])
        if "interaction" not in rows:
            rows["interaction"] = vertices_by_position(rows["parent_id"], rows["position"])
        return build_trajectories(
            rows,
            event=event,
            kinetic_energy=kinetic_T,
            process=process_of_codes(rows["process"], rows["subprocess"], rows["parent_id"]),
            length_in_cm=1.0,
            time_in_ns=NS_PER_US,
        )


def recognises(path: Path) -> bool:
    """Tell whether the file has edep-sim's segments."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        found = set(fields(path, file, "segments"))
        return {"x_start", "dE"} <= found and bool({"event_id", "eventID"} & found)


def vertices_by_position(parent_id: ArrayLike, position: ArrayLike) -> IntArray:
    """Give generated particles (T,) the number of their position (T, 3), which is their vertex; NONE for others."""
    generated_T = np.asarray(parent_id) < 0
    vertex_T = np.full(len(generated_T), NONE, np.int64)
    _, number = np.unique(np.asarray(position)[generated_T], axis=0, return_inverse=True)
    vertex_T[generated_T] = number.reshape(-1)
    return vertex_T
