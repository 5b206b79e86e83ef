"""`lartpc infer`: run one stage over the events of a shard."""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lartpc import config
from lartpc.event import TRUTH, Columns, Event, blank, check_finite
from lartpc.faults import lacks_memory, passes
from lartpc.provenance import provenance
from lartpc.run.memory import available_bytes, settled
from lartpc.run.progress import Meter
from lartpc.run.weights_file import check_fits, read_content
from lartpc.stages import Stage, require_dimension, require_weights
from lartpc.steady import Steady
from lartpc.store import ARITHMETIC, ON_TRUTH, WEIGHTS_FILE, Events, EventWriter, open_events
from lartpc.truth import truth_for, upstream_from_truth

T = TypeVar("T")
U = TypeVar("U")
Infer = Callable[[list[Event]], list[dict[str, Columns]]]

MAX_BATCH_VOXELS = 200_000
MAX_BATCH_EVENTS = 64


def infer(
    stage: Stage, files: list[Path], section: Any, *, out: Path, weights: Path | None, on_truth: bool = False
) -> dict[str, Any]:
    """Run a stage over a shard and write its products.

    An event that the stage cannot process, or of which it makes numbers that are not finite, is quarantined
    with the reason and keeps its place with empty products; events that an earlier step quarantined pass
    through empty. Faults that pass, of a disk, of memory or of a GPU, end the job (`lartpc.faults`).

    Parameters
    ----------
    files
        The shard's files up to this stage, from `ingest` on.
    on_truth
        Replace what earlier stages would have written by the truth. Where the source states only a part of
        the truth, and not what is needed, the products are empty and standard error says so.

    Returns
    -------
    Number of events, of quarantined events and of voxels, and the seconds spent.
    """
    require_weights(stage, section, weights is not None)
    steady = Steady([*files, *([weights] if weights else [])])
    net: Any = None
    domain: dict[str, Any] = {}
    with _uncollected():
        module = stage.module()
        if weights:
            content = read_content(weights, f"train them with 'lartpc train {stage.name}'")
            net = load_network(stage, section, weights, content)
            domain = json.loads(content.get("domain") or "{}")
    # A GPU says itself that its memory is full.
    may_exhaust = not hasattr(net, "parameters") or next(net.parameters()).device.type == "cpu"

    def run(batch: list[Event]) -> list[dict[str, Columns]]:
        for event in batch:
            _check_size(event, stage, section)
        if may_exhaust and len(batch) == 1:
            _check_memory(batch[0], stage, section)
        found: list[dict[str, Columns]] = module.infer(net, batch, section)
        for products in found:
            for name, columns in products.items():
                check_finite(name, columns)
        return found

    origin = provenance(
        stage.name,
        stage.version,
        config=config.slice_of(section, "infer"),
        inputs=files,
        weights=weights,
    )
    with (
        _open(stage, files, section) as events,
        EventWriter(out, stage.writes, file_uid=events.file_uid, box=events.box, attrs=origin) as writer,
    ):
        if weights:
            from lartpc.run.domain import look_outside

            said = look_outside(events, stage, section, weights, domain)
            writer.set_attribute("warnings", json.dumps(said))
            writer.set_attribute(WEIGHTS_FILE, str(weights))
            if arithmetic := getattr(net, ARITHMETIC, ""):
                writer.set_attribute(ARITHMETIC, arithmetic)
        if on_truth:
            writer.set_attribute(ON_TRUTH, True)
        products, complete, has_input = _source(events, stage, on_truth)
        set_aside = events.quarantined()
        limit = getattr(getattr(section, "infer", None), "max_voxels", MAX_BATCH_VOXELS)
        num_quarantined = num_voxels = 0
        seconds = 0.0
        reason = ""
        _name_large(events, limit, stage)

        def read(pack: tuple[int, int]) -> list[Event]:
            return [complete(event) for event in events.block(*pack, products)]

        def write(batch: list[Event], results: dict[int, dict[str, Columns] | str]) -> None:
            for event in batch:
                result = results.get(event.entry)
                if isinstance(result, dict):
                    writer.append(event.entry, result)
                elif result is None:
                    writer.append(event.entry, _nothing(stage, event))
                else:
                    writer.quarantine(event.entry, result, _nothing(stage, event))

        # HDF5 packs and unpacks outside Python's lock: while a batch is computed, the next one is read
        # and the last one written.
        with (
            Meter(f"{stage.name} {events.file_uid}", len(events), "events") as meter,
            ThreadPoolExecutor(1) as behind,
            settled(),
        ):
            written: Future[None] | None = None
            for batch in _ahead(read, events.packs(limit, MAX_BATCH_EVENTS)):
                good = [event for event in batch if has_input and event.entry not in set_aside]
                start = time.perf_counter()
                results = dict(zip((event.entry for event in good), _each(run, good), strict=True))
                seconds += time.perf_counter() - start
                for event in good:
                    result = results[event.entry]
                    if isinstance(result, dict):
                        num_voxels += event.num_voxels
                    else:
                        num_quarantined, reason = num_quarantined + 1, result
                if written:
                    written.result()
                written = behind.submit(write, batch, results)
                meter.advance(len(batch), f"{num_voxels / max(seconds, 1e-9):.0f} voxels/s")
            if written:
                written.result()
        if num_quarantined > 1 and num_quarantined == len(events) - len(set_aside):
            raise ValueError(f"{stage.name} failed on every event of {events.file_uid}; the last: {reason}")
        steady.check()
        summary = {
            "num_events": len(events),
            "num_quarantined": num_quarantined,
            "num_voxels": num_voxels,
            "seconds": seconds,
        }
        for name, value in summary.items():
            writer.set_attribute(name, value)
    return summary


def load_network(stage: Stage, section: Any, weights: Path, content: dict[str, Any]) -> Any:
    """Return the stage's network with its weights: without torch, if the stage has such a one, else of torch."""
    check_fits(weights, stage, section, content)
    compiled = getattr(stage.module(), "compiled", None)
    found = compiled(section, content["state"]) if compiled else None
    if found is None:
        # only now: other jobs start without waiting seconds for torch
        from lartpc.run.weights import load_weights, refuse_not_finite

        found = load_weights(weights, stage, section, content)
        refuse_not_finite(found)
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python look for no unreachable cycles meanwhile, nor later among what is there by then.

    Importing torch makes half a million objects, all to stay: going through them takes a tenth of the start of a job.
    Where torch is there already, others may have left cycles that are to be found, and nothing is done.
    """
    if not gc.isenabled() or "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _name_large(events: Events, max_voxels: int, stage: Stage) -> None:
    """Say which events are larger than a batch is meant to be."""
    sizes = events.num_voxels()
    if (sizes > max_voxels).any():
        sys.stderr.write(
            f"{events.file_uid}: {np.count_nonzero(sizes > max_voxels)} of {len(sizes)} events have more voxels "
            f"than a batch of {stage.name} ({max_voxels:,}); each is computed by itself; the largest, entry "
            f"{events.entries[sizes.argmax()]}, has {sizes.max():,}\n"
        )


def _open(stage: Stage, files: list[Path], section: Any) -> Events:
    events = open_events(*files)
    try:
        require_dimension(stage, events.box.dimension, getattr(section, "dimension", None))
    except ValueError:
        events.close()
        raise
    return events


def _check_memory(event: Event, stage: Stage, section: Any) -> None:
    """Raise MemoryError if an event alone takes more than there is: the system would end the whole job."""
    need = event.num_voxels * getattr(stage.module(), "bytes_per_voxel", _nothing_known)(section)
    if need and need > (free := available_bytes()):
        raise MemoryError(
            f"entry {event.entry} of {event.file_uid} has {event.num_voxels:,} voxels, which take about "
            f"{need / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free; give the job more memory, or set events of "
            f"that size aside with {stage.name}.infer.max_event_voxels"
        )


def _check_size(event: Event, stage: Stage, section: Any) -> None:
    """Raise ValueError if an event is larger than the settings allow."""
    most = getattr(getattr(section, "infer", None), "max_event_voxels", None)
    if most is not None and event.num_voxels > most:
        raise ValueError(
            f"the event has {event.num_voxels:,} voxels, more than {stage.name}.infer.max_event_voxels ({most:,})"
        )


def _nothing_known(_: Any) -> float:
    return 0.0


def _ahead(work: Callable[[T], U], items: Sequence[T]) -> Iterator[U]:
    """Yield `work` of each item in order; a thread works out the next one meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming: Future[U] | None = None
        for item in items:
            ready, coming = coming, pool.submit(work, item)
            if ready:
                yield ready.result()
        if coming:
            yield coming.result()


def _source(
    events: Events, stage: Stage, on_truth: bool
) -> tuple[Sequence[str], Callable[[Event], Event], bool]:
    """Return the products to read, and what makes of an event that has them one that the stage takes.

    Also tell whether there is anything to run on: a part of the truth may not be enough, and gives empty
    products.
    """
    if not on_truth:
        events.require(stage.reads)
        # all of what it may read besides, or nothing of it
        also = stage.also_reads if set(stage.also_reads) <= set(events.products) else ()
        return (*stage.reads, *also), lambda event: event, True
    derived = [name for name in stage.reads if name != "voxel"]
    truth = truth_for(derived)
    if missing := [name for name in truth if name not in events.products]:
        if not set(TRUTH) & set(events.products):
            raise ValueError(
                f"{events.file_uid} has no truth: its source states none; leave --on-truth out, and put the "
                "sample into the split 'reconstruct'"
            )
        sys.stderr.write(
            f"{events.file_uid}: {stage.name} is not run on truth, the source does not state "
            f"{', '.join(missing)}\n"
        )
        return ["voxel"], lambda event: blank(event, derived), False
    return ["voxel", *truth], lambda event: upstream_from_truth(event, derived), True


def _each(run: Infer, batch: list[Event]) -> list[dict[str, Columns] | str]:
    """Run a batch; where it fails, run its events one by one and return the reason for the bad ones.

    What is wrong with the machine and not with an event is raised: only want of memory may be the batch's.
    """
    if not batch:
        return []
    try:
        return list(run(batch))
    except Exception as error:
        if passes(error) and not (lacks_memory(error) and len(batch) > 1):
            raise
        if len(batch) == 1:
            return [f"{type(error).__name__}: {error}"]
        return [_each(run, [event])[0] for event in batch]


def _nothing(stage: Stage, event: Event) -> dict[str, Columns]:
    found = blank(event, stage.writes)
    return {name: found[name] for name in stage.writes}
