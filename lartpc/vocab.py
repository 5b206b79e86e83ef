"""The words of the field as integer enumerations, shared by every product, table and network."""

from enum import IntEnum

NONE = -1
"""The value of an index or class that does not exist: a voxel in no particle, a particle of no species."""

GHOST = -2
"""The class of a voxel that no deposit made: an artefact of making 3D points from wires. No later stage uses it."""

NUM_DIRECTIONS = 13
"""Pairs of a voxel with its neighbours, one of each two opposite directions; `lartpc.affinities` has their order."""

AFFINITY_STEPS = 16
"""An affinity is a logit that is kept in whole steps of one sixteenth."""

NO_AFFINITY = -128
"""The affinity of a pair that is not there, or of which nothing is known."""

MAX_PLANES = 3
"""Planes of wires whose hits are kept for each point; of a detector with more, the first."""

MAX_COUNT = 3
"""Largest number of protons, pions and π⁰ that is distinguished; it stands for more, too (arXiv:2006.15052)."""

MAX_CLASSES = 16
"""Most classes of one's own that whole images are told apart by (`classify.classes`)."""


class Semantic(IntEnum):
    """Voxel class, numbered as in PILArNet-M (arXiv:2502.02558)."""

    SHOWER = 0
    TRACK = 1
    MICHEL = 2
    DELTA = 3
    LOW_ENERGY = 4


class Origin(IntEnum):
    """What brought the charge of a voxel, numbered as by CosmicTagger (Front. Artif. Intell. 4 (2021) 649917)."""

    BACKGROUND = 0
    COSMIC = 1
    NEUTRINO = 2


class Species(IntEnum):
    """Particle species, numbered as in PILArNet-M v2 (arXiv:2512.01324); the kaon as in SPINE."""

    PHOTON = 0
    ELECTRON = 1
    MUON = 2
    PION = 3
    PROTON = 4
    KAON = 5


class Flavour(IntEnum):
    """What an interaction looks like by its leading lepton, as the DUNE CVN's flavours (arXiv:2006.15052)."""

    NUMU_LIKE = 0
    NUE_LIKE = 1
    NC_LIKE = 2


class Current(IntEnum):
    """What a neutrino exchanges: a W (charged current) or a Z (neutral current)."""

    CC = 0
    NC = 1


class InteractionMode(IntEnum):
    """How a neutrino interacts; the first fourteen are numbered as in LArSoft (`simb::int_type_`)."""

    QUASIELASTIC = 0
    RESONANCE = 1
    DEEP_INELASTIC = 2
    COHERENT = 3
    COHERENT_ELASTIC = 4
    ELECTRON_SCATTERING = 5
    INVERSE_MUON_DECAY = 6
    INVERSE_BETA_DECAY = 7
    GLASHOW_RESONANCE = 8
    ANOMALY_PHOTON = 9
    MESON_EXCHANGE = 10
    DIFFRACTIVE = 11
    ELECTROMAGNETIC = 12
    WEAK_MIX = 13
    SHALLOW_INELASTIC = 14
    HYPERON = 15
    OTHER = 16


class EnergyMethod(IntEnum):
    """How a kinetic energy was found."""

    CALORIMETRY = 0
    RANGE = 1
    SCATTERING = 2
    LOSS = 3


class PointKind(IntEnum):
    """Which end of its particle a point marks; showers have a start only."""

    START = 0
    END = 1


class CreationProcess(IntEnum):
    """How a particle came to be, in the classes that labelling needs."""

    PRIMARY = 0
    IONISATION = 1
    PHOTO_ELECTRIC = 2
    COMPTON = 3
    CONVERSION = 4
    BREMSSTRAHLUNG = 5
    ANNIHILATION = 6
    DECAY = 7
    CAPTURE = 8
    HADRONIC = 9
    OTHER = 10


PDG_TO_SPECIES = {
    22: Species.PHOTON,
    11: Species.ELECTRON,
    -11: Species.ELECTRON,
    13: Species.MUON,
    -13: Species.MUON,
    211: Species.PION,
    -211: Species.PION,
    2212: Species.PROTON,
    321: Species.KAON,
    -321: Species.KAON,
}
"""PDG codes (PDG review, section 45) to species; all others have none."""

SPECIES_TO_PDG = {species: pdg for pdg, species in PDG_TO_SPECIES.items() if pdg > 0}
"""PDG code that stands for each species, in their order; images do not tell charges, so it is the positive one."""

ELECTROMAGNETIC = (Semantic.SHOWER, Semantic.MICHEL, Semantic.DELTA)
"""Classes of electrons and photons: connected voxels are a piece with one start; tracks have ends, and meet others."""
