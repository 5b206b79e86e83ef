"""Columns of what was generated: neutrinos that interact, and the particles that leave generated vertices."""

import pyarrow as pa

from lartpc.tables.fields import Field, count, identifier, number, per, refer, text, word, xyz
from lartpc.vocab import Current, InteractionMode, Species

ABOVE = "above the thresholds of `summarize.thresholds`"
GENERATED_SPECIES = {
    "photons": "photons",
    "electrons": "electrons and positrons",
    "muons": "muons",
    "pions": "charged pions",
    "protons": "protons",
    "kaons": "charged kaons",
    "pi_zeros": "π⁰",
    "neutrons": "neutrons",
}
"""What is counted of the final state: the ending of the columns, and the words for it."""

TOPOLOGY_ABOVE = text(f"primaries of each species {ABOVE}, spelled as `topology`")


def above(what: str) -> dict[str, Field]:
    """Return the columns of numbers of primaries above thresholds, and their topology."""
    return {
        **per(Species, "num_primary_{}s_above", count, f"primary particles of species {{}} {ABOVE}{what}"),
        "topology_above": TOPOLOGY_ABOVE,
    }


def _precise(description: str, unit: str = "") -> Field:
    return Field(pa.float64(), f"{description}; null: not known", unit)


TRUTH_NEUTRINO = {
    "truth_neutrino_id": identifier("neutrino"),
    "truth_interaction_id": refer("truth_interactions", "true interaction that it makes in the image"),
    "neutrino_pdg": count("PDG code of the neutrino; 0: not known"),
    "neutrino_energy_mev": _precise("energy of the neutrino", "MeV"),
    **xyz("neutrino_momentum", "momentum of the neutrino", "MeV/c"),
    "current": word(Current, "charged or neutral current; null: not known"),
    "mode": word(InteractionMode, "kind of the interaction; null: not known"),
    "process_number": count("the generator's number of the process; -1: none"),
    "target_pdg": count("PDG code of the struck nucleus; 0: not known"),
    "nucleon_pdg": count("PDG code of the struck nucleon; 0: not known, or none"),
    "quark_pdg": count("PDG code of the struck quark; 0: not known, or none"),
    "q2_gev2": _precise("Q², minus the square of the four-momentum transfer", "GeV²"),
    "w_mev": _precise(
        "invariant mass W of the hadrons, of a nucleon at rest unless the source says another", "MeV"
    ),
    "bjorken_x": _precise("Bjorken x, of a nucleon at rest unless the source says another"),
    "inelasticity": _precise("inelasticity y"),
    "energy_transfer_mev": _precise("energy transfer q0", "MeV"),
    "momentum_transfer_mev_c": _precise("magnitude of the momentum transfer q3", "MeV/c"),
    "lepton_pdg": count("PDG code of the outgoing lepton; 0: not known"),
    "lepton_id": identifier("", "true particle that is this lepton; -1: none with voxels"),
    "lepton_energy_mev": _precise("total energy of the lepton", "MeV"),
    **xyz("lepton_momentum", "momentum of the lepton", "MeV/c"),
    "lepton_angle_rad": _precise("angle between lepton and neutrino", "rad"),
    **xyz("vertex", "position of the interaction in the detector, for views of wire planes, too"),
    "time_ns": Field(pa.float64(), "time of the interaction", "ns"),
    "weight": _precise("weight that the generator asks for; it may be negative"),
    "cross_section_pb": _precise("total cross section of its file, averaged over the flux, per atom", "pb"),
    "cross_section_error_pb": _precise("error of it", "pb"),
    "pot": _precise("protons on target that its file stands for"),
    "generator_file": count("number of its file among those of the sample, sorted, from 0; -1: none"),
    "generator_entry": Field(pa.int64(), "number of the interaction in that file from 0; -1: none"),
    "generator_event": Field(pa.int64(), "event number in that file; -1: none"),
    "num_final": count("particles of the final state; -1: not known"),
    "num_not_shot": count("of them, those that the simulation does not know; -1: not known"),
    "visible_energy_mev": _precise(
        "true visible energy: all that it deposits, in the box and outside", "MeV"
    ),
    "available_energy_mev": _precise(
        "true available energy: kinetic energies of protons and charged pions, total energies of all else that "
        "leaves the vertex, without the lepton, neutrons and nuclei (arXiv:1511.05944)",
        "MeV",
    ),
    **{
        f"num_{ending}_above": count(f"{words} that leave the vertex {ABOVE}; -1: not known")
        for ending, words in GENERATED_SPECIES.items()
    },
    "topology_above": text(
        f'particles that leave the vertex {ABOVE}, spelled as `topology` of interactions, and "pi0" for π⁰, '
        '"n" for neutrons; null: not known'
    ),
}

TRUTH_PRIMARY = {
    "truth_primary_id": identifier("generated particle"),
    "truth_neutrino_id": refer("truth_neutrinos", "neutrino that it comes from"),
    "truth_interaction_id": refer("truth_interactions", "true interaction that it belongs to"),
    "truth_particle_id": refer("truth_particles", "the same particle among those with voxels"),
    "track_id": Field(pa.int64(), "identifier in the source"),
    "pdg": count("PDG code"),
    "kinetic_energy_initial_mev": number("kinetic energy at creation", "MeV"),
    **xyz("momentum_initial", "momentum at creation", "MeV/c"),
}
