"""Whole events made by hand, from particles over `interact` (by rules, which have known answers) to the tables."""

import numpy as np
import pytest
from conftest import labelled, line

from lartpc import config
from lartpc.kinematics.argon import energy_of_range
from lartpc.stages import interact
from lartpc.tables.rows import event_rows
from lartpc.truth import upstream_from_truth
from lartpc.vocab import EnergyMethod, Flavour, Semantic, Species

BY_RULES = config.Interact.model_validate({"infer": {"interactions": "rules"}})


def tables(particles, energies=None):
    """Return the rows of all tables of an event; energies [MeV] are per voxel of some particles, from the start."""
    event = labelled(particles)
    owner, voxel = event["truth_voxel"]["particle"], event["voxel"]
    for row, energy in (energies or {}).items():
        own = np.flatnonzero(owner == row)
        away = np.linalg.norm(voxel["coord"][own] - np.asarray(particles[row]["coord"])[0], axis=1)
        voxel["energy"][own[np.argsort(away)]] = energy
    event = upstream_from_truth(event, ["semantic", "point", "candidate", "group", "fragment", "particle"])
    (products,) = interact.infer(None, [event], BY_RULES)
    return event_rows(event.with_products(products), ("by-hand", 0), None)


def stopping(species, num):
    """Return the energies of the voxels of a straight track that stops."""
    left = energy_of_range(species, 0.3 * (num - np.arange(num + 1.0)))
    return -np.diff(left)


def test_a_stopping_muon_with_a_michel():
    found = tables(
        [
            {"coord": line((100, 300, 300), (1, 0, 0), 400), "species": Species.MUON},
            {
                "coord": line((500, 301, 300), (0, 1, 0), 15),
                "semantic": Semantic.MICHEL,
                "species": Species.ELECTRON,
                "is_primary": 0,
            },
        ],
        {0: stopping(Species.MUON, 400)},
    )
    particles, interactions = found["particles"], found["interactions"]
    assert list(particles["species"]) == [Species.MUON, Species.ELECTRON]
    assert list(particles["parent_id"]) == [-1, 0] and list(particles["michel_id"]) == [1, -1]
    assert list(particles["generation"]) == [0, 1] and list(particles["is_primary"]) == [True, False]
    assert particles["parent_distance_cm"][1] == pytest.approx(0.3 * np.sqrt(2), rel=1e-3)
    # 292 MeV for 120 cm of liquid argon
    assert particles["energy_method"][0] == EnergyMethod.RANGE
    assert particles["kinetic_energy_mev"][0] == pytest.approx(energy_of_range(Species.MUON, 120.0), rel=0.01)
    assert particles["calorimetric_energy_mev"][0] == pytest.approx(
        particles["kinetic_energy_mev"][0], rel=0.01
    )
    assert particles["chi2_species"][0] == Species.MUON and particles["is_contained"].all()
    assert particles["kinetic_energy_mev"][1] == pytest.approx(1.22 * 15 * 0.6)
    assert list(interactions["topology"]) == ["1mu"] and list(interactions["num_michels"]) == [1]
    assert list(interactions["flavour"]) == [Flavour.NUMU_LIKE] and list(
        interactions["leading_lepton_id"]
    ) == [0]
    assert interactions["reconstructed_energy_mev"][0] == pytest.approx(
        particles["kinetic_energy_mev"][0] + 105.658, rel=1e-5
    )


def test_a_pi_zero():
    # photons at a right angle with m² = 2 E², of energies as they are after the correction of showers
    deposited = 134.9768 / np.sqrt(2) / 1.22
    photon = {"semantic": Semantic.SHOWER, "species": Species.PHOTON}
    found = tables(
        [
            {"coord": line((360, 300, 300), (1, 0, 0), 40), **photon},
            {"coord": line((300, 390, 300), (0, 1, 0), 40), **photon},
        ],
        {0: deposited / 40, 1: deposited / 40},
    )
    particles, interactions = found["particles"], found["interactions"]
    assert list(particles["species"]) == [Species.PHOTON] * 2 and particles["is_primary"].all()
    assert list(particles["pi_zero_id"]) == [0, 0]
    assert particles["pi_zero_mass_mev"] == pytest.approx([134.9768] * 2, rel=1e-3)
    assert particles["conversion_distance_cm"] == pytest.approx([18.0, 27.0], rel=1e-2)
    assert list(interactions["topology"]) == ["2g"] and list(interactions["num_pi_zeros"]) == [1]
    assert list(interactions["pi_zero_count"]) == [1] and list(interactions["flavour"]) == [Flavour.NC_LIKE]
    assert interactions["reconstructed_energy_mev"][0] == pytest.approx(np.sqrt(2) * 134.9768, rel=1e-4)


def test_two_neutrinos_piled_up():
    muon, proton = {"species": Species.MUON}, {"species": Species.PROTON}
    num, short = 300, 60
    found = tables(
        [
            {"coord": line((300, 300, 300), (1, 0, 0), num), **muon},
            {"coord": line((300, 301, 300), (0, 1, 0), short), **proton},
            # the second muon passes the first one at 3 cm
            {"coord": line((400, 450, 310), (0, -1, 0), num), **muon, "interaction": 1},
            {"coord": line((399, 450, 310), (-1, 0, 0), short), **proton, "interaction": 1},
        ],
        {0: stopping(2, num), 1: stopping(4, short), 2: stopping(2, num), 3: stopping(4, short)},
    )
    particles, interactions = found["particles"], found["interactions"]
    assert list(particles["interaction_id"]) == [0, 0, 1, 1]
    assert list(particles["species"]) == [Species.MUON, Species.PROTON] * 2
    assert list(interactions["topology"]) == ["1mu1p"] * 2 == list(found["truth_interactions"]["topology"])
    assert list(interactions["truth_interaction_id"]) == [0, 1] and list(interactions["truth_iou"]) == [
        1.0,
        1.0,
    ]
    truth = found["truth_interactions"]
    for axis in "xyz":
        np.testing.assert_allclose(interactions[f"vertex_{axis}_cm"], truth[f"vertex_{axis}_cm"], atol=0.3)
    ranges = [float(energy_of_range(s, 0.3 * n)) for s, n in ((Species.MUON, num), (Species.PROTON, short))]
    assert particles["kinetic_energy_mev"] == pytest.approx(ranges * 2, rel=0.02)
    pairs = found["matches"]
    of_interactions = np.asarray(pairs["kind"]) == 1
    assert list(np.asarray(pairs["iou"])[of_interactions]) == [1.0, 1.0]


def test_an_exiting_track():
    found = tables(
        [
            {"coord": line((368, 300, 300), (1, 0, 0), 400), "species": Species.MUON},
            {"coord": line((368, 301, 300), (0, 1, 0), 60), "species": Species.PROTON},
        ],
        {1: stopping(Species.PROTON, 60)},
    )
    particles, interactions = found["particles"], found["interactions"]
    assert list(particles["is_contained"]) == [False, True] and list(interactions["is_contained"]) == [False]
    assert list(particles["energy_method"]) == [EnergyMethod.SCATTERING, EnergyMethod.RANGE]
    assert particles["wall_distance_cm"] == pytest.approx([0.15, 0.3 * 300.5], abs=1e-3)
    # a straight line scatters nowhere: of the energies that are tried, the highest is likeliest
    assert particles["kinetic_energy_mev"][0] > 1000 > particles["range_energy_muon_mev"][0]
    assert list(particles["species"]) == [Species.MUON, Species.PROTON]
    assert list(interactions["topology"]) == ["1mu1p"] and list(interactions["is_fiducial"]) == [True]


def test_of_two_michels_that_of_a_muon_is_the_one_at_its_end():
    found = tables(
        [
            {"coord": line((100, 300, 300), (1, 0, 0), 400), "species": Species.MUON},
            *(
                {"coord": line(start, (0, 1, 0), 15), "semantic": Semantic.MICHEL, "is_primary": 0}
                | {"species": Species.ELECTRON}
                for start in ((501, 302, 302), (500, 301, 300))
            ),
        ]
    )
    particles = found["particles"]
    assert list(particles["parent_id"]) == [-1, 0, 0] and list(particles["michel_id"]) == [2, -1, -1]
