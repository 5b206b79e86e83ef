"""Michels of several datasets side by side: a table with errors, and a figure of the spectra with their fits."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lartpc.atomic import make_folder, write_each
from lartpc.run.michels.selection import Michels, select
from lartpc.run.michels.spectrum import EDGES_MEV, Fit, fit

TABLE, PAGE, FIGURE = "michels.json", "michels.md", "michels.png"
LABELS = {
    "purity": "identification purity",
    "efficiency": "identification efficiency",
    "pixel_purity": "purity of pixels",
    "pixel_efficiency": "efficiency of pixels",
}
PUBLISHED = {"purity": 0.967, "efficiency": 0.939, "pixel_purity": 0.955, "pixel_efficiency": 0.954}
"""MicroBooNE-like simulation, arXiv:1903.05663 (PRD)."""


def michels(datasets: Mapping[str, Path], out: Path) -> str:
    """Select Michels in datasets, fit their spectra, write table, text and figure, and return the text.

    Parameters
    ----------
    datasets
        Folders that `lartpc collect` wrote, by the names that they get in table and figure; the first one is what the
        others are compared with.

    Raises
    ------
    ValueError
        A folder is not a dataset.
    """
    found = {name: select(folder) for name, folder in datasets.items()}
    fits = {name: fit(one.energy_mev) for name, one in found.items()}
    make_folder(out)
    text = _text(found, fits)
    plain = {
        name: {"figures": one.figures, "fit": asdict(made) if (made := fits[name]) else None}
        for name, one in found.items()
    }
    table = json.dumps(plain, indent=1, allow_nan=False) + "\n"
    write_each({out / TABLE: table, out / PAGE: text, out / FIGURE: _drawn(found, fits)})
    return text


def _text(found: Mapping[str, Michels], fits: Mapping[str, Fit | None]) -> str:
    """Return the table (Markdown)."""

    def share(figure: Mapping[str, Any] | None) -> str:
        if not figure or figure["value"] is None:
            return ""
        errors = [figure.get("lower"), figure.get("upper")]
        width = max((error for error in errors if error is not None), default=None)
        return f"{100 * figure['value']:.1f}" + (f" ± {100 * width:.1f} %" if width is not None else " %")

    def fitted(name: str, value: str, factor: float = 100.0) -> str:
        made = fits[name]
        if made is None:
            return ""
        return f"{factor * getattr(made, value):.1f} ± {factor * getattr(made, f'{value}_error'):.1f} %"

    names = list(found)
    rows = [["figure", *names, "published"]]
    for key in ("num_reconstructed", "num_selected", "num_true"):
        figures = [found[name].figures.get(key) for name in names]
        rows.append(
            [key.replace("num_", "Michels, "), *(str(one["value"]) if one else "" for one in figures), ""]
        )
    for key, label in LABELS.items():
        rows.append(
            [label, *(share(found[name].figures.get(key)) for name in names), f"{100 * PUBLISHED[key]:.1f} %"]
        )
    rows.append(["energy scale of the fit", *(fitted(name, "scale") for name in names), ""])
    rows.append(["resolution of the fit", *(fitted(name, "resolution") for name in names), ""])
    chi2 = [f"{made.chi2:.1f} / {made.num_freedom}" if (made := fits[name]) else "" for name in names]
    rows.append(["chi² / degrees of freedom", *chi2, ""])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) + "\n"


def _drawn(found: Mapping[str, Michels], fits: Mapping[str, Fit | None]) -> bytes:
    """Return the spectra with their fits, and the figures with their errors (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    spectrum, quality = figure.subplots(1, 2)
    middle = 0.5 * (EDGES_MEV[1:] + EDGES_MEV[:-1])
    for number, (name, one) in enumerate(found.items()):
        colour = f"C{number}"
        count = np.histogram(one.energy_mev, EDGES_MEV)[0]
        total = max(count.sum(), 1)
        spectrum.errorbar(
            middle,
            count / total,
            np.sqrt(count) / total,
            fmt="o",
            markersize=3,
            color=colour,
            label=f"{name}: {count.sum()} selected",
        )
        if made := fits[name]:
            spectrum.stairs(np.asarray(made.curve) / total, EDGES_MEV, color=colour, linewidth=1)
        if number == 0 and len(one.true_energy_mev):
            true = np.histogram(one.true_energy_mev, EDGES_MEV)[0]
            spectrum.stairs(
                true / max(true.sum(), 1), EDGES_MEV, color="grey", linestyle=":", label="true, at creation"
            )
        shown = [(place, one.figures[key]) for place, key in enumerate(LABELS) if key in one.figures]
        for place, values in shown:
            if values["value"] is not None:
                errors = [[100 * (values.get(side) or 0)] for side in ("lower", "upper")]
                at = place + 0.12 * (number - 0.5 * (len(found) - 1))
                quality.errorbar(at, 100 * values["value"], errors, fmt="o", markersize=4, color=colour)
    for place, key in enumerate(LABELS):
        quality.hlines(100 * PUBLISHED[key], place - 0.4, place + 0.4, color="grey", linestyle="--")
    spectrum.set(xlabel="energy by calorimetry [MeV]", ylabel="share of the selected Michels per bin")
    spectrum.set_title("Michel spectrum, and the fit of muons at rest (lines)")
    spectrum.legend(fontsize=8)
    quality.set_xticks(
        range(len(LABELS)), [label.replace(" ", "\n", 1) for label in LABELS.values()], fontsize=8
    )
    quality.set_ylabel("[%]")
    quality.set_title("identification and pixels; dashed: arXiv:1903.05663")
    written = BytesIO()
    figure.savefig(written, format="png", dpi=90)
    return written.getvalue()
