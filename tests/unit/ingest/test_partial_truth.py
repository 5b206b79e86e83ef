"""Samples whose source states a part of the truth: what needs the rest says so or is left out."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import labelled
from handmade import good_event, write_shard

from lartpc import config
from lartpc.run.infer import infer
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize
from lartpc.run.training.sample import Sample
from lartpc.run.weights import save_weights
from lartpc.stages import stage
from lartpc.store import open_events
from lartpc.truth import completed, truth_for

CLASSES_ONLY = ("truth_voxel",)
NO_POINTS = ("truth_voxel", "truth_fragment", "truth_particle", "truth_interaction")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("partial")
    return {
        truth: write_shard(root / str(len(truth)), "beam/0000", [good_event()], truth=truth)
        for truth in (CLASSES_ONLY, NO_POINTS)
    }


@pytest.mark.parametrize(
    ("name", "truth", "missing"),
    [
        ("segment", CLASSES_ONLY, "truth_point"),
        ("segment", NO_POINTS, "truth_point"),
        ("cluster", CLASSES_ONLY, "truth_particle"),
        ("interact", CLASSES_ONLY, "truth_particle"),
    ],
)
def test_training_names_the_truth_that_the_source_does_not_state(shards, name, truth, missing):
    with pytest.raises(ValueError, match=f"does not state [a-z_, ]*{missing}.*it states truth_voxel"):
        Sample(stage(name), shards[truth], getattr(config.Config(), name))


def test_training_on_predictions_does_without_the_truth_that_it_does_not_need(shards):
    section = config.Cluster(upstream="predicted")
    sample = Sample(stage("cluster"), shards[NO_POINTS], section)
    assert len(sample) == 1 and "truth_point" not in sample.event(0)


def test_evaluation_judges_what_the_truth_holds(shards, tmp_path):
    evaluate(shards[CLASSES_ONLY], tmp_path / "classes.parquet")
    row = pq.read_table(tmp_path / "classes.parquet").to_pandas().iloc[0]
    assert row["stages"] == "segment" and np.sum(row["semantic_confusion"]) == 47
    assert row["truth_point_distance"] is None and np.isnan(row["particle_ari"])
    evaluate(shards[NO_POINTS], tmp_path / "points.parquet")
    row = pq.read_table(tmp_path / "points.parquet").to_pandas().iloc[0]
    assert row["stages"] == "segment,cluster,interact" and row["num_matchable_particles"] == 4


def test_tables_of_a_partial_truth(shards, tmp_path):
    rows = summarize(shards[CLASSES_ONLY], tmp_path / "classes")
    assert rows["truth_particles"] == rows["matches"] == rows["truth_points"] == 0 and rows["particles"] == 4
    events = pd.read_parquet(tmp_path / "classes" / "events.parquet")
    assert events["has_truth"].all() and events["truth_num_voxels_track"].tolist() == [30]
    assert pd.read_parquet(tmp_path / "classes" / "particles.parquet")["truth_iou"].isna().all()
    rows = summarize(shards[NO_POINTS], tmp_path / "points")
    assert rows["truth_particles"] == 4 and rows["truth_points"] == 0 and rows["matches"] > 0
    assert pd.read_parquet(tmp_path / "points" / "points.parquet")["truth_distance_cm"].isna().all()


def test_what_the_source_does_not_say_is_null_in_the_tables(tmp_path):
    event = good_event()
    particle = event["truth_particle"]
    particle["is_primary"] = np.full_like(particle["is_primary"], -1)
    particle["energy_init"] = np.full_like(particle["energy_init"], np.nan)
    event["truth_interaction"]["vertex"] = np.full_like(event["truth_interaction"]["vertex"], np.nan)
    files = write_shard(tmp_path, "beam/0000", [event])
    summarize(files, tmp_path / "tables")
    table = pq.read_table(tmp_path / "tables" / "truth_particles.parquet")
    assert table["is_primary"].null_count == table["kinetic_energy_initial_mev"].null_count == len(table) == 4
    table = pq.read_table(tmp_path / "tables" / "truth_interactions.parquet")
    assert table["vertex_x_cm"].null_count == len(table) and not any(table["is_vertex_in_box"].to_pylist())
    assert evaluate(files, tmp_path / "metrics.parquet") == 1
    row = pq.read_table(tmp_path / "metrics.parquet").to_pandas().iloc[0]
    assert np.sum(row["primary_confusion"]) == 0 and len(row["vertex_distance_cm"]) == 0


def test_a_stage_is_not_run_on_truth_that_is_not_there(shards, tmp_path, capsys):
    section = config.Cluster()
    weights = tmp_path / "cluster.pt"
    save_weights(
        weights, stage("cluster"), section, stage("cluster").module().network(section).state_dict(), {}
    )
    ingested = shards[NO_POINTS][:1]
    infer(stage("cluster"), ingested, section, out=tmp_path / "c.h5", weights=weights, on_truth=True)
    assert "cluster is not run on truth, the source does not state truth_point" in capsys.readouterr().err
    with open_events(*ingested, tmp_path / "c.h5") as events:
        assert set(events[0]["group"]["particle"]) == {-1} and not events.quarantined()
    assert evaluate([*ingested, tmp_path / "c.h5"], tmp_path / "c.parquet", input_label="truth") == 0


def test_completed_truth_points_to_no_row_of_a_missing_product():
    event = labelled([{"coord": [[1, 1, 1], [2, 1, 1]]}])
    part = completed(
        type(event)(
            event.file_uid,
            0,
            event.box,
            {name: event[name] for name in ("voxel", "truth_voxel", "truth_particle")},
        )
    )
    assert set(part["truth_voxel"]["interaction"]) == set(part["truth_voxel"]["fragment"]) == {-1}
    assert set(part["truth_voxel"]["particle"]) == {0} and part["truth_particle"]["interaction"].tolist() == [
        -1
    ]


def test_truth_for_products_is_what_they_are_made_from():
    assert truth_for(["voxel", "semantic"]) == ("truth_voxel",)
    assert truth_for(["semantic", "point"]) == ("truth_voxel", "truth_point")
    assert "truth_interaction" not in truth_for(["group", "particle"])
