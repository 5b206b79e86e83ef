"""Where a production's figures come from: code, settings that are not the defaults, weights and time."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from lartpc.config import SECTIONS
from lartpc.store import Events
from lartpc.tables.written import written_table


def origins(shards: Sequence[Events]) -> list[dict[str, Any]]:
    """Return, for each step that wrote the shards' files, what it was run with; the first shard speaks.

    `settings` are those that differ from the defaults, as lines of `name: value`.
    """
    found: dict[str, dict[str, Any]] = {}
    for shard in shards:
        for step, attrs in shard.attributes().items():
            settings = json.loads(str(attrs.get("config", "{}")) or "{}")
            found.setdefault(
                step,
                {
                    "step": step,
                    "version": f"{attrs.get('package_version', '')}, step {attrs.get('step_version', '')}",
                    "revision": str(attrs.get("git_revision", ""))[:12],
                    "weights": str(attrs.get("weights", "")),
                    "settings": _differing(settings, _defaults(step, settings)),
                },
            )
    return list(found.values())


def _defaults(step: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    section = SECTIONS.get(step)
    if section is None:
        return {}
    values: dict[str, Any] = json.loads(section().model_dump_json())
    infer = values.pop("infer", {})
    return {**infer, **values, "infer": infer} if isinstance(infer, dict) else values


def _differing(settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key, value in settings.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            lines += _differing(value, default, f"{prefix}{key}.")
        elif value != default and json.dumps(value) != json.dumps(default):
            text = json.dumps(value, ensure_ascii=False)
            lines.append(f"{prefix}{key}: {text if len(text) < 80 else text[:77] + '...'}")
    return lines


def timing(dataset: Path) -> list[dict[str, Any]]:
    """Return, for each step, its time, share of the whole, and speed with the error of its mean over shards."""
    frame: pd.DataFrame = ds.dataset(written_table(dataset, "throughput")).to_table().to_pandas()
    frame = frame[frame["seconds"].notna() & (frame["num_events"] > 0)]
    total = float(frame["seconds"].sum())
    rows = []
    for step, group in frame.groupby("step", sort=False):
        per_event = (group["seconds"] / group["num_events"]).to_numpy(np.float64)
        num = len(per_event)
        error = float(np.std(per_event, ddof=1) / num**0.5) if num > 1 else None
        mean = float(group["seconds"].sum() / group["num_events"].sum())
        rows.append(
            {
                "step": str(step),
                "seconds": f"{group['seconds'].sum():,.1f}",
                "share": f"{100 * group['seconds'].sum() / total:.0f} %" if total else "",
                "per_event": f"{1e3 * mean:,.1f}" + (f" ± {1e3 * error:,.1f}" if error is not None else ""),
                "num_shards": num,
                "num_events": f"{int(group['num_events'].sum()):,}",
            }
        )
    return rows


def topologies(dataset: Path, num_shown: int = 8) -> dict[str, Any] | None:
    """Return the confusion of the most frequent true topologies with the reconstructed ones, or None without truth."""
    key = ["file_uid", "entry"]
    columns = [*key, "topology", "num_primaries", "interaction_id", "iou"]
    true: pd.DataFrame = (
        ds.dataset(written_table(dataset, "truth_interactions")).to_table(columns=columns).to_pandas()
    )
    true = true[(true["num_primaries"] > 0) & (true["topology"] != "")]
    if true.empty:
        return None
    reco: pd.DataFrame = (
        ds.dataset(written_table(dataset, "interactions"))
        .to_table(columns=[*key, "interaction_id", "topology"])
        .to_pandas()
    )
    pairs = true.merge(reco, on=[*key, "interaction_id"], how="left", suffixes=("", "_reco"))
    shown = pairs["topology"].value_counts().index[:num_shown].tolist()
    wanted = np.where(pairs["topology"].isin(shown), pairs["topology"], "other")
    given = pairs["topology_reco"].where(pairs["iou"] >= 0.5)
    same = pairs["topology"] == given
    # a topology that is not listed but right stays on the diagonal
    found = np.select([given.isna(), given.isin(shown)], ["not found", given], "other")
    names = [*shown, "other"]
    counts = [
        [int(((wanted == row) & (found == name)).sum()) for name in [*names, "not found"]] for row in names
    ]
    return {
        "title": f"Topology: {int(same.sum()):,} of {len(pairs):,} interactions correct",
        "names": names,
        "columns": [*names, "not found"],
        "counts": counts,
    }
