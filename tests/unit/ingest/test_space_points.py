"""Points made of wire planes, and what a 2D network says carried to them, up to the tables of the 3D chain."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkout import REPOSITORY
from pydantic import ValidationError
from test_project import WIRES, write_steps

from lartpc import config
from lartpc.event import conform, empty
from lartpc.ingest.detector.backproject import added
from lartpc.provenance import fingerprint, provenance
from lartpc.run.backproject import backproject
from lartpc.run.collect import collect
from lartpc.run.infer import infer
from lartpc.run.ingest import ingest
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize
from lartpc.run.weights import save_weights
from lartpc.stages import flow, stage
from lartpc.store import EventWriter, open_events
from lartpc.truth import upstream_from_truth
from lartpc.vocab import GHOST, Semantic

SIDE = 64
FLAT = config.Ingest.model_validate({"num_voxels": SIDE, "wires": WIRES})
SECTION = config.Segment.model_validate({"dimension": 2})
PROPOSAL = tuple(empty("proposal"))
MODELS = REPOSITORY / "models"


def with_points(**changes: object) -> config.Ingest:
    return config.Ingest.model_validate(
        {"num_voxels": SIDE, "wires": {**WIRES, "space_points": True, **changes}}
    )


def from_truth(images: Path, out: Path) -> Path:
    """Write what a network would that is always right: the classes and points that the planes see."""
    attrs = provenance("segment", 1, config={}, inputs=[images])
    with (
        open_events(images) as events,
        EventWriter(
            out, ("semantic", "proposal"), file_uid=events.file_uid, box=events.box, attrs=attrs
        ) as writer,
    ):
        for event in events:
            found = upstream_from_truth(event, ["semantic", "point"])
            kept = conform("proposal", {name: found["point"][name] for name in PROPOSAL})
            writer.append(event.entry, {"semantic": found["semantic"], "proposal": kept})
    return out


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("points")
    steps = write_steps(root / "steps.h5")
    paths = {
        name: root / f"{name}.h5" for name in ("ingest", "images", "segment", "points", "cluster", "interact")
    }
    ingest(steps, with_points(), out=paths["ingest"], file_uid="wires/0")
    ingest(steps, FLAT, out=paths["images"], file_uid="wires/0")
    paths["of_images"] = from_truth(paths["images"], root / "of_images.h5")
    found = backproject(paths["ingest"], [paths["images"], paths["of_images"]], SECTION, out=paths["segment"])
    assert found["num_events"] == 3 and found["num_quarantined"] == 0
    return paths | {"steps": steps, "root": root}


def test_each_deposit_has_a_point_and_energy_is_kept(shard: dict[str, Path], tmp_path: Path) -> None:
    solid = tmp_path / "solid.h5"
    ingest(shard["steps"], config.Ingest(num_voxels=SIDE), out=solid, file_uid="wires/0")
    with open_events(solid) as deposits, open_events(shard["ingest"]) as points:
        assert points.box == deposits.box and points.entries.tolist() == [0, 1, 2]
        assert set(points.quarantined()) == {1} and [event.num_voxels for event in points][2] == 0
        true, made = deposits[0], points[0]
    away = np.abs(true["voxel"]["coord"][:, None] - made["voxel"]["coord"][None]).max(axis=2)
    assert away.min(axis=1).max() <= 1  # two straight muons: none is lost
    real = made["truth_voxel"]["semantic"] != GHOST
    assert real.tolist() == (away.min(axis=0) <= 1).tolist()
    assert made["voxel"]["energy"].sum() == pytest.approx(32.0, rel=0.01)
    row = made["event"]
    accounted = sum(row[f"energy_{name}_mev"][0] for name in ("outside", "below", "lost"))
    assert accounted + made["voxel"]["energy"].sum(dtype=float) == pytest.approx(32.0, rel=1e-5)
    # each muon has its own points, in its own place
    for muon, column in ((0, 2), (1, 1)):
        mine = made["voxel"]["coord"][made["truth_voxel"]["particle"] == muon]
        assert np.ptp(mine[:, column]) >= 24 and np.ptp(mine[:, 3 - column]) <= 3


def test_a_dead_wire_is_seen_past(shard: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "dead.h5"
    ingest(shard["steps"], with_points(readout={"dead_share": 0.15}), out=path, file_uid="wires/0")
    with open_events(path) as events, open_events(shard["ingest"]) as all_alive:
        found, whole = events[0], all_alive[0]
    # of points that three planes see a sixth of the wires would take 39 %; two planes are enough for most of them
    muon = whole["voxel"]["coord"][whole["truth_voxel"]["particle"] >= 0]
    away = np.abs(muon[:, None] - found["voxel"]["coord"][None]).max(axis=2).min(axis=1)
    assert (away <= 1).mean() > 0.85
    assert 0.7 * 32 < found["voxel"]["energy"].sum() < 1.1 * 32


def test_points_have_what_the_planes_say(shard: dict[str, Path]) -> None:
    with open_events(shard["ingest"], shard["segment"]) as events:
        event = events[0]
        assert len(events[2]["semantic"]["label"]) == 0
    label, energy = event["semantic"]["label"], event["voxel"]["energy"]
    assert (label[energy >= 0.03] == Semantic.TRACK).all() and (label[energy < 0.03] == GHOST).all()
    assert ((event["semantic"]["ghost_score"] > 0.5) == (label == GHOST)).all()
    # a start and an end of each muon, where they are
    position, end = event["proposal"]["position"], event["proposal"]["end_score"]
    for place, is_end in zip(event["truth_point"]["position"], event["truth_point"]["kind"], strict=True):
        assert np.linalg.norm(position[(end > 0.5) == is_end] - place, axis=1).min() < 2.0


def test_a_network_of_points_tells_ghosts(shard: dict[str, Path], tmp_path: Path) -> None:
    images, weights = [shard["images"], shard["of_images"]], MODELS / "ghost" / "segment.pt"
    section = config.Segment.model_validate({"dimension": 2, "infer": {"point_ghost_score": 0.4}})
    out, alone = tmp_path / "ghosts.h5", tmp_path / "alone.h5"
    assert backproject(shard["ingest"], images, section, out=out, ghosts=[weights])["num_quarantined"] == 0
    of_points = config.Segment.model_validate({"plane_hits": True, "heads": {"ghost": True}})
    infer(stage("segment"), [shard["ingest"]], of_points, out=alone, weights=weights)
    with (
        open_events(shard["ingest"], out) as events,
        open_events(alone) as network,
        open_events(shard["segment"]) as by_charge,
    ):
        event, said, before = events[0], network[0]["semantic"], by_charge[0]["semantic"]
        assert events.attributes()["segment"]["ghost_weights"] == fingerprint(weights)[1]
        assert (
            "the typical event has" in events.attributes()["segment"]["warnings"]
        )  # two muons are no event of its
    semantic = event["semantic"]
    np.testing.assert_allclose(semantic["ghost_score"], said["ghost_score"], atol=1e-5)
    np.testing.assert_array_equal(semantic["score"], before["score"])
    assert ((semantic["label"] == GHOST) == (semantic["ghost_score"] >= 0.4)).all()
    assert (semantic["label"][semantic["ghost_score"] < 0.4] == Semantic.TRACK).all()
    section_of_flow, net = config.Flow(), flow.network(config.Flow())
    save_weights(tmp_path / "flow.pt", stage("flow"), section_of_flow, net.state_dict(), {})
    backproject(shard["ingest"], images, section, out=tmp_path / "pairs.h5", ghosts=[tmp_path / "flow.pt"])
    infer(stage("flow"), [shard["ingest"]], section_of_flow, out=alone, weights=tmp_path / "flow.pt")
    with open_events(tmp_path / "pairs.h5") as events, open_events(alone) as network:
        found, said = events[0]["semantic"], network[0]["pairing"]
    np.testing.assert_allclose(found["ghost_score"], 1 - said["score"], atol=1e-5)
    assert ((found["label"] == GHOST) == (found["ghost_score"] >= 0.4)).all()
    with pytest.raises(ValueError, match=r"does not tell ghosts of 3D points"):
        backproject(shard["ingest"], images, section, out=out, ghosts=[MODELS / "segment.pt"])
    with pytest.raises(ValidationError, match=r"ghost_weights are for points made of images"):
        config.Segment(ghost_weights=str(weights))


@pytest.mark.parametrize("way", ["points", "both"])
def test_a_network_of_points_tells_the_rest_too(shard: dict[str, Path], tmp_path: Path, way: str) -> None:
    images, weights = [shard["images"], shard["of_images"]], MODELS / "ghost" / "segment.pt"
    section = config.Segment.model_validate(
        {
            "dimension": 2,
            "ghost_weights": str(weights),
            "infer": {"point_ghost_score": 0.4, "point_classes": way},
        }
    )
    out, alone = tmp_path / "points.h5", tmp_path / "alone.h5"
    backproject(shard["ingest"], images, section, out=out, ghosts=[weights])
    of_points = config.Segment.model_validate(
        {"plane_hits": True, "heads": {"ghost": True}, "infer": {"ghost_threshold": 0.4}}
    )
    infer(stage("segment"), [shard["ingest"]], of_points, out=alone, weights=weights)
    with open_events(out) as joint, open_events(alone) as network, open_events(shard["segment"]) as planes:
        found, said, of_planes = joint[0], network[0], planes[0]
    seen, proposed = of_planes["semantic"]["score"], said if way == "points" else of_planes
    assert proposed["proposal"]["score"].size
    for name, source in {"proposal": proposed, "affinity": said}.items():
        for column, values in source[name].items():
            np.testing.assert_array_equal(found[name][column], values)
    np.testing.assert_array_equal(found["semantic"]["label"] == GHOST, said["semantic"]["label"] == GHOST)
    score = said["semantic"]["score"]
    if way == "both":
        score = np.maximum(score, 1e-3) * np.maximum(seen, 1e-3)
        score /= score.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["semantic"]["score"], score, atol=1e-6)


def test_what_is_asked_of_points_needs_a_network_of_points(shard: dict[str, Path], tmp_path: Path) -> None:
    asked = {"dimension": 2, "infer": {"point_classes": "points"}}
    with pytest.raises(ValueError, match=r"point_classes: points needs segment.ghost_weights"):
        config.Config.model_validate({"segment": asked, "ingest": {"wires": {"angles_deg": [0, 60]}}})
    section = config.Segment.model_validate(asked)
    images, flow = [shard["images"], shard["of_images"]], MODELS / "flow" / "flow.pt"
    with pytest.raises(ValueError, match=r"needs one segment of 3D points .*; 0 of .*flow.pt are"):
        backproject(shard["ingest"], images, section, out=tmp_path / "a.h5", ghosts=[flow])


def test_logits_of_several_are_added() -> None:
    # odds of 3 and 1/3 are even, of 4 and 9 are 36; certainty of one is not undone by a guess of the other
    one, two = np.array([0.75, 0.8, 1.0, 0.0], np.float32), np.array([0.25, 0.9, 0.3, 0.7], np.float32)
    np.testing.assert_allclose(added([one, two]), [0.5, 36 / 37, 1.0, 0.0], atol=1e-5)
    np.testing.assert_array_equal(added([one]), one)
    # two that are certain of the opposite say nothing
    np.testing.assert_allclose(added([one[2:], one[:1:-1]]), [0.5, 0.5], atol=1e-3)


def test_two_networks_tell_ghosts_together(shard: dict[str, Path], tmp_path: Path) -> None:
    images = [shard["images"], shard["of_images"]]
    both = [MODELS / "ghost" / "segment.pt", MODELS / "flow" / "flow.pt"]
    section = config.Segment.model_validate({"dimension": 2, "infer": {"point_ghost_score": 0.4}})
    scores, labels, said = [], [], []
    for name, ghosts in (("one", both[:1]), ("other", both[1:]), ("both", both)):
        backproject(shard["ingest"], images, section, out=tmp_path / f"{name}.h5", ghosts=ghosts)
        with open_events(tmp_path / f"{name}.h5") as events:
            scores.append(events[0]["semantic"]["ghost_score"].astype(float))
            labels.append(events[0]["semantic"]["label"])
            said.append(events.attributes()["segment"])
    logits = [np.log(score / (1 - score)) for score in scores]
    told = np.abs(logits[0] + logits[1]) < 8  # single precision tells them well
    assert told.sum() > 50
    np.testing.assert_allclose(logits[2][told], (logits[0] + logits[1])[told], atol=1e-2)
    np.testing.assert_array_equal(labels[2] == GHOST, scores[2] >= 0.4)
    assert said[2]["ghost_weights"] == ", ".join(fingerprint(path)[1] for path in both)
    warnings = [json.loads(one["warnings"]) for one in said]
    assert warnings[2] == [*warnings[0], *warnings[1]]
    assert {line.partition(":")[0] for line in warnings[2]} == {"ghosts by segment", "ghosts by flow"}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("segment.pt", r"models/segment\.pt does not tell ghosts of 3D points"),
        ("cluster.pt", r"models/cluster\.pt does not tell ghosts of 3D points"),
        ("ghost/segment.pt", r"the same weights are given twice"),
    ],
)
def test_each_of_several_weights_must_tell_ghosts(
    shard: dict[str, Path], tmp_path: Path, second: str, message: str
) -> None:
    out, ghosts = tmp_path / "ghosts.h5", [MODELS / "ghost" / "segment.pt", MODELS / second]
    with pytest.raises(ValueError, match=message):
        backproject(shard["ingest"], [shard["images"], shard["of_images"]], SECTION, out=out, ghosts=ghosts)
    assert not out.exists()


def test_the_chain_ends_in_its_tables(shard: dict[str, Path]) -> None:
    root, sections = shard["root"], {"cluster": config.Cluster(), "interact": config.Interact()}
    infer(
        stage("points"),
        [shard["ingest"], shard["segment"]],
        config.Points(),
        out=shard["points"],
        weights=None,
    )
    files = [shard[name] for name in ("ingest", "segment", "points")]
    for name in ("cluster", "interact"):
        infer(stage(name), files, sections[name], out=shard[name], weights=MODELS / f"{name}.pt")
        files.append(shard[name])
    assert summarize(files, root / "tables")["particles"] >= 2
    assert evaluate(files, root / "metrics.parquet") == 2
    images = [shard["images"], shard["of_images"]]
    infer(stage("points"), images, config.Points(), out=root / "p.h5", weights=None)
    assert evaluate([*images, root / "p.h5"], root / "planes.parquet", input_label="planes") == 6
    metrics = [root / "metrics.parquet", root / "planes.parquet"]
    summary = collect([root / "tables"], metrics, [shard["ingest"]], root / "dataset")
    assert summary["figures"]["planes"]["icpf_mean"] == 0.0
    assert summary["figures"]["predicted"]["particle_purity"] > 0.9
    particles = pd.read_parquet(root / "dataset" / "particles").nlargest(2, "energy_mev")
    assert particles["length_cm"].between(7, 9).all() and (particles["semantic"] == "track").all()


def test_files_that_do_not_fit_are_refused(shard: dict[str, Path], tmp_path: Path) -> None:
    images = [shard["images"], shard["of_images"]]
    with pytest.raises(ValueError, match=r"must hold points of wire planes"):
        backproject(shard["images"], images, SECTION, out=tmp_path / "a.h5")
    other = tmp_path / "other.h5"
    ingest(shard["steps"], with_points(point_tolerance=0.4), out=other, file_uid="wires/0")
    with pytest.raises(ValueError, match=r"with other settings"):
        backproject(other, images, SECTION, out=tmp_path / "a.h5")
    ingest(shard["steps"], with_points(), out=other, file_uid="wires/1")
    with pytest.raises(ValueError, match=r"images of other events"):
        backproject(other, images, SECTION, out=tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("angles_deg", [(0,), (0, 60, -120)])
def test_planes_that_do_not_cross_make_no_points(angles_deg: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match=r"two or more planes|above -90"):
        with_points(angles_deg=angles_deg)
