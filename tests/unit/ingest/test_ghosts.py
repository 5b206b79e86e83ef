"""Ghosts: points that planes of wires make up, the head that tells them, and what becomes of them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import typical
from handmade_steps import g4_step, write_geant4
from test_segment import SMALL, make_event, total

from lartpc.config import Dbscan, Ingest, Points, Segment, Tomography
from lartpc.event import PRODUCTS, Event, conform, empty
from lartpc.fragments import dbscan
from lartpc.geometry import Box
from lartpc.ingest.detector.tomography import reconstruct
from lartpc.ingest.voxelize import Deposits, Image, Pieces
from lartpc.nets.losses import ghost_term
from lartpc.provenance import provenance
from lartpc.run.ingest import ingest
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.quality.pool import pool
from lartpc.stages import points, segment
from lartpc.store import EventWriter, open_events
from lartpc.tables.rows import match_objects
from lartpc.truth import adopted, is_far_ghost, upstream_from_truth
from lartpc.vocab import GHOST, NONE, Semantic

SIDE = 32
BOX = Box((0.0, 0.0, 0.0), 0.3, SIDE)
UVY = Tomography(angles_deg=(60.0, -60.0, 0.0))


def image_of(coord: list[tuple[int, int, int]], energy: list[float] | None = None) -> Image:
    coord_V3 = np.array(coord, np.int64).reshape(-1, 3)
    num = len(coord_V3)
    energy_V = np.ones(num) if energy is None else np.array(energy)
    pieces = Pieces(np.arange(num), np.zeros(num), np.ones(num), np.zeros((3, num)), np.ones((3, num)))
    deposits = Deposits(pieces, np.arange(num), np.ones(num, bool), energy_V)
    return Image(coord_V3, energy_V, float(energy_V.sum()), 0.0, 0.0, deposits)


def labels_of(image: Image) -> dict[str, np.ndarray]:
    num = len(image.energy)
    return conform(
        "truth_voxel",
        {
            "semantic": np.full(num, Semantic.TRACK),
            **{name: np.zeros(num) for name in ("fragment", "particle", "interaction")},
        },
    )


def points_by_hand(image: Image, angles_deg: tuple[float, ...]) -> set[tuple[int, int, int]]:
    """All voxels of the box whose wires all have charge, by trying each of them."""
    found = set()
    for x in np.unique(image.coord[:, 0]).tolist():
        yz_V2 = image.coord[image.coord[:, 0] == x, 1:]
        keep = np.ones((SIDE, SIDE), bool)
        y, z = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
        for angle in np.deg2rad(angles_deg):

            def wire(y, z, angle=angle):
                across = (z + 0.5 - SIDE / 2) * np.cos(angle) - (y + 0.5 - SIDE / 2) * np.sin(angle)
                return np.floor(across)

            keep &= np.isin(wire(y, z), wire(yz_V2[:, 0], yz_V2[:, 1]))
        found |= {(x, int(j), int(k)) for j, k in zip(*np.nonzero(keep), strict=True)}
    return found


def test_two_planes_at_right_angles_make_the_corners_of_a_rectangle() -> None:
    image = image_of([(3, 5, 9), (3, 20, 11), (4, 7, 7)], [1.0, 3.0, 5.0])
    cfg = Tomography(angles_deg=(0.0, 90.0), charge_iterations=1)
    made, truth = reconstruct(image, {"truth_voxel": labels_of(image)}, BOX, cfg)
    assert made.coord.tolist() == [[3, 5, 9], [3, 5, 11], [3, 20, 9], [3, 20, 11], [4, 7, 7]]
    assert truth["truth_voxel"]["semantic"].tolist() == [1, GHOST, GHOST, 1, 1]
    assert truth["truth_voxel"]["particle"].tolist() == [0, NONE, NONE, 0, 0]
    # Wires have 1 and 3 in both planes; each of two points gets half, and the mean of both planes.
    assert made.energy.tolist() == pytest.approx([0.5, 1.0, 1.0, 1.5, 5.0])
    assert made.deposits.voxel.tolist() == [0, 3, 4]


def test_a_third_plane_removes_ghosts_that_it_does_not_see() -> None:
    image = image_of([(3, 5, 9), (3, 20, 11)])
    made, _ = reconstruct(image, {}, BOX, Tomography(angles_deg=(0.0, 90.0, 45.0)))
    assert made.coord.tolist() == image.coord.tolist()
    np.testing.assert_allclose(made.energy, image.energy)


@pytest.mark.parametrize("angles", [(60.0, -60.0, 0.0), (0.0, 60.0, -60.0), (35.7, -35.7, 0.0)])
def test_points_are_where_all_planes_agree(angles: tuple[float, ...], monkeypatch) -> None:
    rng = np.random.default_rng(3)
    coord = np.unique(rng.integers(0, [3, SIDE, SIDE], (90, 3)), axis=0)
    image = image_of(coord.tolist(), rng.uniform(0.1, 2.0, len(coord)).tolist())
    made, truth = reconstruct(image, {"truth_voxel": labels_of(image)}, BOX, Tomography(angles_deg=angles))
    assert set(map(tuple, made.coord.tolist())) == points_by_hand(image, angles)
    assert len(np.unique(made.coord, axis=0)) == len(made.coord)
    assert made.coord.tolist() == sorted(made.coord.tolist())
    real = truth["truth_voxel"]["semantic"] != GHOST
    assert made.coord[real].tolist() == image.coord.tolist() and (~real).sum() > 0
    # No energy is lost or made, and all of it is positive.
    assert made.energy.sum() == pytest.approx(image.energy.sum()) and (made.energy > 0).all()
    # Cut in small pieces, the same.
    monkeypatch.setattr("lartpc.ingest.detector.tomography.MAX_PAIRS", 50)
    again, _ = reconstruct(image, {}, BOX, Tomography(angles_deg=angles))
    np.testing.assert_array_equal(again.coord, made.coord)


def test_iterations_explain_the_planes_better() -> None:
    image = image_of([(3, 5, 9), (3, 5, 20), (3, 20, 11)], [1.0, 2.0, 3.0])

    def misfit(num: int) -> float:
        made, _ = reconstruct(image, {}, BOX, Tomography(angles_deg=(0.0, 90.0), charge_iterations=num))
        seen, true = (np.bincount(kind.coord[:, 2], kind.energy, SIDE) for kind in (made, image))
        return float(np.abs(seen - true).sum())

    # One iteration: wires of plane z have 1.5, 2.5 and 2 where 1, 3 and 2 were deposited.
    assert misfit(1) == pytest.approx(1.0)
    assert misfit(50) < 0.01


def test_wider_wires_and_one_voxel_and_nothing() -> None:
    made, _ = reconstruct(image_of([(3, 5, 9)]), {}, BOX, Tomography(angles_deg=(0.0, 90.0), pitch_cm=0.6))
    assert made.coord.tolist() == [[3, 4, 8], [3, 4, 9], [3, 5, 8], [3, 5, 9]]
    assert made.energy.tolist() == [0.25] * 4
    alone, _ = reconstruct(image_of([(0, 0, 0)]), {}, BOX, UVY)
    assert [0, 0, 0] in alone.coord.tolist()
    assert len(reconstruct(image_of([]), {}, BOX, UVY)[0].energy) == 0


def test_planes_that_make_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="one plane makes no points"):
        Tomography(angles_deg=(0.0,))
    with pytest.raises(ValueError, match="parallel"):
        Tomography(angles_deg=(0.0, 60.0, -120.0))


def test_ingestion_with_tomography_keeps_energies_and_counts(tmp_path: Path) -> None:
    # Two muons of 10 cm along z, 6 cm apart at the same x: planes that measure y and z see four.
    steps = [
        g4_step(0, 1, 13, (1, -30, -50), (1, -30, 50), 20.0),
        g4_step(0, 2, 13, (1, 30, -45), (1, 30, 55), 30.0),
        g4_step(1, 1, 13, (1, 1, 1), (1, 1, 1), -1.0),
    ]
    trajectories = [
        (event, track, 0, 13, b"primary", 60.0, (1, 0, 0), (0, 0, 100), 0.0, 0)
        for event, track in ((0, 1), (0, 2), (1, 1))
    ]
    source = write_geant4(tmp_path / "s.h5", steps, trajectories)
    cfg = Ingest(centre_cm=(0, 0, 0), tomography=Tomography(angles_deg=(0.0, 90.0)))
    summary = ingest(source, cfg, out=tmp_path / "out.h5")
    plain = ingest(source, Ingest(centre_cm=(0, 0, 0)), out=tmp_path / "plain.h5")
    assert summary.num_quarantined == plain.num_quarantined == 1
    assert summary.energy_mev == plain.energy_mev == pytest.approx(50.0)
    with open_events(tmp_path / "out.h5") as made, open_events(tmp_path / "plain.h5") as real:
        event, before = made[0], real[0]
        semantic = event["truth_voxel"]["semantic"]
        kept = semantic != GHOST
        assert event["voxel"]["coord"][kept].tolist() == before["voxel"]["coord"].tolist()
        assert len(np.unique(event["voxel"]["coord"][:, 1])) == 2
        # Each muon appears twice, where the other one is: only the ends are seen once.
        assert (~kept).sum() == 2 * len(np.unique(before["voxel"]["coord"][:, 2])) - kept.sum()
        assert event["voxel"]["energy"].sum() == pytest.approx(50.0, rel=1e-5)
        assert (event["truth_voxel"]["particle"][kept] == before["truth_voxel"]["particle"]).all()
        assert (event["truth_voxel"]["particle"][~kept] == NONE).all()
        for name in ("truth_particle", "truth_point", "truth_fragment"):
            for column, value in before[name].items():
                np.testing.assert_array_equal(event[name][column], value)


# -- the head ----------------------------------------------------------------------------------


def with_ghosts(event: Event) -> Event:
    """Every second voxel of the shower becomes a ghost."""
    truth = {name: value.copy() for name, value in event["truth_voxel"].items()}
    ghost = (truth["semantic"] == Semantic.SHOWER) & (np.arange(event.num_voxels) % 2 == 0)
    truth["semantic"][ghost] = GHOST
    for name in ("fragment", "particle", "interaction"):
        truth[name][ghost] = NONE
    energy = np.where(ghost, 5.0, event["voxel"]["energy"]).astype("f4")
    return event.with_products({"truth_voxel": truth, "voxel": {**event["voxel"], "energy": energy}})


def test_ghost_term_by_hand() -> None:
    logit = torch.tensor([0.0, 2.0, -1.0, 3.0])
    total_, count = ghost_term(logit, torch.tensor([1, GHOST, 0, NONE]))
    expected = np.log(2) + np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))
    assert total_.item() == pytest.approx(expected, rel=1e-6) and count.item() == 3


def test_the_head_learns_ghosts_and_no_later_stage_uses_them() -> None:
    torch.manual_seed(1)
    cfg = Segment.model_validate({**SMALL.model_dump(), "heads": {"ghost": True}})
    event, net = with_ghosts(make_event()), segment.network(cfg)
    assert set(net.state_dict()) - set(segment.network(SMALL).state_dict()) == {
        "ghost.weight",
        "ghost.bias",
    }
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        terms = segment.loss(net, [event], cfg)
        total(terms).backward()
        optimizer.step()
    truth = event["truth_voxel"]["semantic"]
    assert float(terms["ghost"][1]) == event.num_voxels
    assert float(terms["semantic"][1]) == (truth != GHOST).sum()
    found = event.with_products(segment.infer(net.eval(), [event], cfg)[0])
    label = found["semantic"]["label"]
    np.testing.assert_array_equal(label == GHOST, found["semantic"]["ghost_score"] >= 0.5)
    figures = segment.metrics(found, event, cfg)
    assert figures["ghosts_removed"][0] / figures["ghosts_removed"][1] > 0.95
    assert figures["real_kept"][0] / figures["real_kept"][1] > 0.95
    # A proposal is made by one voxel each; ghosts make none.
    assert len(found["proposal"]["score"]) <= (label != GHOST).sum()
    all_ghosts = found.with_products({"semantic": {**found["semantic"], "label": np.full_like(label, GHOST)}})
    assert len(points.infer(None, [all_ghosts], Points())[0]["point"]["score"]) == 0


def test_ghosts_are_in_no_cluster() -> None:
    event = upstream_from_truth(typical(0), ["semantic", "point"])
    label = event["semantic"]["label"].copy()
    label[::2] = GHOST
    seen = event.with_products({"semantic": {**event["semantic"], "label": label}})
    fragment_V, _ = dbscan.find(seen, Dbscan())
    assert (fragment_V[label == GHOST] == NONE).all() and (fragment_V != NONE).any()


def test_figures_of_ghosts_by_hand(tmp_path: Path) -> None:
    true = np.array([0, 0, 0, 1, 1, GHOST, GHOST, GHOST, GHOST, NONE])
    label = np.array([0, 1, GHOST, 1, 1, GHOST, GHOST, GHOST, 0, 0])
    num = len(true)
    products = {name: empty(name) for name in PRODUCTS}
    products["event"] = empty("event", 1)
    products["voxel"] = {"coord": np.arange(3 * num).reshape(num, 3), "energy": np.ones(num)}
    products["truth_voxel"] = {**empty("truth_voxel", num), "semantic": true}
    score = np.full((num, 5), 0.05)
    score[np.arange(num), np.where(label == GHOST, 0, label)] = 0.8
    products["semantic"] = {**empty("semantic", num), "score": score, "label": label}
    path = tmp_path / "0.h5"
    names = ["event", "voxel", "truth_voxel", "semantic", "proposal"]
    with EventWriter(
        path, names, file_uid="s/0", box=BOX, attrs=provenance("ingest", 1, config={})
    ) as writer:
        writer.append(0, {name: products[name] for name in names})
    assert evaluate([path], tmp_path / "metrics.parquet") == 1
    table = pq.read_table(tmp_path / "metrics.parquet")
    assert table["ghost_counts"].to_pylist() == [[2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 3]]
    assert table["ghost_far_counts"].to_pylist() == [[1, 3]]
    figures = pool(table)["predicted"]
    assert figures["ghost_far_removed"] == 0.75
    assert figures["ghost_removed"] == 0.75 and figures["ghost_real_kept"] == 0.8
    # Recall of what was kept, and of all.
    assert figures["semantic_recall_shower"] == 0.5
    assert figures["semantic_recall_shower_of_all"] == pytest.approx(1 / 3)
    assert figures["semantic_recall_track_of_all"] == 1
    # Four real voxels were kept, three of them right, all with a score of 0.8.
    assert figures["semantic_calibration_error"] == pytest.approx(abs(3 - 3.2) / 4)
    assert figures["uncertain_num"] == 0 and np.isnan(figures["semantic_error_surest_90"])


def test_ghosts_beside_real_voxels_are_known_by_themselves() -> None:
    coord = np.array([[5, 5, 5], [6, 6, 6], [5, 5, 7], [9, 9, 9], [30, 5, 5]])
    true = np.array([Semantic.TRACK, GHOST, GHOST, GHOST, GHOST])

    def far(rows: slice) -> list[bool]:
        labels = {**empty("truth_voxel", len(true[rows])), "semantic": true[rows]}
        voxel = {"coord": coord[rows], "energy": np.ones(len(true[rows]))}
        return is_far_ghost(Event("s/0", 0, BOX, {"voxel": voxel, "truth_voxel": labels})).tolist()

    # the second shares a corner with the real one, the third does not
    assert far(slice(0, 5)) == [False, False, True, True, True]
    assert far(slice(1, 5)) == [True] * 4 and far(slice(0, 1)) == [False] and far(slice(0, 0)) == []


def test_ghosts_beside_real_voxels_belong_to_what_is_nearest() -> None:
    coord = np.array([[5, 5, 5], [6, 6, 6], [5, 5, 7], [6, 6, 7], [7, 6, 6]])
    true = np.array([Semantic.TRACK, GHOST, GHOST, GHOST, Semantic.SHOWER])
    labels = {**empty("truth_voxel", 5), "semantic": true, "particle": np.array([3, NONE, NONE, NONE, 4])}
    voxel = {"coord": coord, "energy": np.ones(5)}
    event = Event("s/0", 0, BOX, {"voxel": voxel, "truth_voxel": labels})

    def after(label: list[int]) -> tuple[list[int], list[int]]:
        said = {**empty("semantic", 5), "label": np.array(label)}
        truth = adopted(event.with_products({"semantic": said}))["truth_voxel"]
        return truth["semantic"].tolist(), truth["particle"].tolist()

    shower, track = int(Semantic.SHOWER), int(Semantic.TRACK)
    # by a face before a corner; the third is at none; what was called a ghost stays one
    assert after([1] * 5) == ([track, shower, GHOST, shower, shower], [3, 4, NONE, 4, 4])
    assert after([1, GHOST, 1, 1, 1]) == ([track, GHOST, GHOST, shower, shower], [3, NONE, NONE, 4, 4])
    assert labels["particle"].tolist() == [3, NONE, NONE, NONE, 4]
    # where only the groups are known, those of voxels that a fragment has
    group = {"fragment": np.array([0, NONE, 0, 0, 0]), "particle": np.zeros(5, int)}
    grouped = adopted(event.with_products({"group": group}))
    assert grouped["truth_voxel"]["particle"].tolist() == [3, NONE, NONE, 4, 4]


def test_particles_are_matched_with_the_ghosts_at_them() -> None:
    # A track of four voxels and five ghosts at it: by its own voxels alone it would share 4 of 9.
    side = np.arange(5)
    coord = np.concatenate([np.stack([side + 4, np.full(5, y), np.full(5, 9)], 1) for y in (8, 9)])[:9]
    true = np.array([GHOST] * 5 + [Semantic.TRACK] * 4)
    labels = {**empty("truth_voxel", 9), "semantic": true}
    labels |= {name: np.where(true == GHOST, NONE, 0) for name in ("fragment", "particle", "interaction")}
    group = {name: np.zeros(9, int) for name in ("fragment", "particle")}
    event = Event(
        "s/0",
        0,
        BOX,
        {
            "voxel": {"coord": coord, "energy": np.ones(9)},
            "truth_voxel": labels,
            "truth_particle": {**empty("truth_particle", 1)},
            "truth_interaction": {**empty("truth_interaction", 1)},
            "group": group,
            "particle": empty("particle", 1),
            "interaction": empty("interaction", 1),
            "identity": {**empty("identity", 1), "interaction": np.zeros(1, int)},
        },
    )
    assert match_objects(event)[0].best_reco()[1].tolist() == [1.0]


def test_ghosts_beside_real_voxels_need_not_be_asked_for() -> None:
    torch.manual_seed(1)
    event = with_ghosts(make_event())
    counts = []
    for only_far in (False, True):
        cfg = Segment.model_validate(
            {
                **SMALL.model_dump(),
                "heads": {"ghost": True},
                "train": {**SMALL.train.model_dump(), "only_far_ghosts": only_far},
            }
        )
        counts.append(float(segment.loss(segment.network(cfg), [event], cfg)["ghost"][1]))
    near = (event["truth_voxel"]["semantic"] == GHOST) & ~is_far_ghost(event)
    assert counts == [event.num_voxels, event.num_voxels - near.sum()] and near.any()


def test_ghosts_beside_real_voxels_are_learned_as_what_they_lie_at() -> None:
    torch.manual_seed(1)
    event = with_ghosts(make_event())
    section = {**SMALL.model_dump(), "heads": {"ghost": True}}
    asked = []
    for only_far in (False, True):
        cfg = Segment.model_validate(
            {
                **section,
                "train": {**SMALL.train.model_dump(), "affinity_weight": 1.0, "only_far_ghosts": only_far},
            }
        )
        terms = segment.loss(segment.network(cfg), [event], cfg)
        asked.append([float(terms[name][1]) for name in ("semantic", "affinity")])
    taken = adopted(event)["truth_voxel"]["semantic"]
    assert asked[1][0] == np.count_nonzero(taken != GHOST) > asked[0][0]
    # pairs of a real voxel and the ghost beside it, which are of one particle
    assert asked[1][1] > asked[0][1]


def test_an_image_is_of_one_kind() -> None:
    with pytest.raises(ValueError, match="give angles_deg to one"):
        Ingest.model_validate({"wires": {"angles_deg": [0]}, "tomography": {"angles_deg": [0, 60]}})
