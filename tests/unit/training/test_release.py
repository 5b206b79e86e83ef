"""Released weights: half the size, the same network, and a card that only says what was measured."""

import json
from pathlib import Path

import pytest
import torch
from conftest import typical
from training import section, train_here, write_events

from lartpc.provenance import fingerprint
from lartpc.run.release import release, write_card
from lartpc.run.weights import load_weights, read_weights, write_weights
from lartpc.stages import segment, stage


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_here(folder / "segment", write_events(folder / "ingest.h5"), "segment")
    return folder / "segment" / "weights.pt"


def summary(folder: Path, weights: str) -> Path:
    """Write the summary of a dataset whose voxels were classified with some weights."""
    folder.mkdir()
    content = {
        "num_events": 2000,
        "num_quarantined": 0,
        "num_voxels": 10**6,
        "rows": {"particles": 5, "interactions": 2},
        "samples": {"held_out": {"events": 2000}},
        "throughput": {"segment": {"voxels_per_s": 1.0, "weights": [weights]}},
        "figures": {"predicted": {"num_events": 2000, "semantic_accuracy": 0.9871}},
    }
    (folder / "summary.json").write_text(json.dumps(content))
    return folder


def test_half_the_size_and_the_same_classes(tmp_path: Path, trained: Path) -> None:
    (path,) = release([trained], tmp_path / "models")
    assert path.name == "segment.pt" and path.stat().st_size < 0.65 * trained.stat().st_size
    nets = [load_weights(file, stage("segment"), section("segment")) for file in (trained, path)]
    assert {p.dtype for p in nets[1].parameters()} == {torch.float32}
    event = typical(3)
    scores = [segment.infer(net, [event], section("segment"))[0]["semantic"]["score"] for net in nets]
    assert abs(scores[0] - scores[1]).max() < 0.01


def test_the_card_says_what_the_weights_carry_and_what_was_measured(tmp_path: Path, trained: Path) -> None:
    (path,) = release([trained], tmp_path / "models")
    card = write_card(tmp_path / "models", summary(tmp_path / "dataset", fingerprint(path)[1])).read_text()
    for part in (
        fingerprint(path)[1],
        "24 passes",
        "| started from | nothing |",
        "`num_steps=6`",
        "held_out (2,000 events)",
        "98.7 %",
    ):
        assert part in card
    assert "98.7" not in write_card(tmp_path / "models", None).read_text()


def test_figures_of_other_weights_are_refused(tmp_path: Path, trained: Path) -> None:
    release([trained], tmp_path / "models")
    with pytest.raises(ValueError, match="reconstruct its events with the released weights"):
        write_card(tmp_path / "models", summary(tmp_path / "dataset", "0123"))


def test_no_path_of_the_trainer_is_released(tmp_path: Path, trained: Path) -> None:
    content = read_weights(trained)
    origin = json.loads(content["provenance"])
    config = json.loads(origin["config"])
    for start, said in ((str(trained), trained.name), ("models/segment.pt", "models/segment.pt")):
        config["train"]["init_from"] = start
        origin |= {"config": json.dumps(config), "start": "0123abcd", "git_revision": ""}
        write_weights(tmp_path / "own.pt", {**content, "provenance": json.dumps(origin)})
        (path,) = release([tmp_path / "own.pt"], tmp_path / "models")
        assert str(trained.parent) not in read_weights(path)["provenance"]
        card = write_card(tmp_path / "models", None).read_text()
        assert f"`init_from={said}`" in card and "digest `0123abcd`" in card
        assert "revision not known" in card


def test_what_cannot_be_released(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(ValueError, match="given twice"):
        release([trained, trained], tmp_path / "models")
    content = read_weights(trained)
    content["state"]["unet.stem.weight"][0] = 1e6
    write_weights(tmp_path / "large.pt", content)
    with pytest.raises(ValueError, match=r"unet\.stem\.weight does not fit in half precision"):
        release([tmp_path / "large.pt"], tmp_path / "models")
    with pytest.raises(ValueError, match="holds no weights"):
        write_card(tmp_path / "nothing", None)
