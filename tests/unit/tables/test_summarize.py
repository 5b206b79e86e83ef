"""Events drawn by hand to rows of the tables."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from handmade import QUARANTINED, good_event, quiet_event, write_shard

from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import EVENT_TABLES, summarize
from lartpc.tables import schema


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("summarize")
    rows = summarize(write_shard(root, "beam/0000"), root / "tables")
    found = {name: pd.read_parquet(root / "tables" / f"{name}.parquet") for name in EVENT_TABLES}
    assert rows == {name: len(table) for name, table in found.items()}
    return found


def test_every_event_has_a_row(tables):
    events = tables["events"]
    assert events["entry"].tolist() == [0, 1, 2, 3, 4]
    assert set(events["file_uid"]) == {"beam/0000"} and set(events["sample"]) == {"beam"}
    assert events["num_voxels"].tolist() == [47, 0, 47, 2, 1]
    good = events.iloc[0]
    assert good["run"] == 7 and good["has_truth"] and good["energy_outside_mev"] == 3.0
    assert good["energy_voxels_mev"] == pytest.approx(40 + 10 + 2.5 + 40 + 0.5)
    classes = ["shower", "track", "michel", "delta", "low_energy"]
    assert good[[f"num_voxels_{name}" for name in classes]].tolist() == [10, 28, 5, 2, 2]
    assert good[[f"truth_num_voxels_{name}" for name in classes]].tolist() == [10, 30, 5, 0, 2]
    assert good["num_voxels_grouped"] == 40
    assert good[["num_particles", "num_interactions", "num_points"]].tolist() == [4, 2, 4]


def test_a_quarantined_event_is_counted_with_its_reason(tables):
    row = tables["events"].iloc[QUARANTINED]
    assert row["status"] == "quarantined" and row["quarantine_step"] == "cluster"
    assert row["num_particles"] == 0 and row["num_truth_particles"] == 4
    aside = tables["quarantine"]
    assert aside["entry"].tolist() == [QUARANTINED] and aside["reason"][0] == "ValueError: drawn to fail"


def test_particles(tables):
    found = tables["particles"]
    assert found["particle_id"].tolist() == [0, 1, 2, 3] and set(found["entry"]) == {0}
    muon = found.iloc[0]
    assert muon["semantic"] == "track" and muon["species"] == "muon" and muon["is_primary"]
    assert muon["species_score_muon"] == 1.0 and muon["num_voxels"] == 18
    assert muon["start_x_cm"] == pytest.approx(-9.6 + 10.5 * 0.3, abs=1e-5)
    assert muon["start_z_cm"] == pytest.approx(100 - 9.6 + 10.5 * 0.3, abs=1e-4)
    assert muon["length_cm"] == pytest.approx(19 * 0.3, rel=1e-5)
    assert muon["path_length_cm"] == pytest.approx(19 * 0.3, rel=1e-5)
    assert np.isnan(found.iloc[2]["path_length_cm"])
    assert muon["vertex_distance_cm"] == pytest.approx(0.6, rel=1e-4)
    assert muon["wall_distance_cm"] == pytest.approx(10.5 * 0.3, rel=1e-5)
    assert found["truth_particle_id"].tolist() == [0, 0, 1, 3]
    np.testing.assert_allclose(found["truth_iou"], [0.9, 0.1, 1.0, 1.0], rtol=1e-6)


def test_truth_particles(tables):
    true = tables["truth_particles"].query("entry == 0")
    assert true["particle_id"].tolist() == [0, 2, -1, 3]
    assert true["momentum_initial_mev_c"].tolist() == [500.0] * 4
    assert true["process"].astype(str).tolist() == ["primary", "primary", "decay", "primary"]
    assert tables["truth_particles"]["entry"].value_counts().to_dict() == {0: 4, QUARANTINED: 4}


def test_interactions(tables):
    found = tables["interactions"]
    assert found["topology"].tolist() == ["1e1mu", "1pi"]
    assert found["num_electrons"].tolist() == [2, 0] and found["num_primary_electrons"].tolist() == [1, 0]
    assert found["truth_interaction_id"].tolist() == [0, 1]
    np.testing.assert_allclose(found["truth_iou"], [30 / 35, 1.0], rtol=1e-6)
    true = tables["truth_interactions"].query("entry == 0")
    assert true["topology"].tolist() == ["1e1mu", "1p"] and true["num_voxels"].tolist() == [35, 10]
    assert true["is_vertex_in_box"].all()


def test_points(tables):
    found, true = (tables[name].query("entry == 0") for name in ("points", "truth_points"))
    assert found["truth_distance_cm"].tolist() == pytest.approx([0.3, 0.3, 1.2, 0.0], abs=1e-5)
    assert found["truth_point_id"].iloc[3] == 3 and true["point_id"].iloc[3] == 3
    assert true["distance_cm"].iloc[5] == pytest.approx(2.7, rel=1e-5)
    lost = tables["truth_points"].query(f"entry == {QUARANTINED}")
    assert np.isfinite(lost["distance_cm"]).all(), "points were found before cluster failed"


def test_matches(tables):
    pairs = tables["matches"]
    particles = pairs[pairs["kind"] == "particle"]
    assert particles[["reco_id", "truth_id"]].to_numpy().tolist() == [[0, 0], [1, 0], [2, 1], [3, 3]]
    assert particles["shared_energy_mev"].tolist() == [36.0, 4.0, 10.0, 40.0]
    assert particles["is_best_of_reco"].all()
    assert particles["is_best_of_truth"].tolist() == [True, False, True, True]


def test_throughput(tables):
    assert tables["throughput"]["step"].tolist() == ["ingest", "segment", "points", "cluster", "interact"]
    assert tables["throughput"]["seconds"].tolist() == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert set(tables["throughput"]["num_voxels"]) == {97}
    assert tables["throughput"]["weights"].tolist() == ["", "5e", "", "c1", "1e"]


def test_without_truth_its_tables_are_empty_and_all_there(tmp_path):
    events = [good_event(), quiet_event([])]
    rows = summarize(write_shard(tmp_path, "real/a", events, truth=()), tmp_path / "tables")
    assert all(rows[name] == 0 for name in ("truth_particles", "truth_points", "matches"))
    assert rows["particles"] == 4
    particles = pd.read_parquet(tmp_path / "tables" / "particles.parquet")
    assert set(particles["truth_particle_id"]) == {-1} and particles["truth_iou"].isna().all()
    truth = pd.read_parquet(tmp_path / "tables" / "events.parquet")
    assert not truth["has_truth"].any() and set(truth["truth_num_voxels_track"]) == {-1}


def test_tables_of_the_same_events_are_the_same_bytes(tmp_path):
    paths = write_shard(tmp_path, "beam/0000")
    for name in ("one", "two"):
        summarize(paths, tmp_path / name)
    for table in EVENT_TABLES:
        one, two = (tmp_path / name / f"{table}.parquet" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_units_and_words_are_in_the_file(tmp_path):
    summarize(write_shard(tmp_path, "beam/0000", []), tmp_path / "tables")
    for table in EVENT_TABLES:
        found = pq.read_schema(tmp_path / "tables" / f"{table}.parquet")
        assert found.equals(schema(table), check_metadata=True)
    particles = pq.read_schema(tmp_path / "tables" / "particles.parquet")
    assert particles.field("energy_mev").metadata[b"unit"] == b"MeV"
    assert pd.read_parquet(tmp_path / "tables" / "particles.parquet").empty


def test_a_missing_stage_is_named(tmp_path):
    paths = write_shard(tmp_path, "beam/0000", [])
    with pytest.raises(ValueError, match="written by interact"):
        summarize(paths[:-1], tmp_path / "tables")
    assert not (tmp_path / "tables" / "events.parquet").exists()


def test_an_event_that_ingest_set_aside_has_a_row(tmp_path):
    nothing = quiet_event([])
    nothing["event"] = {name: rows[:0] for name, rows in nothing["event"].items()}
    paths = write_shard(tmp_path, "beam/0000", [nothing], not_ingested={0: "ValueError: no steps"})
    rows = summarize(paths, tmp_path / "tables")
    assert (rows["events"], rows["quarantine"], rows["particles"]) == (1, 1, 0)
    events = pd.read_parquet(tmp_path / "tables" / "events.parquet")
    assert events["quarantine_step"].tolist() == ["ingest"] and events["num_voxels"].tolist() == [0]


def test_figures_come_along_as_evaluate_writes_them(tmp_path):
    files = write_shard(tmp_path, "beam/0000")
    rows = summarize(files, tmp_path / "tables", metrics=tmp_path / "metrics.parquet")
    assert rows["metrics"] == evaluate(files, tmp_path / "alone.parquet") > 0
    alone, along = (pq.read_table(tmp_path / name) for name in ("alone.parquet", "metrics.parquet"))
    assert along.equals(alone)
    summarize(files, tmp_path / "without")
    for name in EVENT_TABLES:
        one, other = (
            pq.read_table(tmp_path / folder / f"{name}.parquet") for folder in ("tables", "without")
        )
        assert one.equals(other), name


def test_figures_of_events_without_truth_are_an_empty_file(tmp_path):
    files = write_shard(tmp_path, "beam/0000", truth=())
    summarize(files, tmp_path / "tables", metrics=tmp_path / "metrics.parquet")
    assert len(pq.read_table(tmp_path / "metrics.parquet")) == 0
