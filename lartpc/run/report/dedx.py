"""dE/dx of contained tracks against their residual range, beside the expectation of each species."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lartpc import config
from lartpc.event import PROPOSED, blank, num_rows
from lartpc.kinematics.classes import final_classes
from lartpc.run.display.losses import expected, losses
from lartpc.run.report.statistics import bootstrapped, median
from lartpc.run.volumes import active_volumes_cm
from lartpc.stages import CHAIN
from lartpc.store import Events
from lartpc.tables.fields import names_of
from lartpc.tables.measured import measured_reco
from lartpc.vocab import Species

MAX_EVENTS = 400
"""Events that are read of the shards with pictures."""
_EDGES_CM = np.geomspace(1, 100, 17)
_SHOWN = ("muon", "pion", "proton")


def dedx_charts(shards: Sequence[Events]) -> list[dict[str, Any]]:
    """Return a chart of the median dE/dx in bins of the residual range, by reconstructed species.

    Of the tracks that the chain calls contained, in the first events of the shards.
    """
    cfg = config.Summarize()
    found: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in _SHOWN}
    number = 0
    for shard in shards:
        if shard.box.dimension == 2:
            continue
        volumes_cm = active_volumes_cm(shard, cfg)
        set_aside = shard.quarantined()
        for event in shard.stream([name for name in shard.products if name not in PROPOSED]):
            if event.entry in set_aside or number >= MAX_EVENTS:
                continue
            number += 1
            event = blank(event, [name for stage in CHAIN for name in stage.writes if name not in event])
            if not num_rows(event["particle"]):
                continue
            measured = measured_reco(event, volumes_cm, cfg)
            semantic = final_classes(event)
            label = event["group"]["particle"]
            for owner, (residual, loss) in losses(
                event, label, semantic, measured.start, measured.end, cfg
            ).items():
                species = int(event["identity"]["species"][owner])
                word = names_of(Species)[species] if species >= 0 else ""
                if word in found and measured.columns["is_contained"][owner]:
                    rows = np.stack([residual, loss, np.full(len(loss), number)])
                    found[word].append(rows)
    series: list[dict[str, Any]] = []
    theory: list[dict[str, Any]] = []
    fine = np.geomspace(_EDGES_CM[0], _EDGES_CM[-1], 60)
    for word, pieces in found.items():
        if not pieces:
            continue
        residual, loss, event_number = np.concatenate(pieces, axis=1)
        bins = bootstrapped(residual, loss, event_number.astype(np.int64), _EDGES_CM, median)
        series.append(
            {
                **{"name": f"{word}s", "x": _round(bins.centre), "y": _round(bins.value)},
                **{"error": _round(bins.error), "num": bins.num.tolist(), "total": int(bins.num.sum())},
            }
        )
        line = _round(expected(fine)[word])
        theory.append(
            {
                "name": f"{word}, expected mean",
                "x": _round(fine),
                "y": line,
                "theory": True,
                "like": len(theory),
            }
        )
    chart = {
        "group": "Standard candles",
        "title": "dE/dx of contained tracks against residual range",
        "x": "residual range [cm]",
        "y": "median dE/dx [MeV/cm]",
        "log_x": True,
        "series": [*series, *theory],
    }
    return [chart] if series else []


def _round(values: Any) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in np.asarray(values).tolist()]
