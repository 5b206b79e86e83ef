"""Where the chain loses: figures with the truth put in for a part, on events whose losses are known."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ALL_PRODUCTS, BOX, labelled, line
from typer.testing import CliRunner

from lartpc import config
from lartpc.cli import app
from lartpc.event import conform, empty
from lartpc.provenance import provenance
from lartpc.run.quality.budget import CHAIN, PARTS, pool
from lartpc.run.weights import save_weights
from lartpc.stages import cluster, interact, stage
from lartpc.store import EventWriter
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic

SMALL = {"graph": {"num_hidden": 8}}


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def a_track_called_shower(proposes):
    """Two tracks; the second was called a shower, and only the first has proposals."""
    event = labelled(
        [{"coord": line((100, 300, 200), (1, 0, 0), 40)}, {"coord": line((400, 300, 200), (1, 0, 0), 40)}]
    )
    event = upstream_from_truth(event, ["semantic", "affinity"])
    second = event["truth_voxel"]["particle"] == 1
    event["semantic"]["label"][second] = Semantic.SHOWER
    event["semantic"]["score"][second] = np.eye(len(Semantic))[Semantic.SHOWER]
    truth = event["truth_point"]
    kept = (truth["particle"] == 0) & proposes
    proposal = {
        "position": truth["position"][kept],
        "score": np.full(kept.sum(), 0.95),
        "class_score": np.eye(len(Semantic))[truth["semantic"][kept]],
        "end_score": truth["kind"][kept],
    }
    return event.with_products({"proposal": conform("proposal", proposal)})


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget")
    weights = {}
    for name, module in (("cluster", cluster), ("interact", interact)):
        section = config.SECTIONS[name].model_validate(SMALL)
        (folder / f"{name}.json").write_text('{"graph": {"num_hidden": 8}}')
        weights[name] = folder / f"{name}.pt"
        save_weights(
            weights[name], stage(name), section, module.network(section).state_dict(), {"by": "a test"}
        )
    attrs = provenance("ingest", 1, config={})
    products = (*ALL_PRODUCTS, "semantic", "affinity", "proposal")
    with EventWriter(folder / "in.h5", products, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        for entry, proposes in enumerate((True, False)):
            writer.append(entry, a_track_called_shower(proposes).products)
        nothing = {name: empty(name, int(name == "event")) for name in products}
        writer.quarantine(2, "for the test", nothing)
    said = run(
        *("quality", "measure", folder / "in.h5", "--out", folder / "m.parquet"),
        *("--cluster", folder / "cluster.json", "--interact", folder / "interact.json"),
        *("--cluster-weights", weights["cluster"], "--interact-weights", weights["interact"]),
    )
    assert "2 events" in said
    for name in weights:
        assert f"warning: {name} s/0: the weights of {name} do not state what they were trained on" in said
    return folder / "m.parquet"


def test_the_truth_in_a_part_brings_what_that_part_lost(measured):
    rows = pq.read_table(measured).to_pandas()
    assert sorted(rows["entry"].unique()) == [0, 1] and set(rows["part"]) == set(PARTS)
    num, found = pool([measured])
    assert num == 2
    value = {part: pooled.value for part, pooled in found.items()}
    # one start and one end of four a track
    assert value[CHAIN]["found"] == pytest.approx(2 / 8) and value[CHAIN]["right"] == 1
    assert value["points"]["found"] == value["classes_points"]["found"] == 1
    assert value["classes"]["found"] == value[CHAIN]["found"]
    for part in PARTS:
        assert value[part]["fragment_ari"] == 1 and value[part]["matched"] == 1
    assert value[CHAIN]["matched_size_20_to_49"] == 1 and np.isnan(value[CHAIN]["matched_size_1_to_4"])


def test_the_page_has_every_part_and_errors(measured, tmp_path):
    page = tmp_path / "budget.md"
    said = run("quality", "budget", measured, "--out", page)
    text = page.read_text()
    assert text.strip() == said.strip() and "2 events" in text
    assert all(f"| {words} |" in text for words in PARTS.values())
    # 3 of 4 points of an event are found instead of 1 of 2: a gain in both events, of errors above zero
    found = json.loads(run("quality", "budget", measured, "--out", page, "--json"))
    rows = {row["truth put in for"]: row for row in found["tables"][0]["rows"]}
    assert rows.keys() == set(PARTS.values())
    assert any(cell["value"] == 75.0 for cell in rows["points"].values() if isinstance(cell, dict))
    (line_of_points,) = (row for row in text.splitlines() if row.startswith("| points | +"))
    assert "+75.0 ± " in line_of_points


def test_parts_of_other_events_are_not_compared(measured, tmp_path):
    rows = pq.read_table(measured)
    cut = rows.filter(
        (rows["part"].to_numpy(zero_copy_only=False) != "points") | (rows["entry"].to_numpy() != 1)
    )
    pq.write_table(cut, tmp_path / "cut.parquet")
    with pytest.raises(ValueError, match="the events of part 'points' are others"):
        pool([tmp_path / "cut.parquet"])


def test_interactions_by_rules_need_no_weights(measured, tmp_path):
    folder = measured.parent
    (tmp_path / "rules.json").write_text('{"infer": {"interactions": "rules"}}')
    words = ["quality", "measure", folder / "in.h5", "--out", tmp_path / "m.parquet", "--num-events", 1]
    words += ["--cluster", folder / "cluster.json", "--cluster-weights", folder / "cluster.pt"]
    assert "1 events" in run(*words, "--interact", tmp_path / "rules.json")
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code and "stage 'interact' needs --interact-weights" in result.output
