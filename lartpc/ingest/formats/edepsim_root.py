"""edep-sim's own ROOT files: tree `EDepSimEvents` of `TG4Event`, in mm, MeV, ns, with full truth.

The classes are those of edep-sim's io/ (TG4HitSegment.h, TG4Trajectory.h, TG4PrimaryVertex.h).
Shape suffixes: S steps, T trajectories, N vertices.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lartpc.event import GENERATED, TRUTH, Columns
from lartpc.ingest.formats.root import Branch, is_root, open_root, tree, trees
from lartpc.ingest.formats.root_vectors import LORENTZ_VECTOR, Vectors, first_numbers
from lartpc.ingest.keys import rows_of
from lartpc.ingest.physics import kinetic_energy_mev
from lartpc.ingest.processes import process_of_codes
from lartpc.ingest.source import StepSource
from lartpc.ingest.steps import IntArray, Steps, Trajectories, build_steps, build_trajectories
from lartpc.neutrinos.record import NEUTRINOS, FourMomentum, current_of, kinematics, of_reaction, table
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
        particles = self._branch(path, "Primaries.Particles")
        self._primaries = Vectors(particles, "TG4PrimaryParticle", ("TrackId", "PDGCode", "Momentum"))
        self._generated = {
            name: self._branch(path, f"Primaries.{name}")
            for name in ("Reaction", "Weight", "InteractionNumber", "Position")
        }
        informational = self._branch(path, "Primaries.Informational")
        self._incoming = (
            Vectors(informational, "TG4PrimaryVertex", ("Particles",)),
            Vectors(informational, "TG4PrimaryParticle", ("PDGCode", "Momentum")),
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
        steps = build_steps(
            rows,
            run=run,
            subrun=subrun,
            event=event,
            length_in_cm=CM_PER_MM,
            time_in_ns=1.0,
            trajectories=trajectories,
        )
        return replace(steps, neutrinos=self._read_neutrinos(entry))

    def _read_neutrinos(self, entry: int) -> Columns:
        """Return the vertices whose reaction names a neutrino, as GENIE's do; the interaction is the vertex.

        The neutrino is among the incoming particles that edep-sim keeps as an informational vertex.
        """
        primaries, count_N = self._primaries.read(entry)
        outer, inner = self._incoming
        vertices, of_N = outer.read(entry)
        incoming, size = inner.read_nested(vertices["Particles"], of_N)
        owner = np.repeat(np.repeat(np.arange(len(of_N)), of_N), size)
        reactions = self._generated["Reaction"].strings(entry, len(count_N))
        weight_N = self._generated["Weight"].numbers(entry, ">f4")
        number_N = self._generated["InteractionNumber"].numbers(entry, ">i4")
        place_N = self._generated["Position"].numbers(entry, LORENTZ_VECTOR)
        vertex = np.repeat(np.arange(len(count_N)), count_N)
        rows = []
        for number, reaction in enumerate(reactions):
            said = of_reaction(reaction.decode(errors="replace"))
            if abs(said.get("pdg", 0)) not in NEUTRINOS:
                continue
            out = np.flatnonzero(vertex == number)
            current, lepton_pdg = current_of(said["pdg"], primaries["PDGCode"][out].tolist())
            lepton = next((row for row in out if primaries["PDGCode"][row] == lepton_pdg != 0), None)
            neutrino = np.flatnonzero((owner == number) & (incoming["PDGCode"] == said["pdg"]))
            four = _four(incoming["Momentum"][neutrino[0]]) if len(neutrino) else None
            other = _four(primaries["Momentum"][lepton]) if lepton is not None else None
            momenta = kinematics(four, other) if four else {}
            if other and not four:
                momenta = {"lepton_energy": other[3], "lepton_momentum": other[:3]}
            x, y, z = (place_N["vector"]["xyz"][number].astype(np.float64) * CM_PER_MM).tolist()
            rows.append(
                {
                    **momenta,
                    **said,
                    "interaction": number,
                    "current": said.get("current", NONE if current is None else int(current)),
                    "lepton_pdg": lepton_pdg,
                    "lepton_track_id": NONE if lepton is None else int(primaries["TrackId"][lepton]),
                    "vertex": (x, y, z),
                    "time": float(place_N["t"][number]),
                    "weight": float(weight_N[number]),
                    "entry": int(number_N[number]),
                    "num_final": len(out),
                }
            )
        return table(rows)

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


def _four(momentum: Any) -> FourMomentum:
    x, y, z = momentum["vector"]["xyz"].astype(np.float64).tolist()
    return x, y, z, float(momentum["t"])


def recognises(path: Path) -> bool:
    """Tell whether the file has edep-sim's tree."""
    if not is_root(path):
        return False
    with open_root(path) as file:
        return TREE in trees(path, file)
