"""The table of the clustering's quality, on events drawn by hand."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ALL_PRODUCTS, BOX, ODD_EVENTS, labelled, line

from lartpc import config
from lartpc.provenance import provenance
from lartpc.run.quality.clustering import measure, table
from lartpc.run.weights import save_weights
from lartpc.stages import cluster, stage
from lartpc.store import EventWriter
from lartpc.vocab import Semantic

CFG = config.Cluster.model_validate({"graph": {"num_hidden": 8}})


def two_pieces_and_a_track():
    shower = np.concatenate([line((200, 300, 200), (0, 0, 1), 20), line((200, 300, 240), (0, 0, 1), 10)])
    track = line((500, 300, 200), (1, 0, 0), 30)
    return labelled([{"coord": shower, "semantic": Semantic.SHOWER}, {"coord": track}])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clustering")
    save_weights(
        folder / "cluster.pt", stage("cluster"), CFG, cluster.network(CFG).state_dict(), {"by": "a test"}
    )
    events = [two_pieces_and_a_track(), *(make(0) for make in ODD_EVENTS.values())]
    attrs = provenance("ingest", 1, config={})
    with EventWriter(folder / "ingest.h5", ALL_PRODUCTS, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        for entry, event in enumerate(events):
            writer.append(entry, event.products)
        writer.quarantine(len(events), "for the test")
    out = folder / "measured.parquet"
    assert measure([folder / "ingest.h5"], CFG, weights=folder / "cluster.pt", out=out, on_truth=True) == 4
    return out


def test_fragments_alone_and_cones(measured):
    rows = pq.read_table(measured).to_pandas()
    assert set(rows["entry"]) == {0, 1, 2, 3} and len(rows) == 4 * (3 + 1) * 5
    first = rows[rows["entry"] == 0].set_index(["method", "class"])
    # The helper calls a particle one fragment, whatever its pieces.
    assert first.loc["found", "all"]["efficiency"] == pytest.approx((20 / 30 + 1) / 2)
    assert first.loc["found", "shower"]["num_true"] == first.loc["found", "track"]["purity"] == 1
    alone = first.loc["fragments", "all"]
    assert alone["purity"] == alone["voxel_purity"] == alone["assigned"] == 1
    assert alone["efficiency"] == pytest.approx((20 / 30 + 1) / 2)
    assert alone["voxel_efficiency"] == pytest.approx(50 / 60)
    shower = first.loc["fragments", "shower"]
    assert shower["efficiency"] == pytest.approx(2 / 3) and shower["ari"] == 0
    assert shower["num_primaries"] == shower["num_several"] == shower["num_primaries_right"] == 1
    for name in ("all", "shower", "track"):
        assert first.loc["cones", name][["purity", "efficiency", "ari", "best_dice"]].tolist() == [1] * 4
    assert first.loc["cones", "michel"][["purity", "efficiency", "ari"]].isna().all()
    # Events without particles have no figures, and are no zeros.
    assert rows[rows["entry"] > 1]["purity"].isna().all()


def test_the_table_pools_all_events(measured, tmp_path):
    text = table([measured], tmp_path / "table.md")
    assert text == (tmp_path / "table.md").read_text() and "4 events" in text
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("\n") if "| all |" in line
    ]
    # The lonely voxel is a true track, too small to be a fragment.
    assert cells[0][:6] == ["truth", "fragments", "all", "2", "100.0", "41.7"]
    assert cells[3][:6] == ["truth", "fragments alone", "all", "2", "100.0", "41.7"]
    assert len(cells) == 4
    assert "1 left out in 1 files" in text
    with pytest.raises(ValueError, match="no tables"):
        table([], tmp_path / "none.md")


def test_a_bad_event_is_left_out_with_its_reason(tmp_path, capsys):
    good, bad = two_pieces_and_a_track(), two_pieces_and_a_track()
    # A particle that no row of truth_particle describes.
    owner = np.where(bad["truth_voxel"]["particle"] == 0, 77, bad["truth_voxel"]["particle"])
    bad = bad.with_products({"truth_voxel": {**bad["truth_voxel"], "particle": owner.astype(np.int32)}})
    save_weights(
        tmp_path / "cluster.pt", stage("cluster"), CFG, cluster.network(CFG).state_dict(), {"by": "a test"}
    )
    attrs = provenance("ingest", 1, config={})
    with EventWriter(tmp_path / "in.h5", ALL_PRODUCTS, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        for entry, event in enumerate([good, bad, good]):
            writer.append(entry, event.products)
    out = tmp_path / "measured.parquet"
    assert measure([tmp_path / "in.h5"], CFG, weights=tmp_path / "cluster.pt", out=out, on_truth=True) == 2
    assert set(pq.read_table(out).to_pandas()["entry"]) == {0, 2}
    said = capsys.readouterr().err
    assert "s/0 entry 1 is left out: clustering: IndexError" in said
    assert "warning: cluster s/0: the weights of cluster do not state what they were trained on" in said
    assert "2 events, 1 left out in 1 files" in table([out], tmp_path / "table.md")
