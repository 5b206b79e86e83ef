"""Parents, starts, flavours and energies against the truth, on an event with known answers."""

import numpy as np
import pytest
from conftest import ODD_EVENTS, labelled, line
from handmade import write_shard

from lartpc.config import Summarize
from lartpc.event import empty
from lartpc.kinematics.argon import energy_of_range
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.quality.interactions import interact_figures, pool_interactions
from lartpc.run.quality.matching import matching_figures, size_words
from lartpc.run.report.interactions import interactions_table
from lartpc.tables import TABLES, to_arrow
from lartpc.tables.measured import measured_reco
from lartpc.truth import upstream_from_truth
from lartpc.vocab import CreationProcess, Flavour, Semantic, Species

MUON, DELTA, MICHEL, PION, PHOTON, OTHER_PHOTON, PROTON = range(7)
SPECIES = [Species.MUON, Species.ELECTRON, Species.ELECTRON, Species.PION]
SPECIES += [Species.PHOTON, Species.PHOTON, Species.PROTON]


def figures_of(event):
    """Return the figures of an event whose detector is the whole box."""
    volumes_cm = event.box.to_cm([[(0, 0, 0), event.box.shape]])
    return interact_figures(event, measured_reco(event, volumes_cm, Summarize()))


def ends_of(event, is_turned):
    """Return the ends of particles, exchanged where they are turned."""
    ends, turn = event["particle"], is_turned[:, None] > 0
    return {
        "start_point": np.where(turn, ends["end_point"], ends["start_point"]),
        "end_point": np.where(turn, ends["start_point"], ends["end_point"]),
    }


def judged(**identity):
    """Return the figures of seven true particles that were found as they are, with some columns of `identity`."""
    parts = [
        ((300, 300, 300), (1, 0, 0), 200, Semantic.TRACK),
        ((320, 301, 300), (0, 1, 0), 5, Semantic.DELTA),
        ((500, 300, 300), (0, 1, 0), 9, Semantic.MICHEL),
        ((300, 300, 301), (0, 0, 1), 30, Semantic.TRACK),
        ((260, 260, 300), (-1, 0, 0), 30, Semantic.SHOWER),
        ((260, 340, 300), (-1, 0, 0), 30, Semantic.SHOWER),
        ((0, 500, 500), (1, 0, 0), 30, Semantic.TRACK),
    ]
    event = labelled(
        [
            {
                "coord": line(*part[:3]),
                "semantic": part[3],
                "species": species,
                "is_primary": int(row not in (DELTA, MICHEL)),
                "interaction": int(row == PROTON),
            }
            for row, (part, species) in enumerate(zip(parts, SPECIES, strict=True))
        ]
    )
    truth = event["truth_particle"]
    truth["parent_track_id"][:] = [-1, 1, 1, -1, 77, 77, -1]
    truth["process"][:] = CreationProcess.PRIMARY
    truth["process"][[MICHEL, PHOTON, OTHER_PHOTON]] = CreationProcess.DECAY
    truth["energy_init"][:] = [150.0, 5.0, 20.0, 90.0, 40.0, 25.0, np.nan]
    event = upstream_from_truth(event, ["point", "candidate", "group", "fragment", "particle"])
    found = empty("identity", 7) | ends_of(event, np.asarray(identity.get("is_turned", np.zeros(7))))
    found |= {"interaction": truth["interaction"], "species": truth["species"]}
    found |= {"is_primary": truth["is_primary"], "parent": np.array([-1, 0, 0, -1, -1, -1, -1])}
    found |= {"pi_zero": np.array([-1, -1, -1, -1, 0, 0, -1])}
    found |= {name: np.asarray(values) for name, values in identity.items() if name != "flavour"}
    interaction = empty("interaction", 2)
    interaction["vertex"][:] = event["truth_interaction"]["vertex"] + [[3.0, 4.0, 0.0]]
    interaction["flavour"][:] = identity.get("flavour", [Flavour.NUMU_LIKE, Flavour.NC_LIKE])
    for name, counts in (("proton", [0, 1]), ("pion", [1, 0]), ("pi_zero", [1, 0])):
        interaction[f"num_{name}s_score"][:] = np.eye(4)[counts]
    event = event.with_products({"identity": found, "interaction": interaction})
    return figures_of(event)


def pooled(figures):
    return pool_interactions(
        lambda name: np.atleast_1d(figures[name]), np.asarray(figures["vertex_distance_cm"]) / 0.3
    )


def test_what_is_right_is_right():
    figures = judged()
    assert figures["parent_counts"].tolist() == [5, 5, 1, 1, 1, 1, 0, 0]
    assert list(figures["pi_zero_counts"]) == [1, 1, 1]
    assert list(figures["orientation_counts"]) == [3, 3]
    assert list(figures["topology_counts"]) == [2, 2] and figures["num_matchable_interactions"] == 2
    np.testing.assert_allclose(figures["start_distance"], 0, atol=1e-4)
    # one track alone does not show its vertex
    assert figures["vertex_distance_cm"].tolist() == pytest.approx([1.5], rel=1e-5)
    found = pooled(figures)
    for name in ("parent_right", "pi_zero_found", "pi_zero_real", "orientation_right", "start_within_3"):
        assert found[name] == 1.0, name
    for name in ("topology_right", "interaction_matched_share", "proton_count_right", "pi_zero_count_right"):
        assert found[name] == 1.0, name
    assert found["vertex_within_3"] == 0.0 and found["vertex_within_20"] == 1.0
    assert found["vertex_median_voxel"] == pytest.approx(5.0, rel=1e-4)
    assert np.isnan(found["parent_right_other"])


def test_wrong_parents_by_kind():
    figures = judged(parent=[-1, 0, 3, -1, -1, 0, -1])
    assert figures["parent_counts"].tolist() == [5, 4, 1, 0, 1, 1, 0, 0]
    found = pooled(figures)
    assert found["parent_right"] == pytest.approx(5 / 7) and found["parent_right_child"] == 0.5
    assert found["parent_right_michel"] == 0.0 and found["parent_right_delta"] == 1.0
    assert found["parent_right_none"] == 0.8


def test_photons_of_two_pairs_are_no_pi_zero():
    for pairs, expected in (([0, 1], [1, 0, 2]), ([-1, -1], [1, 0, 0])):
        figures = judged(pi_zero=[-1, -1, -1, -1, *pairs, -1])
        assert list(figures["pi_zero_counts"]) == expected
    assert pooled(figures)["pi_zero_found"] == 0.0 and np.isnan(pooled(figures)["pi_zero_real"])


def test_a_turned_track_starts_at_its_end():
    figures = judged(is_turned=[1, 0, 0, 0, 0, 0, 0])
    assert list(figures["orientation_counts"]) == [3, 2]
    assert figures["start_distance"].tolist() == pytest.approx([199, 0, 0, 0, 0, 0, 0], abs=1e-3)
    found = pooled(figures)
    assert found["start_within_3"] == pytest.approx(6 / 7) and found["start_within_3_track"] == pytest.approx(
        2 / 3
    )
    assert found["start_within_3_shower"] == 1.0 and found["orientation_right"] == pytest.approx(2 / 3)


def test_matched_by_class_size_and_energy():
    found = pooled(judged())
    classes = {word: found[f"matched_class_{word}_num"] for word in ("shower", "track", "michel", "delta")}
    assert sum(classes.values()) == len(SPECIES) and classes["michel"] == 1
    sizes = [found[f"matched_size_{word}_num"] for word in size_words()]
    assert sum(sizes) == len(SPECIES)
    # all are matched by themselves
    assert found["matched_energy"] == found["matched_primary"] == found["matched_class_track"] == 1
    assert np.isnan(found["matched_size_1_to_4"])


def test_a_michel_is_identified_by_half_of_its_voxels():
    event = labelled(
        [
            {"coord": line((100, 300, 300), (1, 0, 0), 40)},
            {"coord": line((140, 301, 300), (0, 1, 0), 20), "semantic": Semantic.MICHEL},
            {"coord": line((300, 300, 300), (0, 1, 0), 20), "semantic": Semantic.MICHEL},
        ]
    )
    event = upstream_from_truth(event, ["group", "particle"])
    # what `interact` says last counts, not what `cluster` said
    said = {**empty("identity", 3), "semantic": np.array([Semantic.MICHEL, Semantic.MICHEL, Semantic.SHOWER])}
    event = event.with_products({"identity": said})
    counted = np.ones(3, bool)
    assert matching_figures(event, counted, counted)["michel_counts"] == [2, 1, 2, 1]


def test_flavours_counts_and_topology():
    species = [int(code) for code in SPECIES]
    species[PROTON] = Species.PION
    figures = judged(species=np.array(species), flavour=[Flavour.NUMU_LIKE, Flavour.NUE_LIKE])
    assert np.reshape(figures["flavour_confusion"], (3, 3)).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert np.reshape(figures["proton_count_confusion"], (4, 4))[[0, 1], [0, 1]].tolist() == [1, 1]
    assert list(figures["topology_counts"]) == [2, 1]
    assert pooled(figures)["topology_right"] == 0.5


def test_energies_of_known_particles():
    figures = judged()
    assert figures["energy_init_mev"].tolist() == [150.0, 5.0, 20.0, 90.0, 40.0, 25.0], (
        "the proton's is not known"
    )
    by_range = figures["energy_range_mev"]
    assert by_range[0] == pytest.approx(energy_of_range(Species.MUON, 199 * 0.3), rel=0.01)
    assert by_range[3] == pytest.approx(energy_of_range(Species.PION, 29 * 0.3), rel=0.05)
    assert np.isnan(by_range[[1, 2, 4, 5]]).all()
    photon = 1.22 * 30 * 0.6
    assert figures["energy_calorimetric_mev"][4] == pytest.approx(photon, rel=1e-5)
    assert figures["energy_best_mev"][[0, 4]].tolist() == pytest.approx([by_range[0], photon], rel=1e-5)
    found = pooled(figures)
    assert found["muon_range_num"] == found["photon_calorimetric_num"] - 1 == 1
    assert found["muon_range_bias"] == pytest.approx(by_range[0] / 150 - 1, rel=1e-5)
    assert found["muon_best_bias"] == found["muon_range_bias"] and np.isnan(found["muon_range_resolution"])
    assert found["michel_calorimetric_num"] == 1 and found["electron_best_num"] == 0
    lines = {(line["what"], line["low_mev"]): line for line in found["energies"]}
    assert lines["muon_range", 100]["high_mev"] == 200 and lines["muon_range", 100]["num"] == 1


def test_leaving_particles_have_no_range():
    figures = judged(species=[2, 1, 1, 3, 0, 0, 4])
    assert len(figures["energy_init_mev"]) == 6
    event = labelled([{"coord": line((0, 300, 300), (1, 0, 0), 200)}])
    event["truth_particle"]["energy_init"][:] = 300.0
    event = upstream_from_truth(event, ["point", "candidate", "group", "fragment", "particle"])
    identity = empty("identity", 1) | {"species": np.array([Species.MUON]), "interaction": np.array([0])}
    identity |= ends_of(event, np.zeros(1))
    event = event.with_products({"identity": identity, "interaction": empty("interaction", 1)})
    figures = figures_of(event)
    assert np.isnan(figures["energy_range_mev"]).all() and np.isnan(figures["energy_calorimetric_mev"]).all()
    assert figures["energy_best_mev"][0] > 0


def test_bias_and_resolution_of_known_deviations():
    figures = judged()
    num = 101
    figures |= {"energy_init_mev": np.full(num, 100.0), "energy_species": np.full(num, Species.MUON)}
    figures |= {"energy_semantic": np.full(num, Semantic.TRACK)}
    figures["energy_range_mev"] = 100.0 * (1 + np.linspace(-0.1, 0.3, num))
    figures |= {f"energy_{how}_mev": np.full(num, np.nan) for how in ("calorimetric", "best")}
    found = pooled(figures)
    assert found["muon_range_num"] == num
    assert found["muon_range_bias"] == pytest.approx(0.1)
    assert found["muon_range_resolution"] == pytest.approx(0.34 * 0.4)


@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_events_with_nothing_have_figures(kind):
    event = upstream_from_truth(ODD_EVENTS[kind](0), ["point", "candidate", "group", "fragment", "particle"])
    identity = empty("identity", len(event["particle"]["semantic"]))
    event = event.with_products({"identity": identity, "interaction": empty("interaction")})
    figures = figures_of(event)
    assert set(figures) <= set(TABLES["metrics"].fields)
    fields = {name: [None] for name in TABLES["metrics"].fields} | {"input": [0]}
    row = to_arrow("metrics", fields | {name: [value] for name, value in figures.items()})
    assert row.num_rows == 1
    found = pooled(figures)
    assert np.isnan(found["parent_right"]) or kind == "one_voxel"


def test_the_table_of_both_ways(tmp_path):
    paths = write_shard(tmp_path, "beam/0000")
    evaluate(paths, tmp_path / "m.parquet")
    files = [tmp_path / "m.parquet"]
    text = interactions_table({"graph": files, "rules": files}, tmp_path / "table.md")
    assert text == (tmp_path / "table.md").read_text() and "no events on true input, 4 of the chain" in text
    row = next(
        line for line in text.split("\n") if line.startswith("| true interactions with all primaries correct")
    )
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["", "", "50.0 %", "50.0 %", ""]
    assert "nan" not in text and "of kaons" not in text
    with pytest.raises(ValueError, match="no figures of rules"):
        interactions_table({"graph": files}, tmp_path / "table.md")
