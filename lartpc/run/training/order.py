"""Which events make up the batch of a step, and which rank gets which of them: numbers only, no files.

Shape suffixes: N events, B events of a batch, R ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

BLOCK = 16
"""Events read at once, neighbours in their file: packed chunks give them almost as fast as one."""

WINDOW = 16
"""Blocks whose events are shuffled among each other; the ranks keep them in memory, each its part."""

SLACK = 0.005
"""What a rank may get above its part of a batch's voxels before an event leaves its home."""


@dataclass(frozen=True)
class Batch:
    """The events of one batch: where each lies, and who reads it.

    Parameters
    ----------
    block_B, row_B
        Block of the event, and its row in that block.
    size_B
        Voxels.
    rank_B
        The rank that gets the event.
    unit_B
        Neighbours that are read together have the same unit; of a rank's units in an epoch, each is
        another number.
    is_home_B
        Whether the rank reads the event's neighbours, too.
    """

    block_B: Integers
    row_B: Integers
    size_B: Integers
    rank_B: Integers
    unit_B: Integers
    is_home_B: NDArray[np.bool_]


class Order:
    """The order in which the events of some shards are drawn, a function of a seed.

    An epoch shuffles the blocks of neighbouring events, and the events among those of `WINDOW` blocks.
    Epochs are permutations without repeats, joined end to end and cut into batches, whatever the number
    of ranks. Memory: 16 bytes for each event, and 8 more for each of two epochs.

    Parameters
    ----------
    sizes
        Voxels of the events of each shard; events with 0 are never drawn.
    max_voxels
        Events with more are never drawn, either; `num_large` counts them. None draws all.
    """

    def __init__(self, sizes: Sequence[Integers], max_voxels: int | None = None) -> None:
        length = np.array([len(size) for size in sizes], np.int64)
        num_blocks = -(-length // BLOCK)
        self.shard_of = np.repeat(np.arange(len(sizes), dtype=np.int32), num_blocks)
        self._first_block = np.cumsum(num_blocks) - num_blocks
        row_N = np.concatenate([np.empty(0, np.int32), *map(np.arange, length)], dtype=np.int32)
        block_N = (np.repeat(self._first_block, length) + row_N // BLOCK).astype(np.int32)
        size_N = np.concatenate([np.empty(0, np.int64), *sizes])
        is_large_N = size_N > (np.inf if max_voxels is None else max_voxels)
        drawn_N = (size_N > 0) & ~is_large_N
        self.num_large = int(is_large_N.sum())
        self._block_N, self._row_N, self._size_N = block_N[drawn_N], row_N[drawn_N] % BLOCK, size_N[drawn_N]
        self._epochs: dict[tuple[int, int], tuple[Integers, Integers]] = {}

    def __len__(self) -> int:
        return len(self._size_N)

    def voxels(self) -> Integers:
        """Return the voxels (N,) of the events that are drawn."""
        return self._size_N

    def place(self, number: int) -> tuple[int, int]:
        """Return the block of an event, and its row in that block."""
        return int(self._block_N[number]), int(self._row_N[number])

    def start(self, block: int) -> int:
        """Return the row in its shard at which a block begins."""
        return int(block - self._first_block[self.shard_of[block]]) * BLOCK

    def batch(self, step: int, batch_size: int, seed: int, num_ranks: int) -> Batch:
        """Draw the events of a step and deal them to the ranks."""
        epoch_B, position_B = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), len(self))
        number_B, place_B = np.empty_like(position_B), np.empty_like(position_B)
        for epoch in np.unique(epoch_B).tolist():
            now_B = epoch_B == epoch
            order_N, place = self._shuffled(seed, epoch)
            number_B[now_B] = order_N[position_B[now_B]]
            place_B[now_B] = place[self._block_N[number_B[now_B]]]
        block_B = self._block_N[number_B].astype(np.int64)
        row_B = self._row_N[number_B].astype(np.int64)
        unit_B = (place_B * BLOCK + row_B) // unit_length(num_ranks)
        home_B = unit_B % num_ranks
        size_B = self._size_N[number_B]
        rank_B = deal(size_B, home_B, num_ranks)
        return Batch(block_B, row_B, size_B, rank_B, unit_B // num_ranks, rank_B == home_B)

    def _shuffled(self, seed: int, epoch: int) -> tuple[Integers, Integers]:
        """Return the events (N,) in the order of one epoch, and the place of each block in it."""
        if (seed, epoch) not in self._epochs:
            rng = np.random.default_rng((seed, epoch))
            place = rng.permutation(len(self.shard_of))
            order_N = np.lexsort((rng.random(len(self)), place[self._block_N] // WINDOW))
            # A batch at the end of an epoch needs the one after it, too.
            self._epochs = dict([*self._epochs.items()][-1:]) | {(seed, epoch): (order_N, place)}
        return self._epochs[seed, epoch]


def unit_length(num_ranks: int) -> int:
    """Return how many neighbours a rank reads at once: a window has a unit for each of up to 256 ranks."""
    length = BLOCK
    while length > 1 and length * num_ranks > BLOCK * WINDOW:
        length //= 2
    return length


def deal(size_B: Integers, home_B: Integers, num_ranks: int) -> Integers:
    """Return the rank (B,) of each event of a batch, so that none waits long for another.

    Largest first, an event goes to its home, which has its neighbours in memory, while that has less
    than its part of the voxels; else to the rank with the fewest (longest processing time first, Graham,
    SIAM J. Appl. Math. 17 (1969) 416). A huge event is alone on its rank.

    Parameters
    ----------
    size_B
        Voxels.
    home_B
        The rank that reads the event's neighbours.
    """
    part = (1 + SLACK) * size_B.sum() / num_ranks
    load_R = np.zeros(num_ranks)
    rank_B = np.empty(len(size_B), np.int64)
    for event in np.argsort(-size_B, kind="stable").tolist():
        home, size = int(home_B[event]), int(size_B[event])
        rank = home if load_R[home] + size <= part else int(load_R.argmin())
        load_R[rank] += size
        rank_B[event] = rank
    return rank_B
