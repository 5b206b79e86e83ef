"""Augmentation: truth moves with its voxels, sums stay sums, and defaults change nothing."""

import numpy as np
import pytest
from conftest import ODD_EVENTS, typical

from lartpc.affinities import neighbours, pack, unpack
from lartpc.config import Interact
from lartpc.event import Event
from lartpc.nets.augment import MEMBERSHIP, augment, recharge, shift, turn
from lartpc.truth import upstream_from_truth

EVENTS = [typical(1), *(make(0) for make in ODD_EVENTS.values())]


def with_upstream(event: Event) -> Event:
    return upstream_from_truth(event, ["group", "fragment", "particle"])


@pytest.mark.parametrize("event", EVENTS)
def test_a_shift_moves_all_positions_alike(event: Event) -> None:
    event = with_upstream(event)
    rng, offsets = np.random.default_rng(2), set()
    for _ in range(20):
        moved = shift(event, rng, 3)
        by = moved["voxel"]["coord"] - event["voxel"]["coord"]
        assert (by == by[:1]).all() and (np.abs(by) <= 3).all()
        for product, name in (
            ("truth_point", "position"),
            ("truth_particle", "start_point"),
            ("truth_interaction", "vertex"),
            ("particle", "end_point"),
        ):
            there = moved[product][name] - event[product][name]
            np.testing.assert_allclose(there, np.broadcast_to(by[:1], there.shape), atol=1e-4)
        for product, name in (("truth_particle", "momentum"), ("particle", "start_direction")):
            np.testing.assert_array_equal(moved[product][name], event[product][name])
        offsets |= set(map(tuple, by.tolist()))
    assert len(offsets) > 10 or not len(event["voxel"]["coord"])


def test_a_shift_leaves_no_box() -> None:
    event = typical(0)
    size = event.box.num_voxels
    for seed in range(20):
        coord = shift(event, np.random.default_rng(seed), 10 * size)["voxel"]["coord"]
        assert (coord >= 0).all() and (coord < size).all()


@pytest.mark.parametrize("event", EVENTS)
def test_other_charges_keep_the_sums(event: Event) -> None:
    event = with_upstream(event)
    changed = recharge(event, np.random.default_rng(3), 0.1, 0.2)
    energy = changed["voxel"]["energy"]
    assert energy.dtype == np.float32 and (energy > 0).all()
    for product, (per_voxel, column) in MEMBERSHIP.items():
        of = changed[per_voxel][column]
        sums = np.bincount(of[of >= 0], energy[of >= 0], len(changed[product]["energy"]))
        before = event[product]["energy"]
        np.testing.assert_allclose(changed[product]["energy"][before > 0], sums[before > 0], rtol=1e-4)


def test_the_spread_of_charges_is_the_one_asked_for() -> None:
    event, rng = typical(1), np.random.default_rng(4)
    before = event["voxel"]["energy"]
    logs = np.array([np.log(recharge(event, rng, 0.1, 0.05)["voxel"]["energy"] / before) for _ in range(400)])
    assert logs.mean(1).std() == pytest.approx(0.1, rel=0.15)
    assert logs.std(1).mean() == pytest.approx(0.05, rel=0.1)


def test_what_is_not_asked_for_changes_nothing() -> None:
    event = typical(1)
    settings = Interact().train.model_copy(update={"augment": False})
    assert augment(event, np.random.default_rng(0), settings) is event


def test_affinities_turn_with_their_pairs_of_voxels() -> None:
    event, rng = typical(1), np.random.default_rng(5)
    pair, direction = neighbours(event["voxel"]["coord"])
    logit = pack(event.num_voxels, pair, direction, rng.integers(-127, 128, len(pair)) / 16)
    # voxels are known by their energies again
    energy = 1 + np.arange(event.num_voxels, dtype=np.float32)
    event = event.with_products({"affinity": {"logit": logit}, "voxel": {**event["voxel"], "energy": energy}})

    def affinities(event: Event) -> dict[frozenset[float], float]:
        pair, logit = unpack(event["affinity"]["logit"], event["voxel"]["coord"])
        of = event["voxel"]["energy"][pair].tolist()
        return {frozenset(two): value for two, value in zip(of, logit.tolist(), strict=True)}

    expected, places = affinities(event), set()
    assert len(expected) == len(pair) > 200
    for _ in range(60):
        turned = turn(event, rng)
        assert affinities(turned) == expected
        places.add(turned["affinity"]["logit"].tobytes())
    assert len(places) > 24
