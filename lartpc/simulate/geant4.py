"""Geant4 in a box of liquid argon: `python -m lartpc.simulate.geant4`, started by `lartpc.run.simulate`.

A program of its own, because Geant4 aborts its process on a fatal error and prints at will. It writes
the steps that deposit energy, and all trajectories, to an HDF5 file (`docs/explanation/simulation.md`), and
tells about its progress on a pipe: a line "event" per event, or "error: " and what the user must mend.
"""

# Classes of Geant4 have no types, and actions are made by deriving from them.
# mypy: disallow-subclassing-any=False

import argparse
import json
import os
import sys
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.faults import EXIT_STATUS, in_one_line, passes
from lartpc.neutrinos import files
from lartpc.neutrinos.record import FIRST_NUCLEUS, FIRST_PSEUDO, Interaction
from lartpc.provenance import fingerprints
from lartpc.simulate import argon, neutrinos
from lartpc.simulate.generators import check, event_seeds, kinds, overlay, primaries
from lartpc.simulate.primary import Primary
from lartpc.simulate.steps import SEGMENTS, TRAJECTORIES, StepsWriter

DATA_DIR, DATA_LABEL = argon.data_dir()
# Importing Geant4 without this asks on the terminal whether to download its data.
os.environ[argon.ENVIRONMENT] = str(DATA_DIR)

import geant4_pybind as g4  # noqa: E402

BEFORE_HADRONS = (
    g4.G4EmStandardPhysics,
    g4.G4DecayPhysics,
    g4.G4StoppingPhysics,
    g4.G4HadronElasticPhysics,
)
AFTER_HADRONS = (g4.G4IonPhysics, g4.G4StepLimiterPhysics)
HADRONS = {"FTFP_BERT": g4.G4HadronPhysicsFTFP_BERT, "QGSP_BIC": g4.G4HadronPhysicsQGSP_BIC}
"""Inelastic reactions of hadrons, by the setting `simulate.hadrons`."""


def packer(dtype: np.dtype[Any]) -> Any:
    """Return a function that packs the fields of a record, all in a row, into its bytes."""
    codes = {"i": "i", "f": "f", "d": "d", "S": "s"}
    parts = []
    for name in dtype.names or ():
        base, shape = dtype[name].base, dtype[name].shape
        count = base.itemsize if base.char == "S" else int(np.prod(shape))
        parts.append(f"{count}{codes[base.char]}")
    packed = Struct("=" + "".join(parts))
    assert packed.size == dtype.itemsize
    return packed.pack


PACK_SEGMENT, PACK_TRAJECTORY = packer(SEGMENTS), packer(TRAJECTORIES)
NO_EVENT = 0
"""In the place of the event's number, which the writer sets."""

GET_X, GET_Y, GET_Z = g4.G4ThreeVector.getX, g4.G4ThreeVector.getY, g4.G4ThreeVector.getZ


def xyz(vector: Any) -> tuple[float, float, float]:
    """Return the components of a vector; its properties x, y, z take twice as long."""
    return GET_X(vector), GET_Y(vector), GET_Z(vector)


class Record:
    """What is kept of the event in flight, as packed rows: Python is called at every step.

    `track` is number, PDG code and neutrality of the particle in flight, `last` where its last step
    ended, None if nobody asked.
    """

    def __init__(self) -> None:
        self.shot: list[Primary] = []
        self.neutrinos: list[dict[str, Any]] = []
        self.segments: list[bytes] = []
        self.trajectories: list[bytes] = []
        self.interaction: dict[int, int] = {}
        self.track = (0, 0, False)
        self.last: tuple[float, float, float] | None = None

    def clear(self, shot: list[Primary], neutrinos: list[dict[str, Any]]) -> None:
        """Begin an event with these primaries, and these rows of `truth_neutrino`."""
        self.shot, self.neutrinos = shot, neutrinos
        self.segments.clear()
        self.trajectories.clear()
        self.interaction.clear()


def liquid_argon() -> Any:
    """Return Geant4's material of that name."""
    return g4.G4NistManager.Instance().FindOrBuildMaterial("G4_lAr")


def material_attrs() -> dict[str, float]:
    """Return what Geant4 holds liquid argon to be, for the file of steps."""
    material = liquid_argon()
    return {
        "density_g_cm3": material.GetDensity() / (g4.g / g4.cm3),
        "radiation_length_cm": material.GetRadlen() / g4.cm,
        "interaction_length_cm": material.GetNuclearInterLength() / g4.cm,
        "mean_excitation_energy_ev": material.GetIonisation().GetMeanExcitationEnergy() / g4.eV,
    }


class Box(g4.G4VUserDetectorConstruction):
    """A cube of liquid argon around the origin and nothing else."""

    def __init__(self, side_cm: float, max_step_mm: float) -> None:
        super().__init__()
        self._side_cm = side_cm
        self._max_step_mm = max_step_mm

    def Construct(self) -> Any:
        """Build the geometry."""
        half = self._side_cm / 2 * g4.cm
        self._solid = g4.G4Box("argon", half, half, half)
        self._volume = g4.G4LogicalVolume(self._solid, liquid_argon(), "argon")
        # Unlimited, a muon loses its energy in steps of 7 cm, and the fluctuations from voxel to voxel are lost.
        self._limits = g4.G4UserLimits(self._max_step_mm * g4.mm)
        self._volume.SetUserLimits(self._limits)
        return g4.G4PVPlacement(None, g4.G4ThreeVector(), self._volume, "argon", None, False, 0, False)


class Physics(g4.G4VModularPhysicsList):
    """A physics list with the standard electromagnetic physics, without photo-nuclear reactions."""

    def __init__(self, production_cut_mm: float, hadrons: str) -> None:
        super().__init__()
        self.SetVerboseLevel(0)
        for constructor in (*BEFORE_HADRONS, HADRONS[hadrons], *AFTER_HADRONS):
            self.RegisterPhysics(constructor())
        self.SetDefaultCutValue(production_cut_mm * g4.mm)


Spills = list[tuple[Interaction, ...]]
"""The interactions of each event; empty where the generator reads no files."""


def definition_of(pdg: int) -> Any:
    """Return what Geant4 holds a particle or nucleus to be, None if it does not know it."""
    if FIRST_NUCLEUS <= pdg < FIRST_PSEUDO:
        number, mass = pdg // 10_000 % 1000, pdg // 10 % 1000
        return g4.G4IonTable.GetIonTable().GetIon(number, mass, 0.0) if 0 < number <= mass else None
    return g4.G4ParticleTable.GetParticleTable().FindParticle(pdg)


@cache
def is_known(pdg: int) -> bool:
    """Tell whether Geant4 knows a particle or nucleus."""
    return definition_of(pdg) is not None


class Gun(g4.G4VUserPrimaryGeneratorAction):
    """Shoot the primaries of each event; everything random in it starts from the event's own seed."""

    def __init__(self, cfg: config.Simulate, seed: int, record: Record, spills: Spills) -> None:
        super().__init__()
        self._cfg, self._seed, self._record, self._spills = cfg, seed, record, spills
        self._gun = g4.G4ParticleGun(1)

    def GeneratePrimaries(self, event: Any) -> None:
        """Add one vertex per primary, so that primary i becomes track i + 1."""
        seed, transport_seed = event_seeds(self._seed, event.GetEventID())
        g4.G4Random.setTheSeed(transport_seed)
        rng, from_files = np.random.default_rng(seed), neutrinos.from_files(self._cfg)
        if from_files:
            interactions = self._spills[event.GetEventID()]
            shot, rows = neutrinos.shoot(from_files, self._cfg.box_cm, interactions, rng, is_known)
            for name in from_files.overlay:
                first = max([len(rows), *(primary.interaction + 1 for primary in shot)])
                shot += overlay(self._cfg, name, first, rng)
        else:
            shot, rows = primaries(self._cfg, rng), []
        self._record.clear(shot, rows)
        for primary in shot:
            position = (x * g4.cm for x in primary.position_cm)
            self._gun.SetParticleDefinition(definition_of(primary.pdg))
            self._gun.SetParticleEnergy(primary.kinetic_energy_mev * g4.MeV)
            self._gun.SetParticlePosition(g4.G4ThreeVector(*position))
            self._gun.SetParticleMomentumDirection(g4.G4ThreeVector(*primary.direction))
            self._gun.SetParticleTime(primary.time_ns * g4.ns)
            self._gun.GeneratePrimaryVertex(event)


class Tracking(g4.G4UserTrackingAction):
    """Record each trajectory at its birth."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        # By the wrapper, which as a key stays alive, so that Geant4's object keeps coming in the same.
        self._kinds: dict[Any, tuple[int, bool]] = {}
        self._process_names: dict[Any, bytes] = {None: b"primary"}

    def PreUserTrackingAction(self, track: Any) -> None:
        """Record a track and its interaction; parents always come before their children."""
        record = self._record
        number = track.GetTrackID()
        definition = track.GetParticleDefinition()
        kind = self._kinds.get(definition)
        if kind is None:
            kind = definition.GetPDGEncoding(), definition.GetPDGCharge() == 0
            self._kinds[definition] = kind
        record.track = number, *kind
        record.last = x, y, z = xyz(track.GetPosition())
        if number in record.interaction:  # a suspended track goes on
            return
        parent = track.GetParentID()
        process = track.GetCreatorProcess()
        if process not in self._process_names:
            self._process_names[process] = process.GetProcessName().encode()
        interaction = record.interaction[parent] if parent else record.shot[number - 1].interaction
        record.interaction[number] = interaction
        what = (NO_EVENT, number, parent, kind[0], self._process_names[process], track.GetKineticEnergy())
        where = (x, y, z, *xyz(track.GetMomentum()), track.GetGlobalTime())
        record.trajectories.append(PACK_TRAJECTORY(*what, *where, interaction))


class Stepping(g4.G4UserSteppingAction):
    """Record each step that deposits energy."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        self._append = record.segments.append
        self._step: Any = None

    def _bind(self, step: Any) -> None:
        """Look up once what is called at every step: Geant4 has one step object and fills it anew."""
        self._step = step
        before, self._after = step.GetPreStepPoint(), step.GetPostStepPoint()
        self._energy, self._length = step.GetTotalEnergyDeposit, step.GetStepLength
        self._time_before, self._position_before = before.GetGlobalTime, before.GetPosition
        self._time_after, self._position_after = self._after.GetGlobalTime, self._after.GetPosition

    def UserSteppingAction(self, step: Any) -> None:
        """Record a step; a neutral particle deposits where its step ends, not along it."""
        if step is not self._step:
            self._bind(step)
        record = self._record
        energy = self._energy()
        if energy <= 0:
            record.last = None
            return
        start = record.last
        record.last = end = xyz(self._position_after())
        number, pdg, neutral = record.track
        if neutral:
            row = PACK_SEGMENT(NO_EVENT, number, pdg, *end, *end, energy, 0.0, self._time_after())
        else:
            start = start or xyz(self._position_before())
            way = (*start, *end, energy, self._length(), self._time_before())
            row = PACK_SEGMENT(NO_EVENT, number, pdg, *way)
        self._append(row)


class Events(g4.G4UserEventAction):
    """Hand each finished event to the file, and say so."""

    def __init__(self, seed: int, record: Record, writer: StepsWriter, progress_fd: int) -> None:
        super().__init__()
        self._seed, self._record, self._writer, self._progress_fd = seed, record, writer, progress_fd

    def EndOfEventAction(self, event: Any) -> None:
        """Write the event."""
        number, record = event.GetEventID(), self._record
        segments = rows_of(record.segments, SEGMENTS)
        trajectories = rows_of(record.trajectories, TRAJECTORIES)
        transport_seed = event_seeds(self._seed, number)[1]
        self._writer.add(number, transport_seed, record.shot, segments, trajectories, record.neutrinos)
        # With nobody left to read it, this raises and ends the run.
        os.write(self._progress_fd, b"event\n")


def rows_of(packed: list[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Turn packed rows into records."""
    return np.frombuffer(bytearray().join(packed), dtype)


class Actions(g4.G4VUserActionInitialization):
    """Install the actions."""

    def __init__(self, *actions: Any) -> None:
        super().__init__()
        self._actions = actions

    def Build(self) -> None:
        """Hand the actions to the run manager."""
        for action in self._actions:
            self.SetUserAction(action)


def check_particles(cfg: config.Simulate) -> None:
    """Refuse particles that Geant4 does not know; its particle table must be filled.

    Raises
    ------
    ValueError
        The message names the key and the particle.
    """
    table = g4.G4ParticleTable.GetParticleTable()
    for key, kind in kinds(cfg):
        for pdg in kind.pdg:
            if table.FindParticle(pdg) is None:
                raise ValueError(
                    f"{key}.pdg: Geant4 knows no particle {pdg}; use the PDG's Monte-Carlo numbers"
                )


def simulate(
    cfg: config.Simulate,
    num_events: int,
    seed: int,
    out: Path,
    progress_fd: int,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Simulate events into a file of steps; `share` says which interactions of the generator's files it takes.

    Raises
    ------
    ValueError
        No event can be drawn from the settings.
    RuntimeError
        Geant4 ended the run early.
    """
    check(cfg)
    g4.G4EmParameters.Instance().SetVerbose(0)
    g4.G4HadronicParameters.Instance().SetVerboseLevel(0)
    attrs = {
        "seed": seed,
        "geant4_version": f"{g4.G4VERSION_NUMBER // 100}.{g4.G4VERSION_NUMBER // 10 % 10}"
        f".{g4.G4VERSION_NUMBER % 10}",
        "geant4_data": DATA_LABEL,
        **material_attrs(),
    }
    from_files = neutrinos.from_files(cfg)
    paths = files.expand(from_files.files) if from_files else []
    spills: Spills = []
    if from_files:
        found = files.read(from_files.kind, paths, share)
        spills = neutrinos.spills(found, from_files.mean_interactions, num_events, seed)
        attrs["generator_files"] = json.dumps([path.name for path in paths])
        attrs["inputs"] = json.dumps(fingerprints(paths))
    record = Record()
    with StepsWriter(out, cfg, attrs) as writer:
        manager = g4.G4RunManagerFactory.CreateRunManager(g4.G4RunManagerType.SerialOnly)
        manager.SetVerboseLevel(0)
        box, physics = Box(cfg.box_cm, cfg.max_step_mm), Physics(cfg.production_cut_mm, cfg.hadrons)
        manager.SetUserInitialization(box)
        manager.SetUserInitialization(physics)
        # Geant4 refuses actions that exist before its physics.
        stepping = (Gun(cfg, seed, record, spills), Tracking(record), Stepping(record))
        actions = Actions(*stepping, Events(seed, record, writer, progress_fd))
        manager.SetUserInitialization(actions)
        manager.Initialize()
        check_particles(cfg)
        manager.BeamOn(num_events)
        if writer.num_events != num_events:
            raise RuntimeError(f"Geant4 stopped after {writer.num_events} of {num_events} events")


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m lartpc.simulate.geant4", description=main.__doc__)
    parser.add_argument("--config", required=True, help="the section 'simulate' as JSON")
    parser.add_argument("--num-events", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the file of steps")
    parser.add_argument(
        "--share", type=int, nargs=2, default=(0, 1), help="share i of n of the generator's files"
    )
    parser.add_argument("--progress-fd", type=int, default=2, help="open file to report progress on")
    options = parser.parse_args()
    try:
        cfg = config.Simulate.model_validate_json(options.config)
        share = tuple(options.share)
        simulate(cfg, options.num_events, options.seed, options.out, options.progress_fd, share)
    except Exception as error:
        code = 2 if isinstance(error, ValueError) else EXIT_STATUS
        if code != 2 and not passes(error):
            raise
        said = f"error: {error}" if code == 2 else f"passing: {in_one_line(error)}"
        os.write(options.progress_fd, f"{said}\n".encode())
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
