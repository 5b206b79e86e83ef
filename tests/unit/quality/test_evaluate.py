"""Figures of events drawn by hand, per event and pooled."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from handmade import QUARANTINED, good_event, quiet_event, write_shard

from lartpc.run.quality.evaluate import _segment, evaluate
from lartpc.run.quality.pool import pool
from lartpc.store import open_events
from lartpc.vocab import Semantic


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_shard(tmp_path_factory.mktemp("evaluate"), "beam/0000")


@pytest.fixture(scope="module")
def table(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("metrics") / "metrics.parquet"
    assert evaluate(files, out) == 4
    return pq.read_table(out)


def test_figures_of_the_good_event(table):
    row = table.to_pandas().iloc[0]
    confusion = np.reshape(row["semantic_confusion"], (5, 5))
    assert confusion[1].tolist() == [0, 28, 0, 2, 0] and confusion.sum() == 47
    assert row["particle_purity"] == 1.0
    assert row["particle_efficiency"] == pytest.approx((0.9 + 1 + 0 + 1) / 4)
    assert row["particle_assigned"] == pytest.approx(40 / 45)
    assert row["interaction_efficiency"] == pytest.approx((30 / 35 + 1) / 2)
    assert row["num_matchable_particles"] == 4
    species = np.reshape(row["species_confusion"], (6, 6))
    assert species[2, 2] == 1 and species[1, 1] == 1 and species[4, 3] == 1 and species.sum() == 3
    assert row["primary_confusion"].tolist() == [0, 0, 0, 3]
    assert row["vertex_distance_cm"].tolist() == pytest.approx([0.6], rel=1e-4)
    assert row["input"] == "predicted"
    # the Michel is not matched; muon and electron belong to nothing, as does the proton
    assert row["parent_counts"].tolist() == [3, 3, 0, 0, 0, 0, 0, 0]
    assert row["orientation_counts"].tolist() == [2, 1], "the proton is turned"
    assert row["topology_counts"].tolist() == [2, 1], "the proton is called a pion"
    assert row["num_matchable_interactions"] == 2


def test_deltas_are_left_out_of_the_points(table):
    row = table.to_pandas().iloc[0]
    assert row["point_distance"].tolist() == pytest.approx([1.0, 1.0, 4.0])
    assert len(row["truth_point_distance"]) == 6
    assert row["truth_point_distance"][2] == pytest.approx(4.0)


def test_scores_are_calibrated_without_the_weights_of_labels(files):
    with open_events(*files) as events:
        event = events[0]
    score_VK = event["semantic"]["score"].copy()
    true_V = event["truth_voxel"]["semantic"].astype(int)
    score_VK[:] = 0.1
    score_VK[np.arange(len(true_V)), np.maximum(true_V, 0)] = 0.6  # the highest score is right everywhere
    semantic = {**event["semantic"], "score": score_VK}
    figures = _segment(event.with_products({"semantic": semantic}))
    voxels, right, confidence = figures["reliability"].reshape(-1, 3).sum(0)
    assert voxels == right == 47 and confidence == pytest.approx(0.6 * 47)
    assert np.trace(figures["semantic_confusion"].reshape(5, 5)) < 47  # which the labels are not


def test_set_aside_and_empty_events(table):
    frame = table.to_pandas()
    assert QUARANTINED not in set(frame["entry"]) and frame["entry"].tolist() == [0, 1, 3, 4]
    quiet = frame[frame["entry"] != 0]
    assert quiet[["particle_purity", "particle_ari", "interaction_efficiency"]].isna().all(axis=None)
    assert frame["semantic_confusion"].map(np.sum).tolist() == [47, 0, 2, 1]


def test_pooled_figures(table):
    figures = pool(table)["predicted"]
    assert figures["num_events"] == 4
    assert figures["semantic_accuracy"] == pytest.approx(48 / 50)
    assert figures["semantic_recall_track"] == pytest.approx(29 / 31)
    assert figures["semantic_recall_low_energy"] == 1.0
    assert figures["particle_efficiency"] == pytest.approx(0.725) and figures["particle_num_events"] == 1
    assert figures["point_within_3"] == pytest.approx(2 / 3)
    assert figures["truth_point_within_10"] == pytest.approx(4 / 6)
    assert figures["species_accuracy"] == pytest.approx(2 / 3)
    assert figures["species_mean_recall"] == pytest.approx(2 / 3)
    assert figures["matched_share"] == 0.75
    assert figures["parent_right"] == 1.0 and figures["orientation_right"] == figures["topology_right"] == 0.5
    assert figures["flavour_accuracy"] == 0.5, "the electron counts, as both energies are equal"
    assert figures["num_matchable_interactions"] == 2
    assert figures["energies"] == [] and np.isnan(figures["muon_range_bias"])
    assert figures["vertex_within_3"] == 1.0 and figures["vertex_found_share"] == 1.0


def test_incorrectly_classified_fractions_are_pooled_over_images(table):
    # 2 of the good event's 30 track voxels are called delta; two more images have all right, one is empty
    figures = pool(table)["predicted"]
    assert figures["icpf_mean"] == figures["icpf_five_mean"] == pytest.approx(2 / 47 / 3)
    assert figures["icpf_quantile_90"] == pytest.approx(0.8 * 2 / 47)
    assert figures["icpf_track"] == figures["icpf_five_track"] == pytest.approx((2 / 30 + 0) / 2)
    assert figures["icpf_shower"] == 0.0 and np.isnan(figures["icpf_five_delta"])


def test_on_truth_interact_is_judged_on_what_it_was_given(files, tmp_path):
    events = [good_event()]
    events[0]["identity"] = {
        **events[0]["identity"],
        "interaction": np.array([0, 0, 0, 1]),
        "species": np.array([2, 1, 1, 4]),
        "is_primary": np.array([1, 1, 0, 1]),
    }
    paths = write_shard(tmp_path, "beam/0000", events)
    evaluate([paths[0], paths[3], paths[4]], tmp_path / "m.parquet", input_label="truth")
    found = pool(pq.read_table(tmp_path / "m.parquet"))
    assert set(found) == {"truth"}
    figures = found["truth"]
    assert figures["species_accuracy"] == 1.0 and figures["matched_share"] == 1.0
    assert figures["primary_accuracy"] == 1.0 and figures["interaction_ari"] == 1.0
    assert figures["particle_efficiency"] == pytest.approx(0.725), "cluster is judged on its own output"
    assert np.isnan(figures["semantic_accuracy"]) and figures["point_num"] == 0


def test_lost_vertices_and_points_count(tmp_path):
    truth, nothing = good_event(), quiet_event([])
    for name in ("point", "candidate", "final_point", "fragment", "particle", "identity", "interaction"):
        truth[name] = nothing[name]
    truth["group"] = {name: np.full(47, -1) for name in ("fragment", "particle")}
    evaluate(write_shard(tmp_path, "beam/0000", [truth]), tmp_path / "m.parquet")
    figures = pool(pq.read_table(tmp_path / "m.parquet"))["predicted"]
    assert figures["truth_point_within_10"] == 0.0 and np.isnan(figures["point_within_10"])
    assert figures["vertex_within_20"] == 0.0 and figures["vertex_found_share"] == 0.0
    assert figures["particle_efficiency"] == 0.0 and np.isnan(figures["particle_purity"])


def test_without_truth_there_is_an_empty_table(tmp_path):
    paths = write_shard(tmp_path, "real/a", [good_event()], truth=())
    assert evaluate(paths, tmp_path / "m.parquet") == 0
    assert pd.read_parquet(tmp_path / "m.parquet").empty
    assert pool(pq.read_table(tmp_path / "m.parquet")) == {}


def test_the_published_definitions_stand_beside_ours(tmp_path):
    """Of a good event the paper's cut leaves large particles, and nodes leave what is in no fragment out."""
    truth = good_event()
    large = (truth["truth_particle"]["num_voxels"] >= 7) & (truth["truth_particle"]["energy"] >= 10)
    point = truth["truth_point"]
    wanted = large[point["particle"]] & (point["semantic"] != Semantic.DELTA)
    evaluate(write_shard(tmp_path, "beam/0000", [truth]), tmp_path / "m.parquet")
    figures = pool(pq.read_table(tmp_path / "m.parquet"))["predicted"]
    assert 0 < figures["truth_point_large_num"] == wanted.sum() < figures["truth_point_num"]
    bare = truth["group"]["fragment"] < 0
    assert bare.any() and figures["particle_ari_nodes"] > figures["particle_ari"]
    assert figures["particle_ari_nodes_track_num"] == figures["particle_ari_track_num"] == 1
