"""`lartpc summarize`: the tables of one shard."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lartpc.event import blank
from lartpc.stages import CHAIN, chain_in
from lartpc.store import open_events
from lartpc.tables import TABLES, TableWriter, event_rows, throughput_rows

EVENT_TABLES = tuple(name for name in TABLES if name != "metrics")
"""The tables that summarize writes; `evaluate` writes the other one."""


def summarize(event_files: Sequence[Path], out_dir: Path) -> dict[str, int]:
    """Write each table of a shard to `out_dir/<table>.parquet` and return their numbers of rows.

    All files are always written, those of the truth without rows where the source has none. An event
    that was set aside has its row in `events` and in `quarantine`. Tables of stages that images of wire
    planes do not go through have no rows.

    Raises
    ------
    ValueError
        The files are not of one shard, or a stage's file is missing.
    """
    with ExitStack() as stack:
        events = stack.enter_context(open_events(*event_files))
        written = [product for stage in chain_in(events.box.dimension) for product in stage.writes]
        events.require(["event", "voxel", *(name for name in written if name != "proposal")])
        not_made = [product for stage in CHAIN for product in stage.writes if product not in written]
        writers = {
            name: stack.enter_context(TableWriter(out_dir / f"{name}.parquet", name)) for name in EVENT_TABLES
        }
        set_aside = events.quarantined()
        stream = events.stream([name for name in events.products if name != "proposal"])
        for event, origin in zip(stream, events.origins(), strict=True):
            event = blank(event, not_made)
            for name, rows in event_rows(event, origin, set_aside.get(event.entry)).items():
                writers[name].append(rows)
        writers["throughput"].append(
            throughput_rows(events.file_uid, events.attributes(), len(events), int(events.num_voxels().sum()))
        )
    return {name: writer.num_rows for name, writer in writers.items()}
