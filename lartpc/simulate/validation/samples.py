"""What is simulated for the validation: particles from one point in argon without an end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from lartpc import config
from lartpc.simulate.steps import DATASETS
from lartpc.simulate.validation.showers import ShowerTally, shower_tally
from lartpc.simulate.validation.tracks import TrackTally, track_tally

BOX_CM = 20_000.0
"""Side of the box, in which nothing reaches a wall."""

VERTEX_SPREAD_CM = 0.1
FEWEST_EVENTS = 4


class Sample(NamedTuple):
    """Particles that are shot together in each event, and how many events that takes."""

    name: str
    particles: tuple[tuple[int, float], ...]
    """PDG number and kinetic energy [MeV] of each."""
    is_shower: bool
    num_events_at_1_percent: int
    """Events for a statistical error of 1 % in the slowest figure (of tracks: of some 0.3 %)."""
    num_per_run: int
    """Events in one run of Geant4: some ten seconds."""

    def num_events(self, precision_percent: float) -> int:
        """Return how many events a precision takes."""
        return max(FEWEST_EVENTS, round(self.num_events_at_1_percent / precision_percent**2))

    def settings(self, cfg: config.Simulate) -> config.Simulate:
        """Return the settings of the simulation: those of `cfg` for the physics, and this sample's gun."""
        groups = tuple(
            config.ParticleGroup(pdg=(pdg,), weight=1, max_count=1, kinetic_energy_mev=(energy, energy))
            for pdg, energy in self.particles
        )
        num = len(groups)
        return config.Simulate(
            box_cm=BOX_CM,
            wall_margin_cm=BOX_CM / 2 - VERTEX_SPREAD_CM,
            production_cut_mm=cfg.production_cut_mm,
            max_step_mm=cfg.max_step_mm,
            vertex=config.Generator(num_particles=(num, num), groups=groups),
            mpr=config.Generator(num_particles=(0, 0), groups=()),
        )


MUON_MEV = (50.0, 100.0, 200.0, 400.0, 1000.0)
PROTON_MEV = (50.0, 100.0, 200.0, 400.0)
ELECTRON_MEV = (50.0, 500.0, 1000.0)

SAMPLES = (
    Sample("muons", tuple((-13, energy) for energy in MUON_MEV), False, 400, 60),
    # Two of three protons of 400 MeV meet a nucleus on their way.
    Sample("protons", tuple((2212, energy) for energy in (*PROTON_MEV, 400.0)), False, 300, 60),
    Sample("electrons of 50 MeV", ((11, 50.0),), True, 10_000, 600),
    Sample("electrons of 500 MeV", ((11, 500.0),), True, 1200, 120),
    Sample("electrons of 1000 MeV", ((11, 1000.0),), True, 800, 60),
)


class Measured(NamedTuple):
    """What was measured in all samples."""

    tracks: TrackTally
    showers: dict[float, ShowerTally]
    """By the energy of the electron [MeV]."""
    attrs: dict[str, Any]
    """Attributes of a file of steps: the material, Geant4's version and data."""


def measure(sample: Sample, path: Path, cfg: config.Simulate) -> Measured:
    """Return what is measured in a file of steps of a sample; it is read whole."""
    with h5py.File(path) as file:
        steps = {name: file[name][:] for name in DATASETS}
        attrs = dict(file.attrs)
    if sample.is_shower:
        return Measured(TrackTally.empty(), {sample.particles[0][1]: shower_tally(steps)}, attrs)
    return Measured(track_tally(steps, cfg.max_step_mm), {}, attrs)


def merge(parts: Sequence[Measured]) -> Measured:
    """Join what was measured in several files, in their order."""
    showers: dict[float, ShowerTally] = {}
    for part in parts:
        for energy, tally in part.showers.items():
            showers[energy] = showers[energy].plus(tally) if energy in showers else tally
    return Measured(TrackTally.joined([part.tracks for part in parts]), showers, parts[0].attrs)
