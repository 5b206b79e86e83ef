"""Hits of the planes that points are made of: what is kept of them, and what the network makes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_ghosts import BOX, UVY, image_of, labels_of
from test_segment import SMALL, make_event, total

from lartpc.config import Segment, Tomography
from lartpc.event import MAX_PLANES, Event, empty
from lartpc.ingest.detector.tomography import Hits, plane_hits, reconstruct
from lartpc.nets.augment import turn
from lartpc.nets.plane_hits import Rivals, hit_features, seen_by_planes
from lartpc.stages import segment
from lartpc.vocab import GHOST, NONE

SEES = Segment.model_validate({**SMALL.model_dump(), "heads": {"ghost": True}, "plane_hits": True})


def test_hits_of_two_planes_by_hand() -> None:
    image = image_of([(3, 5, 9), (3, 20, 11), (4, 7, 7)], [1.0, 3.0, 5.0])
    _, found = reconstruct(image, {}, BOX, Tomography(angles_deg=(0.0, 90.0)))
    # the corners of a rectangle, z slowest in none: (5, 9), (5, 11), (20, 9), (20, 11), and one by itself
    assert found["plane_hit"]["charge"].tolist() == [[1, 1, 0], [3, 1, 0], [1, 3, 0], [3, 3, 0], [5, 5, 0]]
    assert found["plane_hit"]["num_points"].tolist() == [[2, 2, 0]] * 4 + [[1, 1, 0]]
    # wires at 0° measure z, those at 90° y downwards, from the centre of the box on
    assert found["plane_hit"]["wire"][:, :2].tolist() == [[-7, 10], [-5, 10], [-7, -5], [-5, -5], [-9, 8]]
    assert len(reconstruct(image_of([]), {}, BOX, UVY)[1]["plane_hit"]["charge"]) == 0


def test_what_a_plane_does_not_see_is_none_and_further_planes_are_left_out() -> None:
    hits = [Hits(*(np.zeros(2, np.int64),) * 3, charge=np.array([1.0, 2.0])) for _ in range(MAX_PLANES + 1)]
    rows = [np.array([0, NONE, 1]), np.array([1, 1, NONE]), np.array([0, 0, 0]), np.array([1, 1, 1])]
    found = plane_hits(rows, hits)
    assert found["charge"].tolist() == [[1, 2, 1], [0, 2, 1], [2, 0, 1]]
    assert found["num_points"].tolist() == [[1, 2, 3], [0, 2, 3], [1, 0, 3]]


def test_a_charge_that_only_one_point_explains_is_of_a_real_one() -> None:
    rng = np.random.default_rng(5)
    coord = np.unique(rng.integers(0, [3, 32, 32], (90, 3)), axis=0)
    image = image_of(coord.tolist(), rng.uniform(0.1, 2.0, len(coord)).tolist())
    _, found = reconstruct(image, {"truth_voxel": labels_of(image)}, BOX, UVY)
    alone = (found["plane_hit"]["num_points"] == 1).any(axis=1)
    assert alone.any() and (found["truth_voxel"]["semantic"][alone] != GHOST).all()


def test_features_do_not_know_which_plane_is_which() -> None:
    energy, charge = torch.tensor([1.0, 0.5]), torch.tensor([[2.0, 1.0, 4.0], [0.5, 0.0, 1.0]])
    num = torch.tensor([[2, 1, 8], [1, 0, 4]])
    found = hit_features(energy, charge, num)
    assert found[:, :3].tolist() == [[1.0, 0.5, 0.25], [1.0, 0.5, 0.0]]
    assert found[:, 6:].tolist() == [[1.0, 0.5, 0.125], [1.0, 0.25, 0.0]]
    assert (found[:, 3:6].diff(dim=1)[0] > 0).all() and found[1, 5] == 0
    order = [1, 2, 0]
    torch.testing.assert_close(hit_features(energy, charge[:, order], num[:, order]), found)


def test_points_of_one_hit_have_one_number() -> None:
    event = make_event(num_voxels=5)
    coord = torch.tensor([[0, 4, 0, 0], [0, 4, 9, 9], [0, 5, 0, 0], [1, 4, 0, 0], [1, 4, 1, 1]])
    hit = empty("plane_hit", 5)
    hit["charge"][:, 0], hit["num_points"][:, 0] = [0.3, 0.3, 0.3, 0.3, 0.7], 1
    hit["charge"][:2, 1], hit["num_points"][:2, 1] = 0.5, 2
    seen = seen_by_planes([event.with_products({"plane_hit": hit})], coord, torch.ones(5))
    first, second, third = seen.hit_VP.T.tolist()
    assert first[0] == first[1] and len(set(first)) == 4
    assert second[0] == second[1] and len(set(second)) == 4
    assert len(set(third)) == 5
    swapped = seen.rows(torch.tensor([4, 3, 2, 1, 0]))
    assert swapped.hit_VP[:, 0].tolist() == first[::-1] and torch.equal(swapped.feat_VC, seen.feat_VC.flip(0))


def test_a_rival_changes_the_score_of_a_point_far_away() -> None:
    torch.manual_seed(3)
    net, feat = Rivals(4, 0.1), torch.randn(3, 4)
    together, apart = (
        torch.tensor([[0, 0, 0], [0, 1, 1], [1, 2, 2]]),
        torch.tensor([[0, 0, 0], [1, 1, 1], [2, 2, 2]]),
    )
    one, two = net(feat, together), net(feat, apart)
    assert (one[:2] != two[:2]).all() and one[2] == two[2]
    other = feat.clone()
    other[0] += 1
    assert net(other, together)[1] != one[1] and net(other, together)[2] == one[2]
    assert net(feat, together[:, [2, 0, 1]]).tolist() == pytest.approx(one.tolist(), rel=1e-5)
    assert len(net(feat[:0], together[:0])) == 0


def with_hits(event: Event) -> Event:
    """Every second voxel of the event is a ghost: its wires have more charge, and more points."""
    truth = {name: value.copy() for name, value in event["truth_voxel"].items()}
    ghost = np.arange(event.num_voxels) % 2 == 0
    truth["semantic"][ghost] = GHOST
    hit = empty("plane_hit", event.num_voxels)
    hit["charge"][:] = (event["voxel"]["energy"] * np.where(ghost, 4, 1))[:, None]
    hit["num_points"][:] = np.where(ghost, 4, 1)[:, None]
    return event.with_products({"truth_voxel": truth, "plane_hit": hit})


def test_hits_add_nothing_at_first_and_then_tell_ghosts() -> None:
    torch.manual_seed(1)
    blind = Segment.model_validate({**SEES.model_dump(), "plane_hits": False})
    event, net, other = with_hits(make_event()), segment.network(SEES), segment.network(blind)
    assert {name.split(".")[0] for name in net.state_dict().keys() - other.state_dict().keys()} == {
        "hits",
        "ghost",
    }
    other.load_state_dict(
        {name: value for name, value in net.state_dict().items() if name in other.state_dict()}, strict=False
    )
    first, without = (
        segment.infer(one.eval(), [event], cfg)[0]["semantic"] for one, cfg in ((net, SEES), (other, blind))
    )
    np.testing.assert_array_equal(first["score"], without["score"])
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        total(segment.loss(net, [event], SEES)).backward()
        optimizer.step()
    figures = segment.metrics(event.with_products(segment.infer(net.eval(), [event], SEES)[0]), event, SEES)
    assert figures["ghosts_removed"][0] / figures["ghosts_removed"][1] > 0.95
    assert figures["real_kept"][0] / figures["real_kept"][1] > 0.95


def test_reflections_take_the_hits_with_them() -> None:
    torch.manual_seed(2)
    cfg = Segment.model_validate({**SEES.model_dump(), "infer": {"symmetries": 8}})
    event, net = with_hits(make_event()), segment.network(cfg).eval()
    torch.nn.init.normal_(net.hits.last.weight)
    mirrored = event.with_products(
        {
            name: {key: value[::-1].copy() for key, value in event[name].items()}
            for name in ("voxel", "plane_hit")
        }
    )
    coord = mirrored["voxel"]["coord"]
    mirrored["voxel"]["coord"] = 63 - coord
    one, two = (segment.infer(net, [seen], cfg)[0]["semantic"]["ghost_score"] for seen in (event, mirrored))
    np.testing.assert_allclose(one, two[::-1], atol=1e-5)


def test_events_without_hits_are_named_and_turns_keep_the_axes() -> None:
    with pytest.raises(ValueError, match=r"file has no hits of planes.*ingest\.tomography"):
        segment.loss(segment.network(SEES), [make_event()], SEES)
    with pytest.raises(ValueError, match="cannot be exported"):
        segment.portable(segment.network(SEES), SEES, by_gathers=False)
    with pytest.raises(ValueError, match="plane_hits are of 3D points"):
        Segment(plane_hits=True, dimension=2)
    event = with_hits(make_event())
    for seed in range(6):
        turned = turn(event, np.random.default_rng(seed))
        for axis in range(3):
            one, two = event["voxel"]["coord"][:, axis], turned["voxel"]["coord"][:, axis]
            assert sorted(two) in (sorted(one), sorted(63 - one))
        share = turned["voxel"]["energy"] / turned["plane_hit"]["charge"][:, 0]
        ghost = turned["truth_voxel"]["semantic"] == GHOST
        np.testing.assert_allclose(share, np.where(ghost, 0.25, 1.0), rtol=1e-6)


def test_ingested_points_have_their_hits(tmp_path: Path) -> None:
    from handmade_steps import g4_step, write_geant4

    from lartpc.config import Ingest, Wires
    from lartpc.run.ingest import ingest
    from lartpc.store import open_events

    steps = [
        g4_step(0, 1, 13, (1, -30, -50), (1, -30, 50), 20.0),
        g4_step(0, 2, 13, (1, 30, -45), (1, 30, 55), 30.0),
    ]
    muons = [(0, track, 0, 13, b"primary", 60.0, (1, 0, 0), (0, 0, 100), 0.0, 0) for track in (1, 2)]
    source = write_geant4(tmp_path / "s.h5", steps, muons)
    for name, cfg in (
        ("tomography", Ingest(centre_cm=(0, 0, 0), tomography=Tomography(angles_deg=(0.0, 90.0)))),
        (
            "wires",
            Ingest(
                centre_cm=(0, 0, 0),
                wires=Wires(angles_deg=(0.0, 90.0), space_points=True, drift_velocity_cm_us=0.1),
            ),
        ),
    ):
        ingest(source, cfg, out=tmp_path / f"{name}.h5")
        with open_events(tmp_path / f"{name}.h5") as events:
            event = events[0]
        hit, energy = event["plane_hit"], event["voxel"]["energy"]
        assert len(hit["charge"]) == event.num_voxels > 0 and (hit["charge"][:, 2] == 0).all()
        assert (hit["charge"][:, :2] >= energy[:, None] * (1 - 1e-5)).all(), name
        assert (hit["num_points"][:, :2] >= 1).all()


def test_masked_events_keep_the_hits_of_the_rest() -> None:
    from lartpc.run.explain.study import _without

    event = with_hits(make_event())
    masked = np.arange(event.num_voxels) < 30
    rest = _without(event, masked)
    np.testing.assert_array_equal(rest["plane_hit"]["charge"], event["plane_hit"]["charge"][~masked])
    found = segment.infer(segment.network(SEES).eval(), [rest], SEES)[0]["semantic"]["ghost_score"]
    assert len(found) == event.num_voxels - 30
