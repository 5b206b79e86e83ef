"""Steps of JAXTPC's Geant4 simulation, which pimm and pysupera read, too: mm, MeV, ns, with full truth.

One row of structures per event in each dataset. Shape suffixes: S steps, T particles.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.event import TRUTH
from lartpc.ingest.formats.hdf5 import dataset, has, is_hdf5, is_number, names, open_hdf5, readable
from lartpc.ingest.keys import rows_of
from lartpc.ingest.processes import process_of_codes
from lartpc.ingest.source import StepSource
from lartpc.ingest.steps import NO_PARENT, IntArray, Steps, build_steps, build_trajectories, integers
from lartpc.vocab import NONE, CreationProcess

STEPS, PARTICLES, PRIMARIES, EVENTS = "pstep/lar_vol", "particle/geant4", "primary/geant4", "event/geant4"
CM_PER_MM = 0.1

UNSET = 2**31 - 1
"""Track id and PDG code of a step that the program gives to no particle."""

ELECTRON = 11

FIELDS = {
    STEPS: ("x", "y", "z", "t", "theta", "phi", "pdg", "track_id", "de", "dx"),
    PARTICLES: (
        *("x", "y", "z", "t", "px", "py", "pz", "ke", "track_id", "parent_track_id", "pdg"),
        *("proc_start", "subproc_start"),
    ),
    PRIMARIES: ("track_id", "interaction_id"),
}


class JaxtpcReader(StepSource):
    """Reader of JAXTPC's Geant4 files; see `source.StepSource`. Reads the rows of one event at a time."""

    truth = TRUTH

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        self._data = {name: dataset(path, file, name) for name in FIELDS}
        num_events = len(self._data[STEPS])
        for name, data in self._data.items():
            row_type = h5py.check_vlen_dtype(data.dtype)
            held = (row_type.names or ()) if row_type is not None else ()
            if lacking := [field for field in FIELDS[name] if field not in held]:
                raise ValueError(
                    f"{path}: dataset '{name}' has no field '{lacking[0]}'; it has {', '.join(held) or 'none'}"
                )
            for field in FIELDS[name]:
                if row_type is not None and not is_number(row_type[field]):
                    raise ValueError(
                        f"{path}: field '{field}' of '{name}' is {row_type[field]}; it must be a number"
                    )
            if len(data) != num_events:
                raise ValueError(f"{path}: '{name}' has {len(data)} events, '{STEPS}' has {num_events}")
        super().__init__(path, file, self._identities(path, file, num_events))
        others = [name for name in names(path, file["pstep"]) if f"pstep/{name}" != STEPS]
        if others:
            self.selection = f"{STEPS}; not {', '.join(others)}"

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense.

        A step is given by its middle, its direction and its length. Steps that no particle owns are made those of
        an electron of their own, so that their energy counts.
        """
        run, subrun, event = self.identity(entry)
        steps, particles, primaries = (self._row(name, entry) for name in FIELDS)
        middle_S3 = np.stack([steps[axis] for axis in "xyz"], axis=-1).astype(np.float64)
        theta_S, phi_S = steps["theta"].astype(np.float64), steps["phi"].astype(np.float64)
        way_S3 = np.stack(
            [np.sin(theta_S) * np.cos(phi_S), np.sin(theta_S) * np.sin(phi_S), np.cos(theta_S)], -1
        )
        half_S3 = 0.5 * steps["dx"].astype(np.float64)[:, None] * way_S3
        rows: dict[str, NDArray[Any]] = {
            "energy": steps["de"],
            "time": steps["t"],
            "track_id": steps["track_id"],
            "pdg": np.where(steps["track_id"] == UNSET, ELECTRON, steps["pdg"]),
        }
        for i, axis in enumerate("xyz"):
            rows[f"{axis}_start"], rows[f"{axis}_end"] = (
                (middle_S3 - half_S3)[:, i],
                (middle_S3 + half_S3)[:, i],
            )
        return build_steps(
            rows,
            run=run,
            subrun=subrun,
            event=event,
            length_in_cm=CM_PER_MM,
            time_in_ns=1.0,
            trajectories=self._trajectories(event, steps, particles, primaries),
        )

    def _trajectories(self, event: int, steps: Any, particles: Any, primaries: Any) -> Any:
        track_T = integers("track_id", particles["track_id"])
        parent_T = integers("parent_track_id", particles["parent_track_id"])
        columns: dict[str, NDArray[Any]] = {
            "track_id": track_T,
            "parent_id": parent_T,
            "pdg": integers("pdg", particles["pdg"]),
            "momentum": np.stack([particles[f"p{axis}"] for axis in "xyz"], axis=-1),
            "position": np.stack([particles[axis] for axis in "xyz"], axis=-1),
            "time": particles["t"],
            "interaction": _interactions(track_T, parent_T, primaries),
        }
        kinetic_T = particles["ke"]
        process_T = process_of_codes(particles["proc_start"], particles["subproc_start"], parent_T)
        nobody = np.flatnonzero(steps["track_id"] == UNSET)
        if len(nobody) and UNSET not in track_T:
            first = nobody[0]
            known = columns["interaction"][columns["interaction"] != NONE]
            added = {
                "track_id": UNSET,
                "parent_id": NO_PARENT,
                "pdg": ELECTRON,
                "momentum": np.zeros(3),
                "position": [steps[axis][first] for axis in "xyz"],
                "time": steps["t"][first],
                "interaction": known[0] if len(known) else 0,
            }
            columns = {name: np.append(value, [added[name]], axis=0) for name, value in columns.items()}
            kinetic_T = np.append(kinetic_T, 0.0)
            process_T = np.append(process_T, int(CreationProcess.PHOTO_ELECTRIC))  # low-energy deposits
        return build_trajectories(
            columns,
            event=event,
            kinetic_energy=kinetic_T,
            process=process_T,
            length_in_cm=CM_PER_MM,
            time_in_ns=1.0,
        )

    def _identities(self, path: Path, file: Any, num_events: int) -> IntArray:
        number_E = np.arange(num_events)
        identity_E3 = np.stack([np.zeros_like(number_E), np.zeros_like(number_E), number_E], axis=-1)
        if has(path, file, EVENTS):
            data = dataset(path, file, EVENTS)
            if len(data) != num_events:
                raise ValueError(f"{path}: '{EVENTS}' has {len(data)} events, '{STEPS}' has {num_events}")
            for column, field in ((0, "run_id"), (2, "event_id")):
                if field in (data.dtype.names or ()):
                    with readable(path, EVENTS):
                        identity_E3[:, column] = integers(
                            f"{path}: '{EVENTS}.{field}'", data.fields(field)[:]
                        )
        return identity_E3

    def _row(self, name: str, entry: int) -> NDArray[Any]:
        with readable(self.path, name):
            row: NDArray[Any] = self._data[name][entry]
        return row


def recognises(path: Path) -> bool:
    """Tell whether the file has JAXTPC's steps in liquid argon."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return has(path, file, STEPS)


def _interactions(track_T: IntArray, parent_T: IntArray, primaries: Any) -> IntArray:
    """Return the interaction of each generated particle (T,); NONE for others, which have that of their ancestor."""
    primary = integers("track_id", primaries["track_id"])
    order = np.argsort(primary, kind="stable")
    row_T = rows_of(track_T, primary[order])
    interaction = integers("interaction_id", primaries["interaction_id"])[order]
    found_T = np.append(interaction, NONE)[row_T]
    # a generated particle that the list of primaries leaves out is of an interaction of its own
    alone_T = (found_T == NONE) & ((parent_T < 0) | ~np.isin(parent_T, track_T))
    start = int(interaction.max(initial=NONE)) + 1
    return np.where(alone_T, start + np.cumsum(alone_T) - 1, found_T)
