"""Boxes against true ones, pixels by origin, and the table of `lartpc detections`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_detect import overlaid

from lartpc import config
from lartpc.event import IMAGE, Event, empty
from lartpc.nets.detector import overlaps
from lartpc.provenance import provenance
from lartpc.run.quality.detection_curve import efficiency_purity
from lartpc.run.quality.detections import Found, Pixels, detections, kind_of
from lartpc.run.release import release, write_card
from lartpc.run.weights import save_weights
from lartpc.stages import stage
from lartpc.store import EventWriter
from lartpc.truth import neutrino_boxes, origins
from lartpc.vocab import Origin

TRUE = (np.array([[0.0, 0, 0], [20, 20, 0]]), np.array([[10.0, 10, 1], [30, 30, 1]]), np.zeros((2, 3)))


def boxes(*rows: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    """Return boxes of 10 x 10 at places x, y with scores."""
    low = np.array([[x, y, 0.0] for x, y, _ in rows]).reshape(-1, 3)
    return (
        low,
        low + np.array([10.0, 10.0, 1.0]),
        np.zeros((len(rows), 3)),
        np.array([score for *_, score in rows]),
    )


def test_the_overlap_of_a_box_with_others() -> None:
    low, high, *_ = boxes((5, 0, 1))
    found = overlaps(*map(torch.from_numpy, (low, high, *TRUE[:2])))
    np.testing.assert_allclose(found, [[1 / 3, 0]])


def test_each_true_box_is_found_once_by_the_best() -> None:
    found = Found()
    found.add(
        boxes((1, 0, 0.6), (0, 0, 0.9), (25, 20, 0.8)), TRUE
    )  # the second is best; the third overlaps a third
    assert found.at(0.0) == {
        "num": 3,
        "efficiency": 0.5,
        "purity": pytest.approx(1 / 3),
        "iou": 1.0,
        "vertex": 0.0,
    }
    assert found.at(0.85)["purity"] == 1 and found.at(0.95)["efficiency"] == 0
    assert found.average_precision() == 0.5
    found.add(boxes((20, 20, 0.7)), TRUE)  # behind a wrong box: purity 2/3 at an efficiency of a half
    assert found.average_precision() == pytest.approx((1 + 2 / 3) / 4)


def test_pixels_of_unknown_origin_do_not_count() -> None:
    pixels = Pixels()
    pixels.add(np.array([1, 1, 1, 2, 2, 0, -1]), np.array([1, 1, 2, 2, 0, 0, 2]))
    pixels.add(np.array([1]), np.array([1]))
    found = pixels.figures()
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["iou_cosmic"] == pytest.approx(3 / 4) and found["iou_cosmic_of_images"] == pytest.approx(
        (2 / 3 + 1) / 2
    )
    assert found["iou_neutrino"] == found["iou_neutrino_of_images"] == pytest.approx(1 / 3)


def written(folder: Path, weights: Path | None = None, cfg: config.Detect | None = None) -> list[Path]:
    """Write two images with their truth, and detections that are the true ones, and a false one in the second."""
    events = [overlaid(entry) for entry in (0, 1)]
    truth = [name for name in events[0] if name.startswith("truth")]
    paths = [folder / "ingest.h5", folder / "detect.h5"]
    attrs = provenance("ingest", 1, config={})
    with EventWriter(paths[0], (*IMAGE, *truth), file_uid="s/0", box=events[0].box, attrs=attrs) as writer:
        for event in events:
            writer.append(event.entry, dict(event.products))
    about = provenance(
        "detect",
        1,
        config=config.slice_of(cfg or config.Detect(), "infer"),
        inputs=paths[:1],
        weights=weights,
    )
    names = ("origin", "detection")
    with EventWriter(paths[1], names, file_uid="s/0", box=events[0].box, attrs=about) as writer:
        for event in events:
            writer.append(event.entry, said(event))
    return paths


def said(event: Event) -> dict[str, dict[str, np.ndarray]]:
    low, high, vertex = neutrino_boxes(event, 1)
    num = 1 + event.entry
    detection = empty("detection", num) | {"score": np.linspace(0.95, 0.55, num, dtype="f4")}
    detection["low"][0], detection["high"][0], detection["vertex"][0] = low[0], high[0], vertex[0]
    detection["high"][1:] = 5
    label = origins(event)
    score = np.eye(len(Origin), dtype="f4")[label]
    return {"origin": {"score": score, "label": label.astype("i1")}, "detection": detection}


def test_the_table(tmp_path: Path) -> None:
    text = detections(written(tmp_path), tmp_path / "detections.md")
    assert (tmp_path / "detections.md").read_text() == text
    assert "2 images with 2 neutrinos" in text
    assert "| score ≥ 0.5 | 3 | 100.0 % | 66.7 % | 100.0 % | 0.0 |" in text
    assert "| score ≥ 0.7 | 2 | 100.0 % | 100.0 % | 100.0 % | 0.0 |" in text
    assert "| neutrino: IoU of all pixels | 100.0 % | 100.0 % | > 70 % |" in text
    assert not (tmp_path / "curve.png").exists()


def test_images_are_told_apart_by_their_neutrino_and_the_curve_is_drawn(tmp_path: Path) -> None:
    event, curve = overlaid(0), tmp_path / "curve.png"
    neutrino = event["truth_neutrino"]
    for pdg, current, kind in ((14, 0, "νμ CC"), (-12, 0, "νe CC"), (14, 1, "NC"), (14, -1, "unknown")):
        changed = {**neutrino, "pdg": np.array([pdg]), "current": np.array([current])}
        assert kind_of(event.with_products({"truth_neutrino": changed})) == kind
    none, two = ({name: np.repeat(value, num, axis=0) for name, value in neutrino.items()} for num in (0, 2))
    assert kind_of(event.with_products({"truth_neutrino": none})) == "no neutrino"
    assert kind_of(event.with_products({"truth_neutrino": two})) == "several"
    text = detections(written(tmp_path), tmp_path / "detections.md", curve=curve)
    kind = kind_of(event)
    assert f"| images with | {kind} (2) |" in text and "| — purity, score ≥ 0.5 | 66.7 % |" in text
    assert "| neutrino: mean of images | 100.0 % |" in text
    assert curve.read_bytes().startswith(b"\x89PNG")


def test_efficiency_and_purity_at_each_score() -> None:
    found = Found()
    found.add(boxes((0, 0, 0.9), (50, 50, 0.9), (20, 20, 0.7)), TRUE)
    efficiency, purity = efficiency_purity(found)
    assert efficiency.tolist() == [0.5, 1.0] and purity.tolist() == pytest.approx([0.5, 2 / 3])
    assert [len(one) for one in efficiency_purity(Found())] == [0, 0]


def test_what_a_true_box_is_follows_from_the_settings_of_the_files(tmp_path: Path) -> None:
    files = written(tmp_path, cfg=config.Detect(min_voxels=100_000))
    assert "2 images with 0 neutrinos of 100000 voxels" in detections(files, tmp_path / "detections.md")


def test_refuses_files_without_detections_and_other_chains(tmp_path: Path) -> None:
    paths = written(tmp_path)
    with pytest.raises(ValueError, match="origin"):
        detections(paths[:1], tmp_path / "a.md")
    with pytest.raises(ValueError, match=r"group|identity|interaction|semantic"):
        detections(paths, tmp_path / "a.md", paths[:1])


def test_the_card_of_weights_has_the_page_that_they_made(tmp_path: Path) -> None:
    row, section = stage("detect"), config.Detect.model_validate({"unet": {"filters": 4, "depth": 4}})
    torch.manual_seed(1)
    about = provenance("train detect", 1, config=config.slice_of(section, "train"), seed=1)
    about |= {"inputs": json.dumps({"2 events": "x"}), "final": {"step": 3}}
    save_weights(tmp_path / "weights.pt", row, section, row.module().network(section).state_dict(), about)
    release([tmp_path / "weights.pt"], tmp_path / "models")
    with pytest.raises(ValueError, match="was not made with"):
        detections(written(tmp_path), tmp_path / "other.md")
        write_card(tmp_path / "models", None, detections=tmp_path / "other.md")
    folder = tmp_path / "own"
    folder.mkdir()
    detections(written(folder, tmp_path / "models" / "detect.pt"), tmp_path / "own.md")
    text = write_card(tmp_path / "models", None, detections=tmp_path / "own.md").read_text()
    assert "## detect" in text and "## Figures" in text and "| score ≥ 0.5 | 3 | 100.0 % |" in text
