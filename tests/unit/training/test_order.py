"""The order of events: no repeats, the same for any number of ranks, and even in voxels."""

import numpy as np
import pytest

from lartpc.run.training.order import BLOCK, WINDOW, Order, deal, unit_length


def sizes_like_events(shards: list[int], seed: int = 0) -> list[np.ndarray]:
    """Return voxel counts of shards as those of neutrino events: a few are several times the mean."""
    rng = np.random.default_rng(seed)
    return [rng.lognormal(8, 0.6, length).astype(np.int64) + 1 for length in shards]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 16, 100, 1024])
def test_an_epoch_has_every_event_once_whatever_the_ranks(num_ranks: int) -> None:
    order = Order(sizes_like_events([200, 1, 63, 0, 216]))
    assert len(order) == 480
    for epoch in range(2):
        seen = []
        for step in range(4 * epoch, 4 * epoch + 4):
            batch = order.batch(step, 120, seed=3, num_ranks=num_ranks)
            one = order.batch(step, 120, seed=3, num_ranks=1)
            assert (batch.block_B == one.block_B).all() and (batch.row_B == one.row_B).all()
            assert (batch.rank_B >= 0).all() and (batch.rank_B < num_ranks).all()
            assert (one.rank_B == 0).all() and one.is_home_B.all()
            seen += list(zip(batch.block_B.tolist(), batch.row_B.tolist(), strict=True))
        assert len(set(seen)) == 480


def test_the_order_is_another_one_for_another_epoch_and_seed() -> None:
    order = Order(sizes_like_events([600]))
    first, again, epoch, seed = (
        [(b.block_B * BLOCK + b.row_B).tolist() for b in batches]
        for batches in (
            [order.batch(step, 60, 1, 1) for step in range(10)],
            [order.batch(step, 60, 1, 1) for step in range(10)],
            [order.batch(step, 60, 1, 1) for step in range(10, 20)],
            [order.batch(step, 60, 2, 1) for step in range(10)],
        )
    )
    assert first == again and first != epoch and first != seed
    # Neighbours in the file are not neighbours in a batch.
    gaps = np.abs(np.diff(np.concatenate(first)))
    assert np.median(gaps) > BLOCK


def test_few_blocks_are_in_use_at_a_time() -> None:
    order = Order(sizes_like_events([BLOCK * 1000]))
    for start in range(0, 1000, 100):
        batches = [order.batch(step, 16, 1, 1) for step in range(start, start + WINDOW)]
        assert len(np.unique(np.concatenate([b.block_B for b in batches]))) <= 2 * WINDOW


def test_unusable_and_large_events_are_never_drawn() -> None:
    sizes = [np.array([5, 0, 7, 100]), np.array([0]), np.array([8, 9])]
    order = Order(sizes, max_voxels=50)
    assert (len(order), order.num_large) == (4, 1)
    batch = order.batch(0, 4, 1, 1)
    assert sorted(batch.size_B.tolist()) == [5, 7, 8, 9]
    assert sorted(order.place(number) for number in range(4)) == [(0, 0), (0, 2), (2, 0), (2, 1)]
    assert [order.shard_of[block] for block in range(3)] == [0, 1, 2]


def test_a_block_knows_its_row_in_its_shard() -> None:
    order = Order([np.ones(40, np.int64), np.ones(20, np.int64)])
    assert [(int(order.shard_of[b]), order.start(b)) for b in range(5)] == [
        (0, 0),
        (0, 16),
        (0, 32),
        (1, 0),
        (1, 16),
    ]


@pytest.mark.parametrize("num_ranks", [2, 8, 64])
def test_ranks_get_the_same_number_of_voxels(num_ranks: int) -> None:
    order = Order(sizes_like_events([3000] * 3))
    ratios, at_home = [], []
    for step in range(10):
        batch = order.batch(step, 8 * num_ranks, 1, num_ranks)
        load = np.bincount(batch.rank_B, batch.size_B, num_ranks)
        ratios.append(load.max() / load.mean())
        at_home.append(batch.is_home_B.mean())
        dealt_in_turn = np.bincount(np.arange(8 * num_ranks) % num_ranks, batch.size_B, num_ranks)
        assert load.max() < dealt_in_turn.max()
    assert np.median(ratios) < 1.1
    assert np.mean(at_home) > 0.6


def test_a_huge_event_is_alone() -> None:
    sizes = np.array([10, 1000, 10, 10, 10, 10])
    ranks = deal(sizes, np.zeros(6, np.int64), 3)
    assert (ranks == ranks[1]).sum() == 1
    loads = np.bincount(ranks, sizes, 3)
    assert sorted(loads.tolist()) == [20, 30, 1000]


def test_events_stay_at_home_where_that_is_even() -> None:
    homes = np.array([0, 1, 2, 0, 1, 2])
    assert (deal(np.full(6, 100), homes, 3) == homes).all()
    assert (np.bincount(deal(np.full(6, 100), np.zeros(6, np.int64), 3)) == 2).all()


def test_units_tile_blocks() -> None:
    for num_ranks in (1, 2, 16, 17, 64, 100, 256, 1024):
        assert BLOCK % unit_length(num_ranks) == 0
    assert (unit_length(1), unit_length(16), unit_length(64), unit_length(5000)) == (16, 16, 4, 1)
