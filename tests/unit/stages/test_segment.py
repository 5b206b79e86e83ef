"""The segmentation stage on events made by hand."""

import numpy as np
import pytest
import torch

from lartpc import affinities, config
from lartpc.event import PRODUCTS, Columns, Event, conform, empty
from lartpc.geometry import Box
from lartpc.images import passes_masks
from lartpc.nets import ppn
from lartpc.nets.augment import turn
from lartpc.nets.unet import UResNet
from lartpc.sparse import Lattice
from lartpc.stages import segment
from lartpc.vocab import NO_AFFINITY, PointKind, Semantic

SIDE = 64
SMALL = config.Segment(
    unet=config.UResNet(filters=8, depth=3, repetitions=1), ppn=config.Ppn(radius=3.0), backend="torch"
)


def make_event(seed: int = 0, *, num_voxels: int | None = None) -> Event:
    """A straight track along x and a blob of shower, with their points; or its first voxels only."""
    rng = np.random.default_rng(seed)
    track = np.stack([np.arange(5, 45), np.full(40, 20), np.full(40, 30)], 1)
    blob = np.unique(np.round(rng.normal(0, 2.5, (150, 3))).astype(int) + np.array([30, 45, 15]), axis=0)
    coord = np.concatenate([track, blob])
    label = np.repeat([Semantic.TRACK, Semantic.SHOWER], [len(track), len(blob)])
    order = np.lexsort(coord.T[::-1])[:num_voxels]
    coord, label = coord[order], label[order]
    particle = np.where(label == Semantic.TRACK, 0, 1)
    energy = np.where(label == Semantic.TRACK, 0.6, 0.2) * rng.uniform(0.8, 1.2, len(coord))
    truth_particle = empty("truth_particle", 2)
    truth_particle["num_voxels"][:] = (len(track), len(blob))
    truth_particle["momentum"][:] = ((100, 0, 0), (0, 50, 0))
    products = {
        "voxel": conform("voxel", {"coord": coord, "energy": energy}),
        "truth_voxel": conform(
            "truth_voxel",
            {"semantic": label, "fragment": particle, "particle": particle, "interaction": 0 * particle},
        ),
        "truth_particle": truth_particle,
        "truth_point": conform(
            "truth_point",
            {
                "position": [[5.2, 20.5, 30.5], [44.9, 20.4, 30.6], [30.5, 41.0, 15.5]],
                "semantic": [Semantic.TRACK, Semantic.TRACK, Semantic.SHOWER],
                "kind": [PointKind.START, PointKind.END, PointKind.START],
                "particle": [0, 0, 1],
            },
        ),
    }
    return Event("file", seed, Box((0.0, 0.0, 0.0), 0.3, SIDE), products)


def make_empty() -> Event:
    products = {name: empty(name) for name in ("voxel", "truth_voxel", "truth_particle", "truth_point")}
    return Event("file", 99, Box((0.0, 0.0, 0.0), 0.3, SIDE), products)


def total(terms: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    return sum(value / count.clamp(min=1) for value, count in terms.values())


def test_overfits_one_event() -> None:
    torch.manual_seed(1)
    event, net = make_event(), segment.network(SMALL)
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-2, total_steps=60, pct_start=0.1)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = total(segment.loss(net, [event], SMALL))
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    found = event.with_products(segment.infer(net.eval(), [event], SMALL)[0])
    figures = {
        name: top / max(bottom, 1) for name, (top, bottom) in segment.metrics(found, event, SMALL).items()
    }
    assert figures["accuracy"] > 0.95
    assert figures["points_found"] == 1.0
    assert figures["proposals_right"] > 0.9


def test_loss_names_and_counts() -> None:
    net, events = segment.network(SMALL), [make_event(1), make_empty(), make_event(2)]
    terms = segment.loss(net, events, SMALL)
    counts = {name: float(count) for name, (_, count) in terms.items()}
    assert counts == {
        "semantic": sum(event.num_voxels for event in events),
        "affinity": sum(len(affinities.neighbours(event["voxel"]["coord"])[0]) for event in events),
        "point_mask": 2,
        "point_class": 2,
        "point_offset": 2,
        "point_end": 2,
    }


@pytest.mark.parametrize("cut", [0, 1])
def test_loss_of_empty_and_one_voxel_events_reaches_every_parameter(cut: int) -> None:
    net = segment.network(SMALL)
    events = [make_empty(), make_event(1, num_voxels=cut)]
    loss = total(segment.loss(net, events, SMALL))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@torch.no_grad()
def test_loss_is_the_sum_over_its_events_whatever_the_batch() -> None:
    net = segment.network(SMALL).double().eval()
    events = [make_event(1), make_event(2, num_voxels=70), make_event(3), make_empty()]
    for event in events:
        event["voxel"]["energy"] = event["voxel"]["energy"].astype(np.float64)
    together = segment.loss(net, events, SMALL)
    apart = [segment.loss(net, [event], SMALL) for event in events]
    for name, (value, count) in together.items():
        assert float(count) == sum(float(terms[name][1]) for terms in apart)
        assert float(value) == pytest.approx(sum(float(terms[name][0]) for terms in apart), rel=1e-6)


def test_infer_conforms_and_does_not_depend_on_order_or_batch() -> None:
    torch.manual_seed(2)
    net = segment.network(SMALL).eval()
    events = [make_event(1), make_empty(), make_event(2), make_event(3, num_voxels=1), make_event(4)]
    alone = [segment.infer(net, [event], SMALL)[0] for event in events]
    for order in ([4, 3, 2, 1, 0], [2, 0, 1, 4, 3]):
        for index, found in zip(order, segment.infer(net, [events[i] for i in order], SMALL), strict=True):
            assert set(found) == {"semantic", "proposal", "affinity"}
            assert len(found["semantic"]["label"]) == events[index].num_voxels
            for product, columns in found.items():
                for name, column in PRODUCTS[product].columns.items():
                    assert columns[name].dtype == column.dtype
                    np.testing.assert_allclose(columns[name], alone[index][product][name], atol=1e-4)
    assert len(alone[0]["proposal"]["score"]) > 0


@pytest.mark.parametrize("symmetries", [1, 8])
def test_a_label_is_of_the_class_whose_weighted_score_is_largest(symmetries: int) -> None:
    torch.manual_seed(2)
    net, event = segment.network(SMALL).eval(), make_event()

    def semantic(weights: tuple[float, ...]) -> Columns:
        infer = SMALL.infer.model_copy(update={"label_weights": weights, "symmetries": symmetries})
        return segment.infer(net, [event], SMALL.model_copy(update={"infer": infer}))[0]["semantic"]

    plain, weighted = semantic((1.0, 1.0, 1.0, 1.0, 1.0)), semantic((1.0, 1.0, 1.0, 1.8, 1.0))
    np.testing.assert_array_equal(plain["score"], weighted["score"])  # scores stay probabilities
    np.testing.assert_array_equal(plain["label"], plain["score"].argmax(1))
    assert set(semantic((0.0, 0.0, 0.0, 1.0, 0.0))["label"]) == {Semantic.DELTA}
    score_VK, delta = plain["score"], Semantic.DELTA
    others_V = np.delete(score_VK, delta, 1).max(1)
    np.testing.assert_array_equal(weighted["label"] == delta, 1.8 * score_VK[:, delta] > others_V)


def test_events_of_different_boxes_are_refused() -> None:
    other = Event("file", 1, Box((0.0, 0.0, 0.0), 0.3, 32), make_empty().products)
    with pytest.raises(ValueError, match="one box size"):
        segment.infer(segment.network(SMALL), [make_empty(), other], SMALL)


def test_metrics_count_what_is_right() -> None:
    event = make_event()
    label = event["truth_voxel"]["semantic"].copy()
    label[:4] = Semantic.MICHEL
    wrong_tracks = int((event["truth_voxel"]["semantic"][:4] == Semantic.TRACK).sum())
    proposal = empty("proposal", 3)
    proposal["position"][:] = [[5, 20, 30], [44, 22, 30], [60, 60, 60]]
    proposal["score"][:] = [0.9, 0.8, 0.7]
    semantic = {**empty("semantic", event.num_voxels), "label": label}
    found = segment.metrics(event.with_products({"semantic": semantic, "proposal": proposal}), event, SMALL)
    num = event.num_voxels
    assert found["accuracy"] == (num - 4, num)
    assert found["recall_track"] == (40 - wrong_tracks, 40)
    assert found["recall_michel"] == (0, 0)
    assert found["points_found"] == (2, 3)
    assert found["proposals_right"] == (2, 3)


def test_points_of_small_and_low_energy_particles_are_no_targets() -> None:
    event = make_event()
    small = {**event["truth_particle"], "num_voxels": np.array([4, 100], "i4")}
    low = {**event["truth_point"], "semantic": np.array([1, 1, Semantic.LOW_ENERGY], "i1")}
    both = event.with_products({"truth_particle": small, "truth_point": low})
    assert segment.metrics(
        both.with_products({"semantic": empty("semantic", event.num_voxels), "proposal": empty("proposal")}),
        both,
        SMALL,
    )["points_found"] == (0, 0)


def test_voxels_answer_to_the_nearest_point_of_their_own_particle() -> None:
    coord = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 0, 0], [9, 1, 0]])
    particle = np.array([0, 1, 1, 2, 2])
    position = np.array([[0.5, 0.5, 0.5], [2.4, 0.5, 0.5], [9.5, 0.5, 0.5]])
    targets = ppn.assign(
        coord, particle, position, np.array([1, 2, 0]), np.array([1, 0, 0]), np.array([0, 1, 7]), 3.0
    )
    # The third point's particle has no voxel in reach: those of particle 2 stand in for it.
    assert targets.point_V.tolist() == [0, 1, 1, 2, 2]
    assert targets.class_V.tolist() == [1, 2, 2, 0, 0]
    assert targets.end_V.tolist() == [1, 0, 0, 0, 0]
    np.testing.assert_allclose(targets.offset_VD[1], [0.9, 0, 0], atol=1e-6)
    far = ppn.assign(coord, particle, position + 100, np.zeros(3), np.zeros(3), np.arange(3), 3.0)
    assert far.point_V.tolist() == [-1] * 5


@pytest.mark.parametrize(
    ("error", "scale", "wanted"), [(0.5, 0.1, 0.45), (0.05, 0.1, 0.0125), (0.5, 1.0, 0.125)]
)
def test_large_errors_of_an_offset_count_by_their_size(error: float, scale: float, wanted: float) -> None:
    coord_VD1 = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]])
    no_points, zeros = torch.zeros(2, 3), torch.zeros(2)
    given = ppn.Proposals([zeros], no_points + error, torch.zeros(2, len(Semantic)), zeros)
    targets = {
        "point_V": torch.tensor([0, -1]),  # the other voxel is near no point
        "class_V": torch.tensor([1, -1]),
        "end_V": zeros,
        "offset_VD": no_points,
    }
    total, count = ppn.losses(given, targets, Lattice(coord_VD1, 1, (8, 8, 8)), scale)["point_offset"]
    assert float(total / count) == pytest.approx(wanted)


def test_masks_look_into_the_children_of_what_they_pass() -> None:
    lattice = Lattice(torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0], [0, 6, 0, 0]]), 1, (8, 8, 8))
    # Parents at x = 0, 1, 3 and grandparents at x = 0, 1.
    masks = [np.zeros(4), np.array([5.0, -5.0, 5.0]), np.array([5.0, -5.0])]
    parents = [one.coarser.parent_V.numpy() for one in (lattice, lattice.coarser.lattice)]
    assert passes_masks(masks, parents, 0.5).tolist() == [True, True, False, False]


@pytest.mark.parametrize("dimension", [2, 3])
def test_unet_keeps_the_voxels_of_each_level(dimension: int) -> None:
    coord = torch.cartesian_prod(*[torch.arange(2)] + [torch.arange(5)] * dimension)
    lattice = Lattice(coord, 2, (8,) * dimension)
    net = UResNet(config.UResNet(filters=4, depth=3), num_in=1, dimension=dimension)
    decoded = net(torch.ones(len(coord), 1), lattice)
    assert [tuple(feat.shape) for feat in decoded] == [
        (2 * side**dimension, 4 * level) for level, side in ((1, 5), (2, 3), (3, 2))
    ]


def reflected(event: Event, axes: list[bool]) -> tuple[Event, np.ndarray]:
    """The event with some axes turned round, and which voxel each of its voxels was."""
    coord = np.where(axes, SIDE - 1 - event["voxel"]["coord"], event["voxel"]["coord"])
    order = np.lexsort(coord.T[::-1])
    voxel = {"coord": coord[order], "energy": event["voxel"]["energy"][order]}
    return event.with_products({"voxel": conform("voxel", voxel)}), order


@pytest.mark.parametrize(("num", "axes"), [(2, [True, True, True]), (8, [False, True, False])])
def test_means_over_reflections_are_those_of_the_reflected_image(num: int, axes: list[bool]) -> None:
    torch.manual_seed(2)
    net, event = segment.network(SMALL).eval(), make_event()
    infer = SMALL.infer.model_copy(update={"symmetries": num, "proposal_floor": 0.0})
    cfg = SMALL.model_copy(
        update={"infer": infer, "ppn": SMALL.ppn.model_copy(update={"mask_threshold": 0.0})}
    )
    other, order = reflected(event, axes)
    # in batches with other events: what is said of one does not depend on them
    here, there = (segment.infer(net, [make_event(5), one], cfg)[1] for one in (event, other))
    np.testing.assert_allclose(there["semantic"]["score"], here["semantic"]["score"][order], atol=2e-5)
    alone = cfg.model_copy(update={"infer": infer.model_copy(update={"symmetries": 1})})
    once = segment.infer(net, [event], alone)[0]
    assert np.abs(once["semantic"]["score"] - here["semantic"]["score"]).max() > 1e-3
    assert len(here["proposal"]["score"]) == event.num_voxels
    np.testing.assert_allclose(there["proposal"]["score"], here["proposal"]["score"][order], atol=2e-5)
    position = here["proposal"]["position"]
    mirrored = np.where(axes, SIDE - position, position)[order]
    np.testing.assert_allclose(there["proposal"]["position"], mirrored, atol=1e-3)
    coord = event["voxel"]["coord"]
    turned = np.where(axes, SIDE - 1 - coord, coord)
    wanted = affinities.reordered(here["affinity"]["logit"], coord, turned)[order].astype(np.int64)
    assert (wanted != NO_AFFINITY).sum() > len(wanted)
    assert np.abs(there["affinity"]["logit"] - wanted).max() <= 1


def test_symmetries_that_an_image_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 1, 2 or 4"):
        config.Segment.model_validate({"dimension": 2, "infer": {"symmetries": 8}})


def test_a_turn_is_a_symmetry_of_the_event() -> None:
    event, rng, seen = make_event(), np.random.default_rng(1), set()
    for _ in range(20):
        turned = turn(event, rng)
        coord, position = turned["voxel"]["coord"], turned["truth_point"]["position"]
        assert turned["voxel"]["coord"].dtype == np.int32
        assert (np.lexsort(coord.T[::-1]) == np.arange(len(coord))).all()
        assert (coord >= 0).all() and (coord < SIDE).all()
        # The track still runs from its start to its end, and its momentum along it.
        track = coord[turned["truth_voxel"]["semantic"] == Semantic.TRACK]
        middle = (position[0] + position[1]) / 2
        np.testing.assert_allclose(track.mean(0) + 0.5, middle, atol=0.2)
        direction = position[1] - position[0]
        momentum = turned["truth_particle"]["momentum"][0]
        cosine = direction @ momentum / np.linalg.norm(direction) / np.linalg.norm(momentum)
        assert cosine == pytest.approx(1, abs=1e-3)
        assert turned["voxel"]["energy"].sum() == pytest.approx(event["voxel"]["energy"].sum())
        seen.add(tuple(np.round(direction).astype(int)))
    assert len(seen) == 6
