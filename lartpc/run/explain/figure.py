"""The figure of `lartpc explain`: changes by mask and particle, and by distance from the mask."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

FULL = 50.0
"""Change of a score from which on colours are full [%]."""


def drawn(
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[float | None]],
    distances_cm: Sequence[float],
) -> bytes:
    """Return the figure (PNG): left the change of the score of a particle's class, right what moves by distance."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    masks = list(dict.fromkeys(row["mask"] for row in rows))
    relations = {"the rest of it": 0, "beside it": 1, "away from it": 2}
    columns = sorted(
        {(row["relation"], row["class"]) for row in rows},
        key=lambda column: (relations[column[0]], column[1]),
    )
    change = np.full((len(masks), len(columns)), np.nan)
    for row in rows:
        change[masks.index(row["mask"]), columns.index((row["relation"], row["class"]))] = 100 * row["change"]
    figure = Figure(figsize=(14, 1.8 + 0.42 * len(masks)), layout="constrained")
    FigureCanvasAgg(figure)
    table, curve = figure.subplots(1, 2, width_ratios=(2.1, 1))
    shown = table.imshow(change, cmap=mpl.colormaps["RdBu"], vmin=-FULL, vmax=FULL, aspect="auto")
    for place in np.argwhere(np.isfinite(change)):
        value = change[tuple(place)]
        colour = "white" if abs(value) > 0.6 * FULL else "black"
        table.text(place[1], place[0], _signed(value), ha="center", va="center", fontsize=8, color=colour)
    table.set_yticks(range(len(masks)), masks)
    labels = [f"{relation}:\n{kind.replace('_', ' ')}" for relation, kind in columns]
    table.set_xticks(range(len(columns)), labels, rotation=60, ha="right", fontsize=8)
    table.set_title("change of the score of a particle's class [%], by what is masked")
    figure.colorbar(shown, ax=table, fraction=0.03, extend="both", label="[%]")
    edges = np.asarray(distances_cm)
    middle = np.sqrt(np.maximum(edges[:-1], 0.3) * edges[1:])
    for kind, values in curves.items():
        known = [(x, 100 * value) for x, value in zip(middle, values, strict=True) if value]
        if known:
            curve.plot(*zip(*known, strict=True), marker="o", markersize=3, linewidth=1, label=kind)
    curve.set(xscale="log", yscale="log", xlabel="distance from the mask [cm]", ylabel="score that moves [%]")
    curve.set_title("what of the scores moves, by distance")
    curve.legend(fontsize=7)
    written = BytesIO()
    figure.savefig(written, format="png", dpi=90)
    return written.getvalue()


def _signed(value: float) -> str:
    """Return a change [%] with its sign, and nothing that rounds to zero with one."""
    text = f"{value:+.1f}"
    return text.lstrip("+-") if float(text) == 0 else text
