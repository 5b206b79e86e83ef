"""Sections of the simulation: what is generated in the box, and how it is transported."""

from typing import Literal, Self

from pydantic import Field, model_validator

from lartpc.config.base import Counts, Range, Section, Vector, Weight


class ParticleGroup(Section):
    """One kind of particle that a generator draws from."""

    pdg: tuple[int, ...] = Field(description="PDG codes, drawn with equal probability")
    weight: float = Field(gt=0, description="relative probability of the group")
    max_count: int = Field(ge=1, description="most particles of the group in one vertex")
    kinetic_energy_mev: Range = Field(description="uniform range of the kinetic energy [MeV]")


VERTEX_GROUPS = (
    ParticleGroup(pdg=(11, -11, 13, -13), weight=3, max_count=1, kinetic_energy_mev=(10, 2750)),
    ParticleGroup(pdg=(111,), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(211, -211), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(2212,), weight=3, max_count=4, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(22,), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
)
MPR_GROUPS = (
    ParticleGroup(pdg=(13, -13), weight=5, max_count=5, kinetic_energy_mev=(10, 10_000)),
    ParticleGroup(pdg=(13, -13), weight=5, max_count=5, kinetic_energy_mev=(10, 500)),
    ParticleGroup(pdg=(11, -11), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(22,), weight=2, max_count=3, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(2212,), weight=1, max_count=5, kinetic_energy_mev=(10, 400)),
)
# Groups and weights are those of the MPV and MPR generators of SBND and ICARUS (LArSoft), numbers and
# energies lie between theirs, such that each class has about as many voxels as in PILArNet-M
# (docs/explanation/simulation.md, "The class mix").


class Generator(Section):
    """A generator: how many particles, of which kinds."""

    num_particles: Counts = Field(description="fewest and most particles, uniform")
    groups: tuple[ParticleGroup, ...] = Field(description="kinds of particles")


class Gun(Section):
    """One particle an event."""

    pdg: tuple[int, ...] = Field((13,), description="PDG codes, drawn with equal probability")
    kinetic_energy_mev: Range = Field((1000, 1000), description="uniform range of the kinetic energy [MeV]")
    momentum_mev_c: Range | None = Field(
        None, description="uniform range of the momentum instead; null: kinetic_energy_mev holds [MeV/c]"
    )
    position_cm: Vector | None = Field(
        None,
        description="start from the centre of the box [cm]; null: anywhere `wall_margin_cm` off the walls",
    )
    direction: Vector | None = Field(None, description="direction, of any length; null: isotropic")


class Cosmic(Section):
    """Cosmic muons that come from above (along y) over the particles of the vertex."""

    window_us: float = Field(
        2800,
        ge=0,
        description="time during which muons cross the box; 2800: a drift before and one after [us]",
    )


class Placement(Section):
    """Where interactions of generators' files happen, in the coordinates of the box (0: its centre)."""

    mode: Literal["uniform", "file"] = Field(
        "uniform",
        description="uniform: anywhere from `low_cm` to `high_cm`, or by the densities; file: where the file says",
    )
    low_cm: Vector | None = Field(None, description="lower corner [cm]; null: that of the box")
    high_cm: Vector | None = Field(None, description="upper corner [cm]; null: that of the box")
    density_x: tuple[Weight, ...] = Field(
        (), description="relative density in slices of equal width along x, from low to high; empty: uniform"
    )
    density_y: tuple[Weight, ...] = Field((), description="the same along y")
    density_z: tuple[Weight, ...] = Field((), description="the same along z")
    origin_cm: Vector = Field(
        (0.0, 0.0, 0.0), description="with `mode: file`, the file's coordinates of the centre of the box [cm]"
    )


class GeneratorFiles(Section):
    """Neutrino interactions from files of a generator, each used once."""

    kind: Literal["nuhepmc", "gst", "rootracker"] = Field(
        "nuhepmc",
        description="nuhepmc: HepMC3 text with the conventions of NuHepMC; gst, rootracker: trees of GENIE",
    )
    files: tuple[str, ...] = Field(
        (), description="paths or patterns; a sample with the source `nuhepmc:PATTERN` names its own"
    )
    mean_interactions: float | None = Field(
        None, gt=0, description="interactions of a spill, on average (Poisson); null: one in each event"
    )
    spill_us: float = Field(0.0, ge=0, description="time over which the interactions of a spill spread [us]")
    overlay: tuple[Literal["cosmic", "mpr"], ...] = Field(
        (), description="what is overlaid on each event: cosmic muons, isolated particles (MPR)"
    )
    vertex: Placement = Placement.model_construct()


GENERATOR_FILES: tuple[str, ...] = ("nuhepmc", "gst", "rootracker")
"""Kinds of files of generators, as in the sources of sample sheets."""

GENERATORS: dict[str, tuple[str, ...]] = {
    "mpvmpr": ("vertex", "mpr"),
    "gun": ("gun",),
    "cosmic": ("vertex", "cosmic"),
}
"""The sections that each generator reads."""


class Simulate(Section):
    """Geant4: what is generated in a box of liquid argon, and how it is transported."""

    generator: Literal["mpvmpr", "gun", "cosmic"] | GeneratorFiles = Field(
        "mpvmpr",
        description="mpvmpr: a vertex (MPV) and isolated particles (MPR); gun: one particle; cosmic: a vertex and "
        "cosmic muons; or the settings "
        "`generator.*` of interactions from files",
    )
    box_cm: float = Field(230.4, gt=0, description="side of the liquid-argon box [cm]")
    wall_margin_cm: float = Field(30.0, ge=0, description="least distance of the vertex to a wall [cm]")
    production_cut_mm: float = Field(0.3, gt=0, description="Geant4 production cut [mm]")
    max_step_mm: float = Field(3.0, gt=0, description="longest step of a charged particle [mm]")
    hadrons: Literal["FTFP_BERT", "QGSP_BIC"] = Field(
        "FTFP_BERT",
        description="Geant4's models of the inelastic reactions of hadrons, as its physics lists call them",
    )
    vertex: Generator = Field(
        Generator(num_particles=(2, 6), groups=VERTEX_GROUPS),
        description="particles that share one vertex (MPV, multi-particle vertex)",
    )
    mpr: Generator = Field(
        Generator(num_particles=(2, 4), groups=MPR_GROUPS),
        description="isolated particles, each uniform in the box (MPR, multi-particle rain)",
    )
    gun: Gun = Gun.model_construct()
    cosmic: Cosmic = Cosmic.model_construct()

    @property
    def reads(self) -> tuple[str, ...]:
        """The sections that the chosen generator reads."""
        if isinstance(self.generator, GeneratorFiles):
            return self.generator.overlay
        return GENERATORS[self.generator]

    def reading(self, source: str) -> Self:
        """Return the settings with files of a generator, `kind:pattern`; what else is set of those stays.

        Raises
        ------
        ValueError
            There is no such kind of files.
        """
        kind, _, pattern = source.partition(":")
        now = self.generator if isinstance(self.generator, GeneratorFiles) else GeneratorFiles()
        if kind not in GENERATOR_FILES or not pattern:
            raise ValueError(
                f"generator '{source}' must be {', '.join(GENERATOR_FILES)} with a colon and a pattern"
            )
        generator = GeneratorFiles.model_validate(now.model_dump() | {"kind": kind, "files": (pattern,)})
        return self.model_copy(update={"generator": generator})

    @model_validator(mode="after")
    def _no_setting_without_effect(self) -> Self:
        read = self.reads
        name_of_generator = (
            self.generator.kind if isinstance(self.generator, GeneratorFiles) else self.generator
        )
        for name in sorted({name for names in GENERATORS.values() for name in names} - set(read)):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} has no effect with generator '{name_of_generator}', which reads "
                    f"{', '.join(read) or 'its files only (see overlay)'}; remove it or choose another generator"
                )
        return self
