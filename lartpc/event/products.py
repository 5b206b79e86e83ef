"""THE contract: every product of an event, with its columns, their dtype, shape, unit and meaning.

Positions are in voxel units of the image's box (`geometry.Box`), energies in MeV, times in ns. An event
here is one image: in 3D an event of the source, in 2D its view by one plane of wires, whose voxels are
pixels in a box one layer thick (docs/explanation/projections.md).
The tables at the end of the chain are in cm. An index column (`particle`, `fragment`, ...) is the
row of that product in the same event, or `vocab.NONE`.
"""

from math import nan

from lartpc.event.beside import BESIDE
from lartpc.event.columns import Column, Product, code, index, pdg, record, scalar, vector
from lartpc.vocab import (
    MAX_COUNT,
    MAX_PLANES,
    NO_AFFINITY,
    NONE,
    NUM_DIRECTIONS,
    CreationProcess,
    Current,
    Flavour,
    InteractionMode,
    PointKind,
    Semantic,
    Species,
)

SCHEMA_VERSION = "1.12"
"""Major: readers must change. Minor: something was added. History: 1.0, 2026-11, first version;
1.1, 2026-11, `event.energy_lost_mev`; 1.2, 2026-11, kaons; orientation, parents and π⁰ in `identity`, flavour and
counts in `interaction`; `event.plane` and flat boxes; 1.3, 2026-11, `semantic.uncertainty`,
`semantic.ghost_score`, ghosts; 1.4, 2026-11, digests of all columns and a seal on the attributes; 1.5, 2026-11,
`truth_neutrino`, `truth_primary`; 1.6, 2026-11, `particle.class_score`; 1.7, 2026-11, `candidate`, `final_point`, ends
in `identity`; 1.8, 2026-11, `image`, `interaction_image`, `origin`, `detection`; 1.9, 2026-11, `plane_hit`;
1.10, 2026-11, class in `identity`; 1.11, 2026-11, `plane_hit.wire`, `pairing`; 1.12, 2026-11, `affinity`."""

_NUM_VOXELS = scalar("i4", "", "number of voxels")
_ENERGY = scalar("f4", "MeV", "deposited energy, summed over the voxels")
_SEMANTIC = code(Semantic, "voxel class")
_VOXEL_CLASS = "; -1: none, -2: a ghost, which no deposit made"
_START = vector("voxel", "start point")
_END = vector("voxel", "end point; of a shower, the voxel farthest from its start")

PRODUCTS: dict[str, Product] = {
    # -- written by ingest ---------------------------------------------------------------------
    "event": Product(
        "the event (one row)",
        {
            "run": scalar("i8", "", "run number in the source, 0 where it has none"),
            "subrun": scalar("i8", "", "subrun number in the source, 0 where it has none"),
            "event": scalar("i8", "", "event number in the source; it may repeat"),
            "plane": Column("i4", "", "plane of wires that the image is seen by; -1: a 3D image", none=NONE),
            "num_steps": scalar("i8", "", "energy-depositing steps, or voxels, read from the source"),
            "energy_mev": scalar("f8", "MeV", "energy of all steps, or voxels, of the source"),
            "energy_outside_mev": scalar("f8", "MeV", "of it, energy outside the imaged box"),
            "energy_below_mev": scalar("f8", "MeV", "of it, energy in voxels below the threshold"),
            "energy_lost_mev": scalar(
                "f8", "MeV", "of it, what the detector's response takes away; negative: it adds"
            ),
        },
    ),
    "voxel": Product(
        "a voxel with energy, sorted by coordinate (x slowest)",
        {
            "coord": Column("i4", "voxel", "voxel indices x, y, z", shape=(3,)),
            "energy": scalar("f4", "MeV", "deposited energy"),
        },
    ),
    "plane_hit": Product(
        "hits of wire planes that a 3D point is made of (images of `ingest.tomography` and `wires.space_points` only)",
        {
            "charge": Column(
                "f4",
                "MeV",
                "charge of the wire that sees it at its time, by plane; 0: none does",
                shape=(MAX_PLANES,),
                packed=False,
            ),
            "num_points": Column(
                "i4",
                "",
                "points that share this charge, it included, by plane; 0: no wire sees it",
                shape=(MAX_PLANES,),
            ),
            "wire": Column(
                "i4",
                "",
                "wire that sees it, by plane, counted from the centre of the box; where none does, 0",
                shape=(MAX_PLANES,),
            ),
        },
        per="voxel",
    ),
    "truth_voxel": Product(
        "true labels of a voxel",
        {
            "semantic": code(Semantic, f"voxel class{_VOXEL_CLASS}"),
            "fragment": index("truth_fragment"),
            "particle": index("truth_particle"),
            "interaction": index("truth_interaction"),
        },
        per="voxel",
    ),
    "truth_fragment": Product(
        "a connected piece of a true particle",
        {
            "semantic": _SEMANTIC,
            "particle": index("truth_particle"),
            "interaction": index("truth_interaction"),
            "is_primary": scalar(
                "i1", "", "1: the piece of its particle that comes first in time; -1: not known"
            ),
            "num_voxels": _NUM_VOXELS,
            "energy": _ENERGY,
            "start_point": _START,
            "end_point": _END,
        },
    ),
    "truth_particle": Product(
        "a true particle with voxels; a shower is one particle with all its descendants",
        {
            "track_id": scalar("i8", "", "identifier in the source"),
            "parent_track_id": scalar("i8", "", "identifier of the parent in the source; -1: none"),
            "pdg": scalar("i4", "", "PDG code"),
            "species": code(Species, "species; -1: none of them"),
            "semantic": _SEMANTIC,
            "process": code(CreationProcess, "creation process"),
            "interaction": index("truth_interaction"),
            "is_primary": scalar("i1", "", "1: leaves the vertex of its interaction; -1: not known"),
            "num_voxels": _NUM_VOXELS,
            "energy": _ENERGY,
            "energy_init": scalar("f4", "MeV", "kinetic energy at creation"),
            "momentum": vector("MeV/c", "momentum at creation"),
            "start_point": _START,
            "end_point": _END,
            "time": scalar("f8", "ns", "time of creation"),
        },
    ),
    "truth_interaction": Product(
        "a true interaction: everything that comes from one generated vertex",
        {
            "vertex": vector("voxel", "position of the vertex; it may lie outside the box"),
            "num_particles": scalar("i4", "", "particles with voxels"),
            "num_primaries": scalar("i4", "", "primary particles with voxels; -1: not known"),
            "energy": _ENERGY,
        },
    ),
    "truth_point": Product(
        "a true end of a track, or start of a track, shower fragment, Michel or delta; the target of the PPN",
        {
            "position": vector("voxel", "position"),
            "semantic": code(Semantic, "class of the track or fragment"),
            "kind": code(PointKind, "start or end"),
            "particle": index("truth_particle"),
        },
    ),
    "truth_neutrino": Product(
        "a neutrino that interacts, as its generator recorded it, whether or not it leaves voxels",
        {
            "interaction": index("truth_interaction"),
            "pdg": pdg("PDG code of the neutrino"),
            "energy": record("MeV", "energy of the neutrino"),
            "momentum": Column("f8", "MeV/c", "momentum of the neutrino", shape=(3,), none=nan),
            "current": code(Current, "charged or neutral current"),
            "mode": code(InteractionMode, "kind of the interaction"),
            "process": Column("i4", "", "the generator's number of the process; -1: none", none=NONE),
            "target_pdg": pdg("PDG code of the struck nucleus"),
            "nucleon_pdg": pdg("PDG code of the struck nucleon"),
            "quark_pdg": pdg("PDG code of the struck quark"),
            "q2": record("GeV²", "Q², minus the square of the four-momentum transfer"),
            "w": record("MeV", "invariant mass W of the hadrons"),
            "bjorken_x": record("", "Bjorken x"),
            "inelasticity": record("", "inelasticity y"),
            "energy_transfer": record("MeV", "energy transfer q0"),
            "momentum_transfer": record("MeV/c", "magnitude of the momentum transfer q3"),
            "lepton_pdg": pdg("PDG code of the outgoing lepton"),
            "lepton_track_id": Column("i8", "", "its identifier in the source; -1: none", none=NONE),
            "lepton_energy": record("MeV", "its total energy"),
            "lepton_momentum": Column("f8", "MeV/c", "its momentum", shape=(3,), none=nan),
            "lepton_angle": record("rad", "angle between lepton and neutrino"),
            "vertex": Column("f8", "cm", "position in the detector, for views, too", shape=(3,), none=nan),
            "time": record("ns", "time of the interaction"),
            "weight": record("", "weight that the generator asks for (its central value)"),
            "cross_section": record(
                "pb", "total cross section of its file, averaged over the flux, per atom"
            ),
            "cross_section_error": record("pb", "error of it"),
            "pot": record("", "protons on target that its file stands for"),
            "file": Column("i4", "", "number of its file among those of the source; -1: none", none=NONE),
            "entry": Column("i8", "", "number of the interaction in that file from 0; -1: none", none=NONE),
            "event": Column("i8", "", "event number in that file; -1: none", none=NONE),
            "num_final": Column("i4", "", "particles of the final state; -1: not known", none=NONE),
            "num_not_shot": Column("i4", "", "of them, those that were not simulated", none=NONE),
            "energy_deposited": record("MeV", "energy that it deposits, in the box and outside"),
        },
    ),
    "truth_primary": Product(
        "a particle that leaves a generated vertex, whether or not it leaves voxels",
        {
            "neutrino": index("truth_neutrino"),
            "interaction": index("truth_interaction"),
            "track_id": scalar("i8", "", "identifier in the source"),
            "pdg": pdg("PDG code"),
            "energy_init": record("MeV", "kinetic energy at creation"),
            "momentum": Column("f8", "MeV/c", "momentum at creation", shape=(3,), none=nan),
        },
    ),
    # -- written by segment --------------------------------------------------------------------
    "semantic": Product(
        "predicted class of a voxel",
        {
            "score": Column(
                "f4", "", "score of each voxel class, 1 in all", shape=(len(Semantic),), packed=False
            ),
            "label": code(Semantic, f"class of the highest score times label weight{_VOXEL_CLASS}"),
            "uncertainty": Column(
                "f4",
                "",
                "epistemic uncertainty, 0 to 1: the disagreement of passes with dropout (mutual "
                "information over log 5), or the uncertainty mass of a Dirichlet output; nan: neither was on",
                none=nan,
            ),
            "ghost_score": Column(
                "f4", "", "score that no deposit made the voxel; nan: the network does not say", none=nan
            ),
        },
        per="voxel",
    ),
    "proposal": Product(
        "a raw point proposal of the PPN above a low floor",
        {
            "position": Column("f4", "voxel", "proposed position", shape=(3,), packed=False),
            "score": Column("f4", "", "score that a true point is near", packed=False),
            "class_score": Column(
                "f4", "", "softmax score of each class", shape=(len(Semantic),), packed=False
            ),
            "end_score": Column("f4", "", "score of end against start", packed=False),
        },
    ),
    "affinity": Product(
        "whether a voxel and its neighbours in 13 directions (`lartpc.affinities`) are of one particle",
        {
            "logit": Column(
                "i1", "1/16", "logit by direction; -128: not known", (NUM_DIRECTIONS,), none=NO_AFFINITY
            )
        },
        per="voxel",
    ),
    # -- written by points ---------------------------------------------------------------------
    "point": Product(
        "a predicted start or end of a particle",
        {
            "position": vector("voxel", "position"),
            "score": scalar("f4", "", "score that the point is real"),
            "class_score": Column("f4", "", "score of each class", shape=(len(Semantic),)),
            "semantic": code(Semantic, "class of the highest score"),
            "end_score": scalar("f4", "", "score of end against start"),
            "kind": code(PointKind, "start or end"),
        },
    ),
    "candidate": Product(
        "another place for the point of a shower, Michel or delta",
        {
            "position": vector("voxel", "position"),
            "score": scalar("f4", "", "score that the point is there"),
            "point": index("point"),
        },
    ),
    # -- written by cluster --------------------------------------------------------------------
    "group": Product(
        "membership of a voxel",
        {"fragment": index("fragment"), "particle": index("particle")},
        per="voxel",
    ),
    "fragment": Product(
        "a connected piece of one class, of a track with the voxels called delta that it is bridged over",
        {
            "semantic": _SEMANTIC,
            "particle": index("particle"),
            "primary_score": scalar("f4", "", "score that it is the first piece of its particle"),
            "num_voxels": _NUM_VOXELS,
            "energy": _ENERGY,
            "start_point": _START,
            "end_point": _END,
        },
    ),
    "particle": Product(
        "a reconstructed particle",
        {
            "semantic": _SEMANTIC,
            "num_voxels": _NUM_VOXELS,
            "class_score": Column(
                "f4",
                "",
                "mean score of each voxel class over its voxels; nan: not known",
                shape=(len(Semantic),),
                none=nan,
            ),
            "num_fragments": scalar("i4", "", "number of fragments"),
            "energy": _ENERGY,
            "start_point": _START,
            "end_point": _END,
            "start_direction": vector("", "unit vector at the start; 0 where undefined"),
        },
    ),
    # -- written by interact -------------------------------------------------------------------
    "identity": Product(
        "what a reconstructed particle is",
        {
            "interaction": index("interaction"),
            "semantic": code(Semantic, "class, with all that is known"),
            "semantic_score": Column(
                "f4",
                "",
                "score of shower, track, Michel and delta by what is around it; nan: not known",
                shape=(int(Semantic.LOW_ENERGY),),
                none=nan,
            ),
            "species": code(Species, "species of the highest score"),
            "species_score": Column("f4", "", "score of each species", shape=(len(Species),)),
            "is_primary": scalar("i1", "", "1: leaves the vertex of its interaction"),
            "primary_score": scalar("f4", "", "score of primary"),
            "is_turned": scalar("i1", "", "1: a track that starts at its `end_point`"),
            "turned_score": scalar("f4", "", "score that it does; 0 for all but tracks"),
            "start_point": Column("f4", "voxel", "start point, with all that is known", shape=(3,), none=nan),
            "end_point": Column(
                "f4",
                "voxel",
                "the other end; of all but tracks, the voxel farthest from the start",
                shape=(3,),
                none=nan,
            ),
            "parent": index("particle"),
            "parent_score": scalar("f4", "", "score of the parent, or of having none"),
            "generation": scalar("i4", "", "number of ancestors among the particles"),
            "pi_zero": Column(
                "i4", "", "number of the π⁰ in this event that it is a photon of; -1: none", none=NONE
            ),
            "pi_zero_score": scalar("f4", "", "largest score of sharing a π⁰ with another particle"),
        },
        per="particle",
    ),
    "final_point": Product(
        "where a point lies, chosen again among its candidates when particles and vertices are known",
        {
            "position": Column("f4", "voxel", "position; nan: not chosen again", shape=(3,), none=nan),
            "score": scalar("f4", "", "score that the point is there"),
        },
        per="point",
    ),
    "interaction": Product(
        "a reconstructed interaction",
        {
            "vertex": vector("voxel", "position of the vertex"),
            "num_particles": scalar("i4", "", "number of particles"),
            "num_primaries": scalar("i4", "", "number of primary particles"),
            "energy": _ENERGY,
            "flavour": code(Flavour, "flavour-like class of the highest score"),
            "flavour_score": Column("f4", "", "score of each flavour-like class", shape=(len(Flavour),)),
            **{
                f"num_{name}s_score": Column(
                    "f4",
                    "",
                    f"score of each number of primary {word} from 0; the last is for more, too",
                    shape=(MAX_COUNT + 1,),
                )
                for name, word in (("proton", "protons"), ("pion", "charged pions"), ("pi_zero", "π⁰"))
            },
        },
    ),
    **BESIDE,
}

IMAGE = ("event", "voxel")
"""What ingest writes for every source."""

SEEN = ("plane_hit",)
"""What it writes besides of images of points that are made of planes of wires."""

TRUTH = (
    "truth_voxel",
    "truth_fragment",
    "truth_particle",
    "truth_interaction",
    "truth_point",
)
"""What ingest writes besides, as far as the source has it; numbers that it does not state are nan."""

GENERATED = ("truth_neutrino", "truth_primary")
"""What ingest writes of generated interactions, for sources that know it; it needs no voxels."""

CLASSIFIED = ("image", "interaction_image")
"""What the optional stage `classify` writes; a production without it has none."""

PROPOSED = ("proposal", "affinity", "candidate")
"""What only later stages read: neither tables nor figures need it."""
