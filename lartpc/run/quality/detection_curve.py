"""Purity of boxes over their efficiency, for each least score, as a figure."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lartpc.atomic import replacing

if TYPE_CHECKING:
    from lartpc.run.quality.detections import Found


def efficiency_purity(found: "Found") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return efficiency and purity (R,) of boxes that have at least the score of each one, from the highest on."""
    order = np.argsort(-np.asarray(found.score), kind="stable")
    right = np.isfinite(np.asarray(found.overlap, np.float64)[order])
    num_right = np.cumsum(right)
    # boxes of one score come together
    score = np.asarray(found.score)[order]
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(score) else np.zeros(0, np.int64)
    return num_right[last] / max(found.num_true, 1), num_right[last] / (last + 1)


def draw(found: Mapping[str, "Found"], points: Mapping[str, "Found"], out: Path) -> None:
    """Draw purity over efficiency (PNG): a line for boxes with scores, a point for what has none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, one in found.items():
        efficiency, purity = efficiency_purity(one)
        axes.plot(100 * efficiency, 100 * purity, label=f"{name} ({one.num_true} neutrinos)", linewidth=1.5)
    for marker, (name, one) in zip("os^v", points.items(), strict=False):
        at = one.at(0.0)
        axes.plot([100 * at["efficiency"]], [100 * at["purity"]], marker, color="black", label=name)
    axes.set(xlabel="efficiency [%]", ylabel="purity [%]", xlim=(0, 101), ylim=(0, 101))
    axes.set_title("neutrinos found by boxes, from the highest score to the lowest")
    axes.legend(fontsize=8)
    written = BytesIO()
    figure.savefig(written, format="png", dpi=100)
    with replacing(out) as part:
        part.write_bytes(written.getvalue())
