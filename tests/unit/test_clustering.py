"""The table of the clustering's quality, on events drawn by hand."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ALL_PRODUCTS, BOX, ODD_EVENTS, labelled, line

from lartpc import config
from lartpc.provenance import provenance
from lartpc.run.clustering import measure, table
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
    assert set(rows["entry"]) == {0, 1, 2, 3} and len(rows) == 4 * 3 * 5
    first = rows[rows["entry"] == 0].set_index(["method", "class"])
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
    assert cells[2][:6] == ["truth", "fragments alone", "all", "2", "100.0", "41.7"]
    assert len(cells) == 3
    with pytest.raises(ValueError, match="no tables"):
        table([], tmp_path / "none.md")
