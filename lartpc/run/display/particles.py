"""What is known of each particle of an event: its row, relatives, match, and dE/dx along it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Summarize
from lartpc.event import Columns, Event, num_rows
from lartpc.run.display.losses import expected, losses
from lartpc.tables import TABLES
from lartpc.tables.fields import Rows

_OTHER = {"particles": "truth_particle_id", "truth_particles": "particle_id"}
_IOU = {"particles": "truth_iou", "truth_particles": "iou"}
_MAX_SLICES = 200
"""Slices of a track that are drawn; of longer ones, those nearest to the end."""


def described(
    event: Event, table: str, rows: Mapping[str, Rows], label_V: NDArray[Any], particle: Columns
) -> list[dict[str, Any]]:
    """Return, for each particle, its row of a table in words, its parent, children, match and dE/dx.

    Parameters
    ----------
    table
        `particles` or `truth_particles`.
    rows
        What `event_rows` returns.
    """
    columns, num = rows[table], num_rows(particle)
    parent = np.asarray(columns["parent_id"])
    ends = event["identity"] if table == "particles" and "identity" in event else particle
    start, end = (ends[name].astype(np.float64) for name in ("start_point", "end_point"))
    along = losses(event, label_V, particle["semantic"], start, end, Summarize())
    match, iou = np.asarray(columns[_OTHER[table]]), np.asarray(columns[_IOU[table]])
    return [
        {
            "row": row_of(table, columns, number),
            "parent": int(parent[number]),
            "children": np.flatnonzero(parent == number).tolist(),
            "match": int(match[number]),
            "iou": _plain(iou[number]),
            "dedx": _loss(*along[number]) if number in along else None,
        }
        for number in range(num)
    ]


def row_of(table: str, columns: Rows, number: int) -> dict[str, Any]:
    """Return one row of a table by the names of its columns, codes as words and what is unknown as None."""
    found: dict[str, Any] = {}
    for name, field in TABLES[table].fields.items():
        value = columns[name][number]
        if field.words and isinstance(value, int | np.integer):
            found[name] = field.words[int(value)] if value >= 0 else None
        else:
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value


def _loss(residual: NDArray[np.float64], loss: NDArray[np.float64]) -> dict[str, Any]:
    order = np.argsort(residual)[:_MAX_SLICES]
    x = residual[order]

    def short(values: NDArray[np.float64]) -> list[float]:
        return [float(f"{value:.4g}") for value in values]

    return {
        "residual_cm": short(x),
        "dedx_mev_cm": short(loss[order]),
        "expected": {name: short(values) for name, values in expected(x).items()},
    }
