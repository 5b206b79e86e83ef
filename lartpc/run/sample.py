"""The events a training reads: shuffled, read in blocks and dealt to the ranks."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config, dist
from lartpc.event import TRUTH, Event
from lartpc.nets.augment import augment
from lartpc.stages import Stage
from lartpc.store import Events, open_events
from lartpc.truth import truth_for, upstream_from_truth

BLOCK = 16
"""Events read at once."""

WINDOW = 16
"""Blocks whose events are shuffled among each other and kept in memory."""


class Sample:
    """The usable events of some shards: not quarantined, not empty, with the truth that the stage needs.

    They are read in blocks of neighbours, since a compressed file gives a block almost as fast as one
    event. An epoch shuffles the blocks, and the events among those of `WINDOW` blocks; that many blocks
    are kept in memory.
    """

    def __init__(self, stage: Stage, files: Sequence[Path], section: Any) -> None:
        self._stage = stage
        self._on_truth = getattr(section, "upstream", "predicted") == "truth"
        derived = [name for name in stage.reads if name != "voxel"] if self._on_truth else []
        needed = [name for name in stage.reads if name not in derived]
        needed += dict.fromkeys((*stage.learns, *truth_for(derived)))
        self._products = [*needed, *(name for name in TRUTH if name not in needed)]
        self._shards = list(_overlay(files))
        blocks: list[tuple[int, int, int]] = []
        index: list[NDArray[np.int64]] = []
        sizes: list[NDArray[np.int64]] = []
        for number, shard in enumerate(self._shards):
            shard.require(needed)
            usable = (shard.num_voxels() > 0) & ~np.isin(shard.entries, list(shard.quarantined()))
            for start in range(0, len(shard), BLOCK):
                rows = np.flatnonzero(usable[start : start + BLOCK])
                index.append(np.column_stack([np.full(len(rows), len(blocks)), rows]))
                sizes.append(shard.num_voxels()[start + rows])
                blocks.append((number, start, min(start + BLOCK, len(shard))))
        self._blocks = blocks
        self._index = np.concatenate([np.empty((0, 2), np.int64), *index])
        self._sizes = np.concatenate([np.empty(0, np.int64), *sizes])
        self._block = lru_cache(maxsize=2 * WINDOW)(self._read)
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return len(self._index)

    def event(self, number: int) -> Event:
        """Read one event with what the stage reads and the truth."""
        block, row = self._index[number].tolist()
        event: Event = self._block(block)[row]
        if not self._on_truth:
            return event
        return upstream_from_truth(event, [name for name in self._stage.reads if name != "voxel"])

    def batch(self, step: int, settings: config.Training, ranks: dist.Ranks) -> list[Event]:
        """Read this rank's share of the batch of one step, a function of seed and step alone.

        Epochs are permutations without repeats, joined end to end. The events of a batch are dealt to
        the ranks largest first, each to the rank with the fewest voxels, so that none waits long.
        """
        positions = range(step * settings.batch_size, (step + 1) * settings.batch_size)
        numbers = [
            int(self._order(settings.seed, epoch)[place])
            for epoch, place in (divmod(position, len(self)) for position in positions)
        ]
        mine: list[int] = []
        load = np.zeros(ranks.size)
        for place in np.argsort(-self._sizes[numbers], kind="stable"):
            rank = int(np.argmin(load))
            load[rank] += self._sizes[numbers[place]]
            if rank == ranks.rank:
                mine.append(int(place))
        events = [self.event(numbers[place]) for place in mine]
        if settings.augment:
            events = [
                augment(event, np.random.default_rng((settings.seed, step, place)))
                for event, place in zip(events, mine, strict=True)
            ]
        return events

    def share(self, limit: int, ranks: dist.Ranks) -> Iterator[Event]:
        """Read this rank's share of the first `limit` events."""
        for number in range(ranks.rank, min(limit, len(self)), ranks.size):
            yield self.event(number)

    def _read(self, block: int) -> list[Event]:
        shard, start, stop = self._blocks[block]
        found = self._shards[shard]
        return found.block(start, stop, [name for name in self._products if name in found.products])

    def _shuffle(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the order of the events (events,) in one epoch."""
        rng = np.random.default_rng((seed, epoch))
        place = rng.permutation(len(self._blocks))
        window = place[self._index[:, 0]] // WINDOW
        return np.lexsort((rng.random(len(self)), window))


def _overlay(files: Sequence[Path]) -> Iterator[Events]:
    """Open files, those of one shard as one view, in the order in which the shards appear."""
    shards: dict[str, list[Path]] = {}
    for path in files:
        with open_events(path) as events:
            shards.setdefault(events.file_uid, []).append(path)
    for paths in shards.values():
        yield open_events(*paths)
