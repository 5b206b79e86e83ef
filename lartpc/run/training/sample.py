"""The events a training reads: in blocks, ahead of time, and made ready for the network.

A batch is a function of seed and step alone, whatever the number of processes that read.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import TRUTH, Event
from lartpc.faults import PassingError
from lartpc.nets.augment import augment, symmetry
from lartpc.provenance import fingerprint
from lartpc.run.training.ahead import ahead
from lartpc.run.training.kept import Kept
from lartpc.run.training.order import BLOCK, WINDOW, Order, unit_length
from lartpc.stages import Stage, require_dimension
from lartpc.store import Events, open_events
from lartpc.truth import adopted, truth_for, upstream_from_truth

if TYPE_CHECKING:
    # A process that reads ahead needs no torch.
    from lartpc.dist import Ranks

T = TypeVar("T")

TRUTH_SHARE = 0.5
"""Share of the events of mixed input that a training sees on the truth of the stages before."""

SAME = np.arange(3), np.zeros(3, bool)
"""The symmetry that changes nothing."""

OPEN_SHARDS = WINDOW
"""Shards whose files one process keeps open."""


class Sample:
    """The usable events of some shards: not quarantined, not empty, with the truth that the stage needs.

    Parameters
    ----------
    files
        Event files of any number of shards, in any order; files of one shard are overlaid.
    ranks
        Ranks that look through the files together, each through its part; None looks alone.
    max_voxels
        Events with more voxels are left out; `num_large` counts them. None takes all.
    as_examples
        Batches are of what the stage makes of events once (`examples`), if it does, and of the events else.

    Attributes
    ----------
    digest
        Of what the files say, in whatever order they are given.
    """

    def __init__(
        self,
        stage: Stage,
        files: Sequence[Path],
        section: Any,
        *,
        ranks: "Ranks | None" = None,
        max_voxels: int | None = None,
        as_examples: bool = False,
    ) -> None:
        self._stage, self._section = stage, section
        self._as_examples = as_examples and stage.has_examples
        self._upstream = getattr(section, "upstream", "predicted")
        self._derived = [name for name in stage.reads if name != "voxel"]
        from_truth = self._derived if self._upstream != "predicted" else []
        made = self._derived if self._upstream == "truth" else []
        self._needed = [name for name in stage.reads if name not in made]
        self._needed += dict.fromkeys((*stage.learns, *truth_for(from_truth)))
        shards: dict[str, list[Path]] = {}
        self._content: dict[Path, str] = {}
        known = _together(_identity, files, ranks)
        self._sources: dict[str, set[str]] = {}
        for path, (uid, content, sources) in zip(files, known, strict=True):
            self._content[path] = content
            shards.setdefault(uid, []).append(path)
            self._sources.setdefault(uid, set()).update(sources)
        said = sorted((uid, content) for uid, content, _ in known)
        self.digest = blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()
        self._shards = list(shards.values())
        self.order = Order(_together(self._usable, self._shards, ranks), max_voxels)
        self._set_up()

    def __len__(self) -> int:
        return len(self.order)

    @property
    def shards(self) -> list[list[Path]]:
        """The files of each shard."""
        return self._shards

    @property
    def num_large(self) -> int:
        """Number of events left out because they have more than `max_voxels`."""
        return self.order.num_large

    def shared_with(self, other: "Sample") -> list[str]:
        """Return the names of the shards of which another sample has events, too: of the same source and number."""
        theirs: dict[str, list[int]] = {}
        for number, sources in enumerate(other._sources.values()):
            for source in sources:
                theirs.setdefault(source, []).append(number)
        found = []
        for number, (uid, sources) in enumerate(self._sources.items()):
            rivals = {one for source in sources for one in theirs.get(source, [])}
            if rivals:
                mine = _origins(self._shards[number])
                if any(mine & _origins(other._shards[rival]) for rival in sorted(rivals)):
                    found.append(uid)
        return found

    def event(self, number: int) -> Event:
        """Read one event, with its neighbours, as it is in the files; of mixed input, as predicted."""
        block, row = self.order.place(number)
        return self._ready(self._unit(BLOCK, block, 0)[row], self._upstream == "truth")

    def batch(self, step: int, settings: config.Training, ranks: "Ranks") -> list[Any]:
        """Read this rank's share of the batch of one step, largest first."""
        return _in_order([self.part(step, settings, (ranks.rank, ranks.size), (0, 1))])

    def batches(
        self, steps: range, settings: config.Training, ranks: "Ranks"
    ) -> AbstractContextManager[Iterator[list[Any]]]:
        """Yield this rank's share of the batches of some steps, read ahead by `num_workers` processes.

        The batches are those of `batch`, bit for bit. Use as a context manager, which ends the processes.
        """
        rank = (ranks.rank, ranks.size)
        num_workers = settings.num_workers
        return ahead(partial(_part, self, settings, rank, num_workers), _in_order, steps, num_workers)

    def share(self, limit: int, ranks: "Ranks") -> Iterator[Event]:
        """Read this rank's share of the first `limit` events, neighbours together."""
        for number in np.array_split(np.arange(min(limit, len(self))), ranks.size)[ranks.rank].tolist():
            yield self.event(number)

    def part(
        self, step: int, settings: config.Training, rank: tuple[int, int], worker: tuple[int, int]
    ) -> list[tuple[int, Any]]:
        """Read what one of a rank's processes reads of a batch: events and their place among the batch's.

        `rank` and `worker` are a number and how many there are. The units of a window are theirs alone:
        no two processes unpack the same rows, but for the few events that are not at home.
        """
        batch = self.order.batch(step, settings.batch_size, settings.seed, rank[1])
        mine = (batch.rank_B == rank[0]) & (batch.unit_B % worker[1] == worker[0])
        length, make = unit_length(rank[1]), self._maker(settings)
        events: list[tuple[int, Any]] = []
        for place, drawn in enumerate(np.argsort(-batch.size_B, kind="stable").tolist()):
            if not mine[drawn]:
                continue
            block, row = int(batch.block_B[drawn]), int(batch.row_B[drawn])
            rng = np.random.default_rng((settings.seed, step, drawn))
            on_truth = self._upstream == "truth" or (self._upstream == "mixed" and rng.random() < TRUTH_SHARE)
            read = partial(self._drawn, block, row, length if batch.is_home_B[drawn] else 1, on_truth)
            if make is None:
                events.append((place, augment(read(), rng, settings)))
            else:
                example = self._kept((block, row, on_truth), partial(_made, make, read))
                events.append((place, example.turned(*(symmetry(rng) if settings.augment else SAME))))
        return events

    def _maker(self, settings: config.Training) -> Callable[[Event], Any] | None:
        """Return what makes an example of an event; None where it is another one in each pass."""
        if not (self._as_examples and isinstance(settings, config.GraphTraining) and settings.keep_gb):
            return None
        if settings.shift or settings.charge_scale or settings.charge_jitter:
            return None
        found: Callable[[Event], Any] | None = self._stage.module().examples(self._section)
        return found

    def _drawn(self, block: int, row: int, length: int, on_truth: bool) -> Event:
        """Read an event, and `length` neighbours with it."""
        if length == 1:
            return self._ready(self._read(block, row, row + 1)[0], on_truth)
        return self._ready(self._unit(length, block, row // length)[row % length], on_truth)

    def _ready(self, event: Event, on_truth: bool) -> Event:
        if on_truth:
            return upstream_from_truth(event, self._derived)
        return adopted(event) if self._derived else event

    def _neighbours(self, length: int, block: int, part: int) -> list[Event]:
        return self._read(block, part * length, (part + 1) * length)

    def _read(self, block: int, first: int, last: int) -> list[Event]:
        """Read rows of a block."""
        shard, start = int(self.order.shard_of[block]), self.order.start(block)
        events = self._events(shard)
        wanted = {*self._needed, *TRUTH, *self._stage.also_reads, *self._stage.also_learns}
        products = [name for name in events.products if name in wanted]
        return events.block(start + first, min(start + last, len(events)), products)

    def _open(self, shard: int) -> Events:
        """Open the files of a shard, and raise PassingError where one is not any more what it was at the start."""
        events = open_events(*self._shards[shard])
        for path, content in events.contents().values():
            if content and content != self._content[path]:
                events.close()
                raise PassingError(
                    f"{path} was changed since the training began; give the same command again"
                )
        return events

    def _usable(self, paths: Sequence[Path]) -> NDArray[np.int64]:
        """Return the voxels of a shard's events (events,), 0 for those that cannot be used."""
        with open_events(*paths) as shard:
            require_dimension(self._stage, shard.box.dimension)
            shard.require(self._needed)
            usable = ~np.isin(shard.entries, list(shard.quarantined()))
            return np.where(usable, shard.num_voxels(), 0)

    def _set_up(self) -> None:
        self._unit = lru_cache(maxsize=WINDOW + 2)(self._neighbours)
        self._events = _Latest(self._open, OPEN_SHARDS)
        self._kept = Kept(1e9 * getattr(self._section.train, "keep_gb", 0.0))

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_unit", "_events", "_kept")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_up()


def _part(
    sample: Sample, settings: config.Training, rank: tuple[int, int], num_workers: int, worker: int, step: int
) -> list[tuple[int, Any]]:
    return sample.part(step, settings, rank, (worker, max(1, num_workers)))


def _made(make: Callable[[Event], Any], read: Callable[[], Event]) -> Any:
    return make(read())


def _in_order(parts: Sequence[list[tuple[int, Any]]]) -> list[Any]:
    """Join the parts of a batch that several processes read."""
    return [event for _, event in sorted((item for part in parts for item in part), key=lambda item: item[0])]


def _together(work: Callable[[Any], T], items: Sequence[Any], ranks: "Ranks | None") -> list[T]:
    """Return `work` of each item, of which each rank does its part."""
    if ranks is None or ranks.size == 1:
        return [work(item) for item in items]
    parts = ranks.comm.allgather([work(item) for item in items[ranks.rank :: ranks.size]])
    return [parts[number % ranks.size][number // ranks.size] for number in range(len(items))]


def _identity(path: Path) -> tuple[str, str, list[str]]:
    """Return the shard that a file is of, the digest of what it says, and those of what it was ingested from."""
    with open_events(path) as events:
        return events.file_uid, fingerprint(path)[1], list(_inputs(events).values())


def _inputs(events: Events) -> dict[str, str]:
    """Return the digests of what events were ingested from by name; where it is not known, that of their own file."""
    attrs = events.attributes().get("ingest")
    if attrs is None:
        return {}
    found: dict[str, str] = json.loads(str(attrs.get("inputs", "{}")))
    return found or {"": next(iter(events.contents().values()))[1]}


def _origins(paths: Sequence[Path]) -> set[tuple[str, int]]:
    """Return the events of a shard: the digest of the source of each, and its number there."""
    with open_events(*paths) as events:
        inputs = _inputs(events)
        return {(inputs.get(name, inputs.get(Path(name).name, name)), at) for name, at in events.origins()}


class _Latest:
    """The shards that were read from last, closed when others need their room."""

    def __init__(self, make: Callable[[int], Events], limit: int) -> None:
        self._make, self._limit = make, limit
        self._kept: OrderedDict[int, Events] = OrderedDict()

    def __call__(self, key: int) -> Events:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while len(self._kept) >= self._limit:
            self._kept.popitem(last=False)[1].close()
        self._kept[key] = self._make(key)
        return self._kept[key]
