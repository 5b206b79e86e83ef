"""Affinities: their places in the product, what the head learns, and what the compiled network says of them."""

import itertools

import numpy as np
import pytest
import torch
from test_segment import SMALL, make_empty, make_event, total

from lartpc import affinities, config
from lartpc.images import affinity_logits, turned_round
from lartpc.nets.affinity import affinity_term
from lartpc.run.weights import load_weights, save_weights
from lartpc.stages import segment, stage
from lartpc.vocab import AFFINITY_STEPS, GHOST, NO_AFFINITY, NONE, NUM_DIRECTIONS

CUBE = np.array([*itertools.product(range(3), repeat=3)])
"""27 voxels: the middle one has a neighbour on each of the 26 sides."""

MIDDLE = 13


def test_every_pair_of_voxels_that_share_a_corner_has_one_place() -> None:
    pair_E2, direction_E = affinities.neighbours(CUBE)
    step = CUBE[pair_E2[:, 1]] - CUBE[pair_E2[:, 0]]
    np.testing.assert_array_equal(step, affinities.DIRECTIONS[direction_E])
    assert np.abs(step).max() == 1
    # 3^3 cells have 158 pairs that share a corner: 54 faces, 72 edges, 32 corners
    assert len(pair_E2) == len(np.unique(np.sort(pair_E2), axis=0)) == 158
    assert (pair_E2 == MIDDLE).any(1).sum() == 26
    assert len(np.unique(direction_E)) == NUM_DIRECTIONS


def test_logits_are_kept_in_sixteenths_and_what_is_not_known_stays_so() -> None:
    pair_E2, direction_E = affinities.neighbours(CUBE)
    logit_E = np.linspace(-9, 9, len(pair_E2))
    logit_E[5] = np.nan
    packed = affinities.pack(len(CUBE), pair_E2, direction_E, logit_E)
    assert packed.dtype == np.int8
    assert (packed != NO_AFFINITY).sum() == len(pair_E2) - 1
    again_E2, back_E = affinities.unpack(packed, CUBE)
    np.testing.assert_array_equal(again_E2, pair_E2)
    np.testing.assert_array_equal(np.isnan(back_E), np.isnan(logit_E))
    largest = affinities.LARGEST / AFFINITY_STEPS
    known = ~np.isnan(logit_E)
    np.testing.assert_allclose(
        back_E[known], logit_E[known].clip(-largest, largest), atol=0.5 / AFFINITY_STEPS
    )


def test_a_symmetry_of_the_box_moves_affinities_with_their_pairs() -> None:
    pair_E2, direction_E = affinities.neighbours(CUBE)
    packed = affinities.pack(len(CUBE), pair_E2, direction_E, np.arange(len(pair_E2)) / AFFINITY_STEPS - 4)
    turned = 2 - CUBE[:, [1, 2, 0]]
    moved = affinities.reordered(packed, CUBE, turned)

    def of_pairs(values: np.ndarray, coord: np.ndarray) -> dict[frozenset[int], float]:
        pairs, logit = affinities.unpack(values, coord)
        return {frozenset(pair): value for pair, value in zip(pairs.tolist(), logit.tolist(), strict=True)}

    assert of_pairs(moved, turned) == of_pairs(packed, CUBE)


def test_the_logit_of_a_pair_is_what_both_say_of_each_other() -> None:
    event = make_event()
    rng = np.random.default_rng(1)
    side_VS = rng.normal(size=(event.num_voxels, 2 * NUM_DIRECTIONS)).astype(np.float32)
    label_V = event["truth_voxel"]["semantic"].astype(np.int64).copy()
    label_V[3] = GHOST
    pair_E2, logit_E = affinities.unpack(affinity_logits(side_VS, event, label_V), event["voxel"]["coord"])
    coord = event["voxel"]["coord"]
    number = {tuple(step): column for column, step in enumerate(affinities.DIRECTIONS.tolist())}
    number |= {tuple(-np.array(step)): NUM_DIRECTIONS + column for step, column in [*number.items()]}
    assert np.isnan(logit_E[(pair_E2 == 3).any(1)]).all()
    for (one, two), logit in zip(pair_E2.tolist(), logit_E.tolist(), strict=True):
        if 3 not in (one, two):
            step = coord[two].astype(int) - coord[one]
            wanted = side_VS[one, number[tuple(step)]] + side_VS[two, number[tuple(-step)]]
            assert logit == pytest.approx(float(np.clip(wanted, -7.9375, 7.9375)), abs=0.5 / AFFINITY_STEPS)


def test_sides_of_a_reflected_image_are_those_of_the_image() -> None:
    steps = np.concatenate([affinities.DIRECTIONS, -affinities.DIRECTIONS])
    for axes in itertools.product((False, True), repeat=3):
        flipped = np.where(axes, -steps, steps)
        # in the reflected image each side says which step it is: in the image that is the flipped one
        codes = (steps @ [100, 10, 1])[None]
        np.testing.assert_array_equal(turned_round(codes, axes)[0], flipped @ [100, 10, 1])
    assert turned_round(np.zeros((4, 0)), (True, False, True)).shape == (4, 0)


def test_only_pairs_of_known_particles_count() -> None:
    event = make_event()
    side_VS = torch.zeros(event.num_voxels, 2 * NUM_DIRECTIONS)
    loss, count = affinity_term(side_VS, [event, make_empty()])
    assert float(count) == len(affinities.neighbours(event["voxel"]["coord"])[0])
    assert float(loss) == pytest.approx(float(count) * np.log(2), rel=1e-5)
    truth = {**event["truth_voxel"], "particle": event["truth_voxel"]["particle"].copy()}
    truth["particle"][:10] = NONE
    _, fewer = affinity_term(side_VS, [event.with_products({"truth_voxel": truth})])
    assert 0 < float(fewer) < float(count)


def test_the_head_learns_which_voxels_are_of_one_particle() -> None:
    torch.manual_seed(1)
    net, event = segment.network(SMALL), make_event()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        total(segment.loss(net, [event], SMALL)).backward()
        optimizer.step()
    found = segment.infer(net.eval(), [event], SMALL)[0]["affinity"]["logit"]
    pair_E2, logit_E = affinities.unpack(found, event["voxel"]["coord"])
    particle = event["truth_voxel"]["particle"][pair_E2]
    is_same = particle[:, 0] == particle[:, 1]
    assert ((logit_E > 0) == is_same).mean() > 0.98


def test_weights_with_and_without_the_head_serve_either_setting(tmp_path) -> None:
    bare = SMALL.model_copy(update={"train": SMALL.train.model_copy(update={"affinity_weight": 0.0})})
    assert segment.network(bare).affinity is None
    event = make_event()
    for name, made_for in (("with", SMALL), ("without", bare)):
        path = tmp_path / f"{name}.pt"
        save_weights(path, stage("segment"), made_for, segment.network(made_for).state_dict(), {})
        for asked in (SMALL, bare):
            net = load_weights(path, stage("segment"), asked)
            state = {key: values.numpy() for key, values in net.state_dict().items()}
            said = [segment.infer(net, [event], asked)[0]["affinity"]["logit"]]
            fast = segment.compiled(asked.model_copy(update={"backend": "auto"}), state)
            if fast is not None:
                said.append(segment.infer(fast, [event], asked)[0]["affinity"]["logit"])
            for logit in said:
                assert (logit != NO_AFFINITY).any() == (name == "with")
                assert np.abs(logit.astype(int) - said[0]).max() <= 1


def test_images_of_planes_have_no_head() -> None:
    cfg = config.Segment.model_validate({"dimension": 2})
    assert segment.network(cfg).affinity is None
