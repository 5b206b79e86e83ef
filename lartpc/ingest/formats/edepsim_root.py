"""edep-sim's own ROOT files: tree `EDepSimEvents` of `TG4Event`, in mm, MeV, ns, with full truth.

The classes are those of edep-sim's io/ (TG4HitSegment.h, TG4Trajectory.h, TG4PrimaryVertex.h).
Shape suffixes: S steps, T trajectories, N vertices.
"""

from pathlib import Path

import numpy as np

from lartpc.event import GENERATED, TRUTH
from lartpc.ingest.formats.root import (
    LORENTZ_VECTOR,
    Branch,
    Vectors,
    first_numbers,
    is_root,
    open_root,
    tree,
    trees,
)
from lartpc.ingest.keys import rows_of
from lartpc.ingest.physics import kinetic_energy_mev
from lartpc.ingest.processes import process_of_codes
from lartpc.ingest.source import StepSource
from lartpc.ingest.steps import IntArray, Steps, Trajectories, build_steps, build_trajectories
from lartpc.vocab import NONE

TREE = "EDepSimEvents"
CM_PER_MM = 0.1


class EdepSimRootReader(StepSource):
    """Reader of edep-sim ROOT. One basket of each branch is held in memory."""

    truth = TRUTH + GENERATED

    def __init__(self, path: Path) -> None:
        file = open_root(path)
        self._tree = tree(path, file, TREE)
        run_E = self._branch(path, "RunId").all_numbers(">i4")
        event_E = self._branch(path, "EventId").all_numbers(">i4")
        # edep-sim has no subruns
        super().__init__(path, file, np.stack([run_E, np.zeros_like(run_E), event_E], axis=-1))
        self._segments = Vectors(
            self._branch(path, "SegmentDetectors.second"),
            "TG4HitSegment",
            ("Contrib", "EnergyDeposit", "Start", "Stop"),
        )
        self._track_id = self._branch(path, "Trajectories.TrackId")
        self._parent_id = self._branch(path, "Trajectories.ParentId")
        self._pdg = self._branch(path, "Trajectories.PDGCode")
        self._momentum = self._branch(path, "Trajectories.InitialMomentum")
        self._points = Vectors(
            self._branch(path, "Trajectories.Points"),
            "TG4TrajectoryPoint",
            ("Position", "Process", "Subprocess"),
        )
        self._primaries = Vectors(
            self._branch(path, "Primaries.Particles"), "TG4PrimaryParticle", ("TrackId",)
        )

    def read(self, entry: int) -> Steps:
        """Read one event with the segments of all detectors; ValueError if its bytes make no sense."""
        run, subrun, event = self.identity(entry)
        trajectories = self._read_trajectories(entry, event)
        segments, counts = self._segments.read(entry)
        track_id_S = first_numbers(segments["Contrib"], counts)
        start_S3, end_S3 = segments["Start"]["vector"]["xyz"], segments["Stop"]["vector"]["xyz"]
        rows = {
            **{f"{axis}_start": start_S3[:, i] for i, axis in enumerate("xyz")},
            **{f"{axis}_end": end_S3[:, i] for i, axis in enumerate("xyz")},
            "energy": segments["EnergyDeposit"],
            "time": segments["Start"]["t"],
            "track_id": track_id_S,
            "pdg": np.append(trajectories.pdg, 0)[rows_of(track_id_S, trajectories.track_id)],
        }
        return build_steps(
            rows,
            run=run,
            subrun=subrun,
            event=event,
            length_in_cm=CM_PER_MM,
            time_in_ns=1.0,
            trajectories=trajectories,
        )

    def _branch(self, path: Path, name: str) -> Branch:
        return Branch(path, self._tree, name)

    def _read_trajectories(self, entry: int, event: int) -> Trajectories:
        track_id_T = self._track_id.numbers(entry, ">i4").astype(np.int64)
        momentum_T = self._momentum.numbers(entry, LORENTZ_VECTOR)
        first = self._points.read_first(entry, len(track_id_T))
        parent_id_T = self._parent_id.numbers(entry, ">i4").astype(np.int64)
        momentum_T3 = momentum_T["vector"]["xyz"]
        return build_trajectories(
            {
                "track_id": track_id_T,
                "parent_id": parent_id_T,
                "pdg": self._pdg.numbers(entry, ">i4"),
                "momentum": momentum_T3,
                "position": first["Position"]["vector"]["xyz"],
                "time": first["Position"]["t"],
                "interaction": self._interaction(entry, track_id_T),
            },
            event=event,
            kinetic_energy=kinetic_energy_mev(momentum_T["t"], momentum_T3),
            process=process_of_codes(first["Process"], first["Subprocess"], parent_id_T),
            length_in_cm=CM_PER_MM,
            time_in_ns=1.0,
        )

    def _interaction(self, entry: int, track_id_T: IntArray) -> IntArray:
        """Return the row of the vertex that generated each trajectory, NONE for secondaries.

        Not `InteractionNumber`, which is the place in the generator's file and repeats.
        """
        primaries, count_N = self._primaries.read(entry)
        track_id = primaries["TrackId"].astype(np.int64)
        vertex = np.repeat(np.arange(len(count_N)), count_N)
        tracked = track_id >= 0  # what was not tracked has a negative number
        order = np.argsort(track_id[tracked], kind="stable")
        row_T = rows_of(track_id_T, track_id[tracked][order])
        return np.append(vertex[tracked][order], NONE)[row_T]


def recognises(path: Path) -> bool:
    """Tell whether the file has edep-sim's tree."""
    if not is_root(path):
        return False
    with open_root(path) as file:
        return TREE in trees(path, file)
