"""Masks of parts of events, and how the scores of the rest are compared."""

import json
from pathlib import Path

import pytest
import torch
from conftest import BOX, image, labelled, line

from lartpc import config
from lartpc.event import TRUTH, Event
from lartpc.provenance import provenance
from lartpc.run.explain import explain
from lartpc.run.explain.masks import masks_of, particles_of
from lartpc.run.weights import load_weights, save_weights
from lartpc.stages import segment, stage
from lartpc.store import EventWriter
from lartpc.vocab import Semantic

SECTION = config.Segment.model_validate({"unet": {"filters": 4, "depth": 3, "repetitions": 1}})
MUON = {"coord": line((100, 100, 100), (1, 0, 0), 60), "semantic": Semantic.TRACK}
MICHEL = {"coord": line((160, 101, 100), (0, 1, 0), 15), "semantic": Semantic.MICHEL}
FAR = {"coord": line((400, 400, 400), (0, 0, 1), 12), "semantic": Semantic.SHOWER}


def event() -> Event:
    return labelled([MUON, MICHEL, FAR], num_blips=3)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An event file and weights of a network without training."""
    path, weights = tmp_path / "ingest.h5", tmp_path / "weights.pt"
    names = ("event", "voxel", *TRUTH)
    with EventWriter(
        path, names, file_uid="by/hand", box=BOX, attrs=provenance("ingest", 1, config={})
    ) as writer:
        one = event()
        writer.append(4, {name: one[name] for name in names})
        writer.quarantine(5, "bad")
    torch.manual_seed(1)
    save_weights(weights, stage("segment"), SECTION, segment.network(SECTION).state_dict(), {})
    return path, weights


def test_masks_are_pieces_of_the_particles() -> None:
    one = event()
    particles = particles_of(one)
    coord = one["voxel"]["coord"]
    found = {mask.kind: mask.masked_V for mask in masks_of(one, particles)}
    # 60 voxels of 3 mm: 18 cm; a shower of 12 voxels has no pieces
    assert set(found) == {
        *("track", "start of a track", "end of a track", "track after 10 cm", "Michel", "shower"),
    }
    assert found["start of a track"].sum() == found["end of a track"].sum() == 10
    assert coord[found["start of a track"], 0].max() == 109
    assert coord[found["end of a track"], 0].min() == 150
    assert coord[found["track after 10 cm"], 0].min() == 134
    assert found["track"].sum() == 60 and found["Michel"].sum() == 15 and found["shower"].sum() == 12


def test_reconstructed_particles_take_the_place_of_the_truth() -> None:
    one = event()
    truth = one["truth_particle"]
    reco = one.with_products(
        {
            "group": {"particle": one["truth_voxel"]["particle"]},
            "particle": {name: truth[name] for name in ("semantic", "start_point", "end_point")},
        }
    )
    bare = Event(
        one.file_uid, 0, one.box, {name: reco[name] for name in ("event", "voxel", "group", "particle")}
    )
    mine, theirs = (list(masks_of(given, particles_of(given))) for given in (one, bare))
    assert [mask.kind for mask in mine] == [mask.kind for mask in theirs]
    with pytest.raises(ValueError, match="has no particles"):
        particles_of(image(line((1, 1, 1), (1, 0, 0), 3)))


def test_scores_are_compared_with_those_of_the_whole_event(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, weights = files
    rows = explain([path], SECTION, weights, tmp_path / "out", num_events=5)
    assert "the weights of segment do not state what they were trained on" in capsys.readouterr().err
    assert (tmp_path / "out" / "explain.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / "explain.json").read_text())["rows"] == rows
    by = {(row["mask"], row["relation"], row["class"]): row for row in rows}
    # the Michel begins beside the end of its muon, the shower is far from all
    assert ("end of a track", "beside it", "michel") in by and ("Michel", "beside it", "track") in by
    away = by["Michel", "away from it", "shower"]
    assert away["num_particles"] == 1 and away["num_voxels"] == 12 and away["error"] is None
    assert away["change"] == pytest.approx(0, abs=1e-5) and away["turned"] == 0
    near = by["end of a track", "beside it", "michel"]
    one = event()
    masked = next(mask for mask in masks_of(one, particles_of(one)) if mask.kind == "end of a track").masked_V
    net = load_weights(weights, stage("segment"), SECTION)
    left = Event("", 0, BOX, {"voxel": {name: value[~masked] for name, value in one["voxel"].items()}})
    before, after = (segment.infer(net, [given], SECTION)[0]["semantic"]["score"] for given in (one, left))
    mine = one["truth_voxel"]["particle"] == 1
    wanted = after[mine[~masked], Semantic.MICHEL].mean() - before[mine, Semantic.MICHEL].mean()
    assert near["change"] == pytest.approx(wanted, abs=1e-5) and abs(near["change"]) > 1e-6


def test_what_cannot_be_explained_says_so(files: tuple[Path, Path], tmp_path: Path) -> None:
    path, weights = files
    with pytest.raises(ValueError, match="no entry 7"):
        explain([path], SECTION, weights, tmp_path / "out", entries=[7])
    with pytest.raises(ValueError, match="nothing can be masked"):
        explain([path], SECTION, weights, tmp_path / "out", entries=[5])
    assert not (tmp_path / "out").exists()
