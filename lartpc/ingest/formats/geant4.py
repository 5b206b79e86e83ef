"""Steps of our own Geant4 simulation (`lartpc simulate`): mm, MeV, ns, with full truth."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lartpc.event import GENERATED, PRODUCTS, TRUTH, Columns, empty
from lartpc.ingest.formats.hdf5 import attribute, fields, is_hdf5, names, open_hdf5, stated_centre
from lartpc.ingest.formats.tables import Aliases, Table, index_events
from lartpc.ingest.processes import process_of_name
from lartpc.ingest.source import StepSource, numbered
from lartpc.ingest.steps import IntArray, Steps, build_steps, build_trajectories

FORMAT = "lartpc-geant4-steps"
"""Value of the root attribute `format`. The first files lack it and are known by their fields."""

CM_PER_MM = 0.1

SEGMENTS: Aliases = {
    "event_id": ("event_id",),
    "track_id": ("traj_id",),
    "pdg": ("pdg_id",),
    **{f"{axis}_{side}": (f"{axis}_{side}",) for axis in "xyz" for side in ("start", "end")},
    "energy": ("dE",),
    "time": ("t0",),
}
TRAJECTORIES: Aliases = {
    "event_id": ("event_id",),
    "track_id": ("traj_id",),
    "parent_id": ("parent_id",),
    "pdg": ("pdg_id",),
    "process": ("process",),
    "kinetic_energy": ("ke",),
    "position": ("xyz_start",),
    "momentum": ("p_start",),
    "time": ("t_start",),
    "interaction": ("interaction_id",),
}
EVENT: Aliases = {"event_id": ("event_id",)}
NEUTRINOS: Aliases = {
    "event_id": ("event_id",),
    **{name: (name,) for name in PRODUCTS["truth_neutrino"].columns},
}
LATER = tuple(NEUTRINOS.keys() - {"event_id", "interaction", "pdg"})
"""Columns that an earlier version may lack."""


class Geant4Reader(StepSource):
    """Reader of `lartpc simulate` files; see `source.StepSource`."""

    truth = TRUTH + GENERATED

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        self._segments = Table(path, file, "segments", SEGMENTS)
        self._trajectories = Table(path, file, "trajectories", TRAJECTORIES, text=("process",))
        tables = [self._segments, self._trajectories]
        held = names(path, file)
        self._neutrinos = Table(path, file, "neutrinos", NEUTRINOS, LATER) if "neutrinos" in held else None
        if self._neutrinos:
            tables.append(self._neutrinos)
        if "event" in held:
            tables.append(Table(path, file, "event", EVENT))
        ids, (self._segment_rows, self._trajectory_rows, *rows) = index_events(tables)
        self._neutrino_rows = rows[0] if self._neutrinos else None
        super().__init__(path, file, numbered(ids))
        self.generator = _generator(attribute(path, file, "config"))
        self.centre_cm = stated_centre(path, file)

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""
        _, _, event = self.identity(entry)
        rows = self._trajectories.columns(*self._trajectory_rows[entry])
        trajectories = build_trajectories(
            rows,
            event=event,
            kinetic_energy=rows["kinetic_energy"],
            process=_processes(rows["process"]),
            length_in_cm=CM_PER_MM,
            time_in_ns=1.0,
        )
        steps = build_steps(
            self._segments.columns(*self._segment_rows[entry]),
            event=event,
            length_in_cm=CM_PER_MM,
            time_in_ns=1.0,
            trajectories=trajectories,
        )
        return replace(steps, neutrinos=self._read_neutrinos(entry))

    def _read_neutrinos(self, entry: int) -> Columns | None:
        if self._neutrinos is None or self._neutrino_rows is None:
            return None
        columns = self._neutrinos.columns(*self._neutrino_rows[entry])
        known = {name: values for name, values in columns.items() if name != "event_id"}
        return empty("truth_neutrino", len(columns["event_id"])) | known


def recognises(path: Path) -> bool:
    """Tell whether the file is one of ours."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        written = attribute(path, file, "format")
        if written is not None:
            return (written.decode() if isinstance(written, bytes) else str(written)) == FORMAT
        return {"process", "interaction_id"} <= set(fields(path, file, "trajectories"))


def _generator(settings: Any) -> str:
    """Return the name of the generator in the settings (JSON) that the events were simulated with."""
    try:
        found = json.loads(settings)["generator"]
    except (TypeError, KeyError, ValueError):
        return "lartpc simulate"
    return f"lartpc simulate, {found['kind'] if isinstance(found, dict) else found}"


def _processes(found: Any) -> IntArray:
    name_T = found.tolist()  # bytes, or str from variable-length strings
    code = {
        name: process_of_name(name.decode(errors="replace") if isinstance(name, bytes) else name)
        for name in set(name_T)
    }
    return np.array([code[name] for name in name_T], np.int64)
