"""Boxes of neutrinos and origins of voxels: the truth, boxes that overlap, and that the network learns both."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import image, labelled, line

from lartpc import config
from lartpc.event import Event, empty
from lartpc.geometry import Box
from lartpc.nets.detector import Maps, best_of, overlaps
from lartpc.stages import OPTIONAL, detect, stage, upstream_of
from lartpc.truth import neutrino_boxes, origins
from lartpc.vocab import GHOST, NONE, Origin, Semantic

FLAT = Box.flat(0.0, 0.3, 0.3, 128)


def overlaid(entry: int, corner: tuple[int, int] = (40, 60)) -> Event:
    """Return a flat image with a neutrino, two tracks from a vertex, and a cosmic track through the image."""
    x, y = corner
    neutrino = [line((x, y, 0), (1, 1, 0), 20), line((x, y, 0), (1, -1, 0), 12)]
    particles: list[dict[str, Any]] = [{"coord": track, "interaction": 0} for track in neutrino]
    particles.append({"coord": line((0, (entry * 37) % 100, 0), (1, 0, 0), 128), "interaction": 1})
    event = labelled(particles, entry)
    truth = {"truth_neutrino": {**empty("truth_neutrino", 1), "interaction": np.zeros(1, np.int32)}}
    return Event(event.file_uid, entry, FLAT, dict(event.products)).with_products(truth)


def test_the_stage_stands_beside_the_chain() -> None:
    row = stage("detect")
    assert row in OPTIONAL and row.module() is detect and upstream_of(row) == ()


def test_the_truth_of_voxels_and_boxes() -> None:
    event = overlaid(1)
    owner = np.asarray(event["truth_voxel"]["interaction"])
    voxel = {name: values.copy() for name, values in event["truth_voxel"].items()}
    cosmic = np.flatnonzero(owner == 1)
    voxel["semantic"][cosmic[0]], voxel["interaction"][cosmic[0]] = GHOST, NONE
    voxel["semantic"][cosmic[1]], voxel["interaction"][cosmic[1]] = Semantic.LOW_ENERGY, NONE
    found = origins(event.with_products({"truth_voxel": voxel}))
    assert found[cosmic[0]] == Origin.BACKGROUND and found[cosmic[1]] == NONE
    assert (found[cosmic[2:]] == Origin.COSMIC).all() and (found[owner == 0] == Origin.NEUTRINO).all()
    low, high, vertex = neutrino_boxes(event, 10)
    np.testing.assert_array_equal(low, [[40, 49, 0]])
    np.testing.assert_array_equal(high, [[60, 80, 1]])
    np.testing.assert_allclose(vertex, [[40.5, 60.5, 0.5]])
    assert len(neutrino_boxes(event, 1000)[0]) == 0


def test_a_vertex_outside_the_image_is_the_middle_of_the_box() -> None:
    event = overlaid(1)
    outside = {**event["truth_interaction"], "vertex": np.full((2, 3), -5.0, np.float32)}
    (vertex,) = neutrino_boxes(event.with_products({"truth_interaction": outside}), 1)[2]
    np.testing.assert_allclose(vertex, [50, 64.5, 0.5])


def test_overlaps_and_the_best_of_boxes_that_do() -> None:
    low = torch.tensor([[0.0, 0.0], [5.0, 0.0], [50.0, 50.0]])
    high = low + 10.0
    found = overlaps(low, high, low, high)
    np.testing.assert_allclose(found[0], [1, 1 / 3, 0], rtol=1e-6)
    score = torch.tensor([0.3, 0.9, 0.5])
    assert best_of(score, low, high, 0.3).tolist() == [1, 2]
    assert best_of(score, low, high, 0.5).tolist() == [1, 2, 0]


def test_pixels_of_a_neutrino_propose_boxes() -> None:
    torch.manual_seed(4)
    cfg = config.Detect.model_validate({"unet": {"filters": 8, "depth": 4, "repetitions": 1}, "level": 2})
    net = detect.network(cfg)
    # two pieces of one event, 5 cells from one another, a few pixels by themselves, and a piece of the second event
    one = [(x, 8) for x in range(8, 24)] + [(x, 8) for x in range(44, 60)] + [(100, 100)]
    two = [(x, 30) for x in range(40, 70)]
    coord = torch.tensor([(0, *place) for place in one] + [(1, *place) for place in two])
    cell = torch.unique(torch.cat([coord[:, :1], coord[:, 1:] // 4], 1), dim=0)
    said = torch.zeros(len(coord), 3)
    said[:, Origin.NEUTRINO] = 1.0
    peak = torch.where((cell == torch.tensor([0, 3, 2])).all(1), 1.0, -4.0)
    maps = Maps(
        said, torch.zeros(len(coord), 8), peak, torch.zeros(len(cell), 2, 2), torch.zeros(len(cell), 2), cell
    )
    boxes = net._propose(maps, coord, 2)
    found = [
        row for row in zip(boxes.event_R.tolist(), boxes.low_RD.tolist(), boxes.high_RD.tolist(), strict=True)
    ]
    for wanted in (
        (0, [8.0, 8.0], [24.0, 9.0]),
        (0, [44.0, 8.0], [60.0, 9.0]),
        (0, [8.0, 8.0], [60.0, 9.0]),
        (1, [40.0, 30.0], [70.0, 31.0]),
    ):
        assert found.count(wanted) == 1, wanted
    both = found.index((0, [8.0, 8.0], [60.0, 9.0]))
    assert boxes.vertex_RD[both].tolist() == [14.0, 10.0] and boxes.peak_R[both] == 1.0
    # no pixel is of a neutrino: the peaks alone
    none = Maps(torch.zeros(len(coord), 3), *list(vars(maps).values())[1:])
    assert len(net._propose(none, coord, 2).event_R) == len(found) - 4


def test_learns_where_the_neutrino_is() -> None:
    torch.manual_seed(1)
    cfg = config.Detect.model_validate(
        {"unet": {"filters": 8, "depth": 4, "repetitions": 1}, "level": 2, "num_proposals": 4}
    )
    batch = [overlaid(entry, (20 + 15 * entry, 90 - 12 * entry)) for entry in range(4)]
    net = detect.network(cfg).train()
    steps = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(80):
        steps.zero_grad()
        terms = detect.loss(net, batch, cfg)
        total = sum(part / count.clamp(min=1) for part, count in terms.values())
        assert isinstance(total, torch.Tensor)
        total.backward()
        steps.step()
    net.eval()
    assert isinstance(net, detect.Detector)
    sums: dict[str, np.ndarray] = {}
    for event, products in zip(batch, detect.infer(net, batch, cfg), strict=True):
        for name, pair in detect.metrics(event.with_products(products), event, cfg).items():
            sums[name] = sums.get(name, np.zeros(2)) + pair
        best = products["detection"]["vertex"][0]
        assert np.linalg.norm(best - neutrino_boxes(event, 1)[2][0]) < 8
    share = {name: part / whole for name, (part, whole) in sums.items() if whole}
    assert share["accuracy"] > 0.95 and share["iou_neutrino"] > 0.8
    assert share["boxes_found"] == 1 and share["boxes_right"] > 0.7


def test_refuses_images_of_another_dimension() -> None:
    cfg = config.Detect.model_validate({"dimension": 3, "unet": {"filters": 4, "depth": 3}, "level": 1})
    with pytest.raises(ValueError, match=r"detect\.dimension is 3, and these images have 2 dimensions"):
        detect.infer(detect.network(cfg).eval(), [overlaid(0)], cfg)
    with pytest.raises(ValueError, match="level must be less than"):
        config.Detect.model_validate({"level": 9})


def test_numbers_that_are_no_scores_lose_no_box_in_silence() -> None:
    """A score of nan is below each limit."""
    torch.manual_seed(1)
    cfg = config.Detect.model_validate(
        {"unet": {"filters": 4, "depth": 4, "repetitions": 1}, "level": 2, "num_proposals": 4}
    )
    net = detect.network(cfg).eval()
    assert isinstance(net, detect.Detector)
    nothing = image(np.zeros((0, 3)))
    flat = Event(nothing.file_uid, 9, FLAT, dict(nothing.products))
    alone = detect.infer(net, [overlaid(0)], cfg)[0]
    beside = detect.infer(net, [flat, overlaid(0)], cfg)
    assert len(beside[0]["detection"]["score"]) == len(beside[0]["origin"]["label"]) == 0
    np.testing.assert_array_equal(alone["origin"]["label"], beside[1]["origin"]["label"])
    np.testing.assert_allclose(alone["detection"]["score"], beside[1]["detection"]["score"], rtol=1e-5)
    with torch.no_grad():
        for values in net.parameters():
            values.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        detect.infer(net, [overlaid(0)], cfg)
