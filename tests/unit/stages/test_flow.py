"""Pixel flow: pixels of wire planes that belong together, by the course of their charges along the drift."""

import numpy as np
import pytest
import torch
from conftest import typical, with_hits
from test_ghosts import BOX, image_of, labels_of

from lartpc.config import Flow, Tomography
from lartpc.event import Event
from lartpc.ingest.detector.tomography import reconstruct
from lartpc.nets.wire_pairs import NUM_FEATURES, WINDOWS, hit_numbers, pair_features
from lartpc.stages import flow
from lartpc.vocab import GHOST

CROSSED = Tomography(angles_deg=(0.0, 90.0), charge_iterations=20)


def tracks(seed: int, num: int = 3, angles: Tomography = CROSSED) -> Event:
    """Return tracks along the drift, some of which lie at the same times: planes see their crossings, too."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(np.stack(np.meshgrid(range(4, 28, 6), range(4, 28, 6)), -1).reshape(-1, 2))
    # no two of them on one wire
    kept = [place for at, place in enumerate(places) if not (place == places[:at]).any()][:num]
    coord, energy = [], []
    for y, z in kept:
        first, length = int(rng.integers(2, 8)), int(rng.integers(10, 20))
        coord += [(x, y, z) for x in range(first, first + length)]
        energy += rng.uniform(0.3, 0.7, length).tolist()
    order = sorted(range(len(coord)), key=lambda row: coord[row])
    image = image_of([coord[row] for row in order], [energy[row] for row in order])
    made, found = reconstruct(image, {"truth_voxel": labels_of(image)}, BOX, angles)
    voxel = {"coord": made.coord.astype(np.int32), "energy": made.energy.astype(np.float32)}
    return Event(f"tracks/{seed}", 0, BOX, {"voxel": voxel, **found})


def test_real_pairs_have_the_same_course_of_charges() -> None:
    event = tracks(1)
    feat, real = pair_features(event), event["truth_voxel"]["semantic"] != GHOST
    assert feat.shape == (event.num_voxels, NUM_FEATURES) and np.isfinite(feat).all()
    assert real.any() and not real.all()
    # of the least of each number: the difference of charges, the overlaps, and how far the ends lie apart
    np.testing.assert_allclose(feat[real, 0], 0, atol=1e-5)
    np.testing.assert_allclose(feat[real, 1 : 2 + len(WINDOWS)], 1, atol=1e-5)
    np.testing.assert_allclose(feat[real, 2 + len(WINDOWS) : 5 + len(WINDOWS)], 0, atol=1e-5)
    assert feat[~real, 1 + len(WINDOWS)].max() < 0.9 and np.median(feat[~real, 0]) > 0.05


def test_planes_have_no_order_and_other_pieces_of_time_do_not_matter() -> None:
    event = with_hits(typical())
    feat = pair_features(event)
    hit = {name: values[:, [2, 0, 1]] for name, values in event["plane_hit"].items()}
    np.testing.assert_allclose(pair_features(event.with_products({"plane_hit": hit})), feat, atol=1e-5)
    later = {**event["voxel"], "coord": event["voxel"]["coord"] + np.array([100, 0, 0], np.int32)}
    np.testing.assert_allclose(pair_features(event.with_products({"voxel": later})), feat, atol=1e-6)


def test_points_of_one_hit_have_one_number_in_their_event_only() -> None:
    one, two = tracks(1), tracks(2)
    number, seen = hit_numbers([one, two])
    assert seen[:, :2].all() and not seen[:, 2].any()
    for plane in range(2):
        num_points = np.bincount(number[:, plane])[number[:, plane]]
        wanted = np.concatenate([event["plane_hit"]["num_points"][:, plane] for event in (one, two)])
        assert num_points.tolist() == wanted.tolist()
    assert not set(number[: one.num_voxels, 0]) & set(number[one.num_voxels :, 0])
    assert len(np.unique(number[:, 2])) == len(number)  # where no wire sees them, points are alone


def test_pairs_of_two_planes_are_learned() -> None:
    torch.manual_seed(0)
    cfg = Flow(num_hidden=16)
    net = flow.network(cfg)
    sample, others = [tracks(seed) for seed in range(8)], [tracks(seed) for seed in range(20, 26)]
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for step in range(60):
        terms = flow.loss(net, sample[step % 2 :: 2], cfg)
        optimizer.zero_grad()
        sum(part / count.clamp(min=1) for part, count in terms.values()).backward()
        optimizer.step()
    total: dict[str, np.ndarray] = {}
    for event, found in zip(others, flow.infer(net.eval(), others, cfg), strict=True):
        share = found["pairing"]["share"]
        np.testing.assert_allclose(
            np.bincount(hit_numbers([event])[0][:, 0], share[:, 0])[hit_numbers([event])[0][:, 0]],
            1,
            atol=1e-5,
        )
        for name, figure in flow.metrics(event.with_products(found), event, cfg).items():
            total[name] = total.get(name, np.zeros(2)) + figure
    figures = {name: part / whole for name, (part, whole) in total.items()}
    assert figures["pairs_right"] > 0.97 and figures["purity"] > 0.95
    assert figures["real_kept"] > 0.95 and figures["ghosts_removed"] > 0.95


def test_points_without_hits_are_refused() -> None:
    cfg = Flow(num_hidden=8)
    with pytest.raises(
        ValueError, match=r"no hits of planes: its points are to be made by ingest\.tomography"
    ):
        flow.infer(flow.network(cfg), [typical()], cfg)
