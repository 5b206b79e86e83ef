"""`lartpc infer`: run one stage over the events of a shard."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lartpc import config
from lartpc.event import PRODUCTS, Columns, Event, empty, num_rows
from lartpc.run.progress import Meter
from lartpc.stages import Stage
from lartpc.store import Events, EventWriter, open_events, provenance
from lartpc.truth import upstream_from_truth

Infer = Callable[[list[Event]], list[dict[str, Columns]]]

MAX_BATCH_VOXELS = 200_000
MAX_BATCH_EVENTS = 64


def infer(
    stage: Stage, files: list[Path], section: Any, *, out: Path, weights: Path | None, on_truth: bool = False
) -> dict[str, Any]:
    """Run a stage over a shard and write its products.

    An event that the stage cannot process is quarantined with the reason and keeps its place with
    empty products; events that an earlier step quarantined pass through empty.

    Parameters
    ----------
    files
        The shard's files up to this stage, from `ingest` on.
    on_truth
        Replace what earlier stages would have written by the truth.

    Returns
    -------
    Number of events, of quarantined events and of voxels, and the seconds spent.
    """
    if stage.learned != (weights is not None):
        need = "needs --weights" if stage.learned else "has no weights; leave --weights out"
        raise ValueError(f"stage '{stage.name}' {need}")
    module = stage.module()
    net = None
    if weights:
        # Only now: a stage without weights runs without waiting seconds for torch.
        from lartpc.run.weights import load_weights

        net = load_weights(weights, stage, section)

    def run(batch: list[Event]) -> list[dict[str, Columns]]:
        found: list[dict[str, Columns]] = module.infer(net, batch, section)
        return found

    origin = provenance(
        stage.name,
        stage.version,
        config=config.slice_of(section, "infer"),
        inputs=files,
        weights=weights,
    )
    with (
        open_events(*files) as events,
        EventWriter(out, stage.writes, file_uid=events.file_uid, box=events.box, attrs=origin) as writer,
    ):
        source = _source(events, stage, on_truth)
        set_aside = events.quarantined()
        limit = getattr(getattr(section, "infer", None), "max_voxels", MAX_BATCH_VOXELS)
        num_quarantined = num_voxels = 0
        seconds = 0.0
        with Meter(f"{stage.name} {events.file_uid}", len(events), "events") as meter:
            for batch in _batches(source, limit):
                good = [event for event in batch if event.entry not in set_aside]
                start = time.perf_counter()
                results = dict(zip((event.entry for event in good), _each(run, good), strict=True))
                seconds += time.perf_counter() - start
                for event in batch:
                    result = results.get(event.entry)
                    if isinstance(result, dict):
                        writer.append(event.entry, result)
                        num_voxels += event.num_voxels
                    elif result is None:
                        writer.append(event.entry, _nothing(stage, event))
                    else:
                        num_quarantined += 1
                        writer.quarantine(event.entry, result, _nothing(stage, event))
                meter.advance(len(batch), f"{num_voxels / max(seconds, 1e-9):.0f} voxels/s")
        if num_quarantined > 1 and num_quarantined == len(events) - len(set_aside):
            raise RuntimeError(f"{stage.name} failed on every event of {events.file_uid}; the last: {result}")
        summary = {
            "num_events": len(events),
            "num_quarantined": num_quarantined,
            "num_voxels": num_voxels,
            "seconds": seconds,
        }
        for name, value in summary.items():
            writer.set_attribute(name, value)
    return summary


def _source(events: Events, stage: Stage, on_truth: bool) -> Iterator[Event]:
    """Stream the products that the stage reads, from earlier stages or made from the truth."""
    if not on_truth:
        events.require(stage.reads)
        yield from events.stream(stage.reads)
        return
    derived = [name for name in stage.reads if name != "voxel"]
    truth = [name for name in events.products if name.startswith("truth_")]
    if not truth:
        raise ValueError(f"{events.file_uid} has no truth: its source states none; leave --on-truth out")
    for event in events.stream(["voxel", *truth]):
        yield upstream_from_truth(event, derived)


def _batches(events: Iterable[Event], max_voxels: int) -> Iterator[list[Event]]:
    """Pack consecutive events up to a number of voxels; a larger event is a batch of its own."""
    batch: list[Event] = []
    size = 0
    for event in events:
        if batch and (size + event.num_voxels > max_voxels or len(batch) >= MAX_BATCH_EVENTS):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += event.num_voxels
    if batch:
        yield batch


def _each(run: Infer, batch: list[Event]) -> list[dict[str, Columns] | str]:
    """Run a batch; where it fails, run its events one by one and return the reason for the bad ones."""
    if not batch:
        return []
    try:
        return list(run(batch))
    except Exception as error:
        if len(batch) == 1:
            return [f"{type(error).__name__}: {error}"]
        return [_each(run, [event])[0] for event in batch]


def _nothing(stage: Stage, event: Event) -> dict[str, Columns]:
    """Return products that say nothing, as long as the products that they are aligned with."""
    made: dict[str, Columns] = {}
    for name in stage.writes:
        per = PRODUCTS[name].per
        made[name] = empty(name, num_rows(made.get(per) or event[per]) if per else 0)
    return made
