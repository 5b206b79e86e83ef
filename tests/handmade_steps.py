"""Files of steps, written down by hand, in the formats of Geant4 and of edep-sim."""

import h5py
import numpy as np

from lartpc.simulate.steps import EVENT, SEGMENTS, TRAJECTORIES

EDEP_SEGMENTS = np.dtype(
    [
        ("event_id", "u4"),
        ("traj_id", "u4"),
        ("pdg_id", "i4"),
        *((f"{axis}_{side}", "f4") for side in ("start", "end") for axis in "xyz"),
        ("t_start", "f4"),
        ("t0_start", "f8"),
        ("dE", "f4"),
    ]
)
EDEP_TRAJECTORIES = np.dtype(
    [
        ("event_id", "u4"),
        ("vertex_id", "u8"),
        ("traj_id", "u4"),
        ("parent_id", "i4"),
        ("E_start", "f4"),
        ("pxyz_start", "f4", (3,)),
        ("xyz_start", "f4", (3,)),
        ("t_start", "f8"),
        ("pdg_id", "i4"),
        ("start_process", "u4"),
        ("start_subprocess", "u4"),
    ]
)


def g4_step(event, track, pdg, start, end, energy, time=0.0):
    return (event, track, pdg, *start, *end, energy, 1.0, time)


def g4_muon(event, y=0.0):
    """A muon of 10 cm along x, in mm."""
    step = g4_step(event, 1, 13, (-50, y, 0), (50, y, 0), 20.0)
    trajectory = (event, 1, 0, 13, b"primary", 60.0, (-50, y, 0), (120, 0, 0), 0.0, 0)
    return step, trajectory


def write_geant4(path, steps, trajectories, events=None, **attrs):
    with h5py.File(path, "w") as file:
        file.attrs.update(attrs)
        file["segments"] = np.array(steps, SEGMENTS)
        file["trajectories"] = np.array(trajectories, TRAJECTORIES)
        if events is not None:
            file["event"] = np.array([(event, 1) for event in events], EVENT)
    return path


def write_edepsim(path, *, missing=()):
    """Two events of a 100 MeV muon that decays into an electron, in cm and µs; event 4 has no steps."""
    steps, trajectories = [], []
    for event in (2, 6):
        steps += [(event, 10, -13, 0, 0, 0, 10, 0, 0, 0.0, 0.1, 20.0)]
        steps += [(event, 11, -11, 10, 0, 0, 10, 3, 0, 0.0, 2.0, 6.0)]
    muon_mass, electron_mass = 105.658, 0.511
    for event in (2, 4, 6):
        energy = 100 + muon_mass
        momentum = (np.sqrt(energy**2 - muon_mass**2), 0, 0)
        trajectories.append((event, 77, 10, -1, energy, momentum, (0, 0, 0), 0.1, -13, 0, 0))
        momentum = (0, np.sqrt((40 + electron_mass) ** 2 - electron_mass**2), 0)
        trajectories.append((event, 77, 11, 10, 40 + electron_mass, momentum, (10, 0, 0), 2.0, -11, 6, 201))
    with h5py.File(path, "w") as file:
        data = np.array(steps, EDEP_SEGMENTS)
        file["segments"] = data[[name for name in EDEP_SEGMENTS.names if name not in missing]]
        if "trajectories" not in missing:
            file["trajectories"] = np.array(trajectories, EDEP_TRAJECTORIES)
    return path
