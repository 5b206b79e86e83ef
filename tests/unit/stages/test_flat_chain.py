"""Images of wire planes through the whole 2D chain, on a tiny sample, and what refuses them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from checkout import REPOSITORY
from test_project import CFG, write_steps
from training import TRAIN

from lartpc import config
from lartpc.run.collect import collect
from lartpc.run.export import export
from lartpc.run.infer import infer
from lartpc.run.ingest import ingest
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.report import report
from lartpc.run.summarize import summarize
from lartpc.run.training.train import train
from lartpc.run.weights import load_weights, read_weights, save_weights, write_weights
from lartpc.stages import chain_in, segment, stage
from lartpc.store import open_events

UNET = {"filters": 4, "depth": 3, "repetitions": 1}
SECTION = config.Segment.model_validate(
    {"dimension": 2, "unet": UNET, "infer": {"proposal_floor": 0.0}, "train": {**TRAIN, "loss": "border"}}
)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ingest, train for some steps, and run the stages of the 2D chain."""
    root = tmp_path_factory.mktemp("flat")
    paths = {name: root / f"{name}.h5" for name in ("ingest", "segment", "points")}
    ingest(write_steps(root / "steps.h5"), CFG, out=paths["ingest"], file_uid="wires/0")
    files, weights = [paths["ingest"]], root / "weights.pt"
    log = root / "segment" / "training.jsonl"
    log.parent.mkdir()
    last = train(stage("segment"), files, files, SECTION, out=weights, log=log, num_ranks=1)
    assert np.isfinite(last["loss"]) and last["step"] == TRAIN["num_steps"]
    assert infer(stage("segment"), files, SECTION, out=paths["segment"], weights=weights)["num_voxels"] > 100
    some = config.Points(score_threshold=0.0, start_threshold=0.0, class_threshold=0.0, class_distance=1000.0)
    infer(stage("points"), [*files, paths["segment"]], some, out=paths["points"], weights=None)
    return {**paths, "weights": weights, "log": log, "root": root}


def test_the_2d_chain_ends_with_points() -> None:
    assert [row.name for row in chain_in(2)] == ["segment", "points"]
    assert [row.name for row in chain_in(3)] == ["segment", "points", "cluster", "interact"]


def test_what_is_predicted_lies_in_the_image(shard: dict[str, Path]) -> None:
    with open_events(*(shard[name] for name in ("ingest", "segment", "points"))) as events:
        for event in events[:3]:
            assert len(event["semantic"]["label"]) == event.num_voxels > 0
            for product in ("proposal", "point"):
                assert len(event[product]["position"]) > 0
                assert event.box.contains(event[product]["position"]).all()
                assert (event[product]["position"][:, 2] == 0.5).all()
        assert all(len(event["point"]["position"]) == 0 for event in events[6:])  # empty images


def test_tables_figures_and_page_of_2d_images(shard: dict[str, Path]) -> None:
    root = shard["root"]
    files = [shard[name] for name in ("ingest", "segment", "points")]
    rows = summarize(files, root / "tables")
    assert rows["events"] == 9 and rows["points"] > 0 and rows["truth_particles"] > 0
    assert rows["particles"] == rows["interactions"] == 0 and rows["quarantine"] == 3
    assert evaluate(files, root / "metrics.parquet") == 6
    summary = collect([root / "tables"], [root / "metrics.parquet"], [shard["ingest"]], root / "dataset")
    figures = summary["figures"]["predicted"]
    table = pd.read_parquet(root / "metrics.parquet")
    assert table["plane"].tolist() == [0, 1, 2, 0, 1, 2] and set(table["stages"]) == {"segment,points"}
    wrong = [1 - np.trace(c.reshape(5, 5)) / c.sum() for c in table["semantic_confusion"] if c.sum()]
    assert figures["icpf_five_mean"] == pytest.approx(np.mean(wrong))
    assert figures["point_num"] > 0 and figures["particle_purity"] is None
    events = pd.read_parquet(root / "dataset" / "events")
    assert events["source_entry"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert events["plane"].tolist() == [0, 1, 2] * 3
    points = pd.read_parquet(root / "dataset" / "truth_points")
    assert np.allclose(points["z_cm"], 0) and np.abs(points["x_cm"]).max() < 5
    page = root / "report.html"
    report(root / "dataset", files, [shard["log"]], page, config.Report())
    data = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page.read_text(), re.S)[1])
    assert [drawn["dimension"] for drawn in data["displays"]] == [2, 2, 2]
    assert data["displays"][1]["title"] == "wires/0, entry 1, plane 1"
    assert data["displays"][1]["pitch_cm"] == pytest.approx([0.3, 0.3, 0.3])


@pytest.mark.parametrize(
    "use",
    [
        lambda path: infer(
            stage("cluster"),
            [path],
            config.Cluster(),
            out=path.with_name("c.h5"),
            weights=REPOSITORY / "models/cluster.pt",
        ),
        lambda path: train(
            stage("interact"), [path], [path], config.Interact(), out=path, log=path, num_ranks=1
        ),
        lambda path: export([path], path.with_name("e.h5"), to="pilarnet-m-v2"),
    ],
    ids=["cluster", "interact", "export"],
)
def test_what_needs_3d_says_so(use: Callable[[Path], Any], shard: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"needs 3D images, and these are views|views of wire planes"):
        use(shard["ingest"])


def test_a_network_refuses_images_of_the_other_dimension(shard: dict[str, Path]) -> None:
    solid = config.Segment.model_validate({"unet": UNET})
    with open_events(shard["ingest"]) as events, pytest.raises(ValueError, match=r"segment.dimension is 3"):
        segment.infer(segment.network(solid), [events[0]], solid)
    with pytest.raises(ValueError, match=r"segment.dimension: 2 there, 3 here"):
        load_weights(shard["weights"], stage("segment"), solid)


def test_weights_from_before_a_setting_have_its_default(tmp_path: Path) -> None:
    solid = config.Segment.model_validate({"unet": UNET})
    path = tmp_path / "weights.pt"
    save_weights(path, stage("segment"), solid, segment.network(solid).state_dict(), {})
    content = read_weights(path)
    settings = json.loads(content["settings"])
    del settings["dimension"]
    write_weights(path, content | {"settings": json.dumps(settings)})
    assert not load_weights(path, stage("segment"), solid).training
