"""`lartpc summarize`: the tables of one shard."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lartpc import config
from lartpc.atomic import final_path, replacing_folder
from lartpc.event import PROPOSED, blank
from lartpc.provenance import digest, provenance
from lartpc.run.memory import settled
from lartpc.run.quality.evaluate import Judge, made_from
from lartpc.run.volumes import active_volumes_cm
from lartpc.stages import CHAIN, TABLES_VERSION, chain_in
from lartpc.steady import Steady
from lartpc.store import open_events
from lartpc.tables import SCHEMA_VERSION, TABLES, TableWriter, event_rows, throughput_rows
from lartpc.tables.manifest import write_manifest
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

    The folder appears when it is complete, with a manifest: the digest of each file, and what it was made from.

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
    with replacing_folder(out_dir, "quarantine.parquet") as folder:
        steady = Steady(event_files)
        num_rows, about = _write(event_files, folder, section, metrics)
        steady.check()
        write_manifest(folder, about)
    return num_rows


def _write(
    event_files: Sequence[Path], out_dir: Path, section: config.Summarize, metrics: Path | None
) -> tuple[dict[str, int], dict[str, Any]]:
    """Write the tables; return their numbers of rows, and what they were made from."""
    with ExitStack() as stack:
        events = stack.enter_context(open_events(*event_files))
        written = [product for stage in chain_in(events.box.dimension) for product in stage.writes]
        events.require(["event", "voxel", *(name for name in written if name not in PROPOSED)])
        not_made = [product for stage in CHAIN for product in stage.writes if product not in written]
        writers = {
            name: stack.enter_context(TableWriter(out_dir / f"{name}.parquet", name)) for name in EVENT_TABLES
        }
        judge = None
        if metrics:
            judge = Judge(events, section)
            writers["metrics"] = stack.enter_context(
                TableWriter(metrics, "metrics", made_from(events, section))
            )
        set_aside = events.quarantined()
        volumes_cm = active_volumes_cm(events, section)
        stack.enter_context(settled())
        stream = events.stream([name for name in events.products if name not in PROPOSED])
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
        about = provenance("summarize", TABLES_VERSION, config=section.model_dump(mode="json"))
        about |= {
            "file_uid": events.file_uid,
            "schema_version": SCHEMA_VERSION,
            "config": section.model_dump(mode="json"),
            "inputs": {
                name: {"path": str(final_path(path)), "content": content, "bytes": digest(path)}
                for name, (path, content) in events.contents().items()
            },
        }
    return {name: writer.num_rows for name, writer in writers.items()}, about
