"""`lartpc summarize`: the tables of one shard."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lartpc import config
from lartpc.event import blank
from lartpc.run.memory import settled
from lartpc.run.quality.evaluate import Judge
from lartpc.run.volumes import active_volumes_cm
from lartpc.stages import CHAIN, chain_in
from lartpc.store import open_events
from lartpc.tables import TABLES, TableWriter, event_rows, throughput_rows
from lartpc.tables.measured import measured
from lartpc.truth import completed

EVENT_TABLES = tuple(name for name in TABLES if name != "metrics")
"""The tables that summarize writes; `evaluate` writes the other one."""


def summarize(
    event_files: Sequence[Path],
    out_dir: Path,
    section: config.Summarize | None = None,
    *,
    metrics: Path | None = None,
) -> dict[str, int]:
    """Write each table of a shard to `out_dir/<table>.parquet` and return their numbers of rows.

    All files are always written, those of the truth without rows where the source has none. An event
    that was set aside has its row in `events` and in `quarantine`. Tables of stages that images of wire
    planes do not go through have no rows.

    Parameters
    ----------
    section
        What is measured, and where the detector ends; None: the defaults.
    metrics
        File for what `evaluate` writes of the same files: particles are measured once for both.

    Raises
    ------
    ValueError
        The files are not of one shard, or a stage's file is missing.
    """
    section = section or config.Summarize()
    with ExitStack() as stack:
        events = stack.enter_context(open_events(*event_files))
        written = [product for stage in chain_in(events.box.dimension) for product in stage.writes]
        events.require(["event", "voxel", *(name for name in written if name != "proposal")])
        not_made = [product for stage in CHAIN for product in stage.writes if product not in written]
        writers = {
            name: stack.enter_context(TableWriter(out_dir / f"{name}.parquet", name)) for name in EVENT_TABLES
        }
        judge = None
        if metrics:
            judge = Judge(events, section)
            writers["metrics"] = stack.enter_context(TableWriter(metrics, "metrics"))
        set_aside = events.quarantined()
        volumes_cm = active_volumes_cm(events, section)
        stack.enter_context(settled())
        stream = events.stream([name for name in events.products if name != "proposal"])
        for event, origin in zip(stream, events.origins(), strict=True):
            given, event = event, blank(event, not_made)
            reason, particles = set_aside.get(event.entry), None
            if judge and judge.present and not reason:
                particles = measured(completed(event), volumes_cm, section)
                writers["metrics"].append(judge.rows(given, particles[0]))
            rows = event_rows(event, origin, reason, volumes_cm=volumes_cm, cfg=section, particles=particles)
            for name, values in rows.items():
                writers[name].append(values)
        writers["throughput"].append(
            throughput_rows(events.file_uid, events.attributes(), len(events), int(events.num_voxels().sum()))
        )
    return {name: writer.num_rows for name, writer in writers.items()}
