"""Efficiency, purity, bias and resolution against energy, length, multiplicity and angle, from the tables.

Objects are matched by the largest IoU (docs/reference/metrics.md); angles are to the beam, the axis z.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from numpy.typing import NDArray

from lartpc.masses import PI_ZERO_MASS_MEV
from lartpc.metrics import MATCH_IOU
from lartpc.run.report.statistics import (
    Binned,
    bootstrapped,
    half_width,
    is_geometric,
    median,
    quantile_68,
    shares,
)
from lartpc.simulate.validation.references import michel_density
from lartpc.tables.written import written_table

Chart = dict[str, Any]
Floats = NDArray[np.float64]

MAX_OBJECTS = 400_000
"""Rows of a table that are read; of more, the first."""
CLASSES = ("track", "shower", "michel", "delta")
_KEY = ["file_uid", "entry"]
_TRUE = (
    *(
        "truth_particle_id",
        "truth_interaction_id",
        "semantic",
        "species",
        "kinetic_energy_initial_mev",
        "length_cm",
    ),
    *(
        "num_voxels",
        "particle_id",
        "iou",
        "momentum_initial_x_mev_c",
        "momentum_initial_y_mev_c",
        "momentum_initial_z_mev_c",
    ),
)
_RECO = (
    *("particle_id", "interaction_id", "semantic", "species", "kinetic_energy_mev", "length_cm"),
    *("direction_x", "direction_y", "direction_z", "truth_particle_id", "truth_iou", "is_primary"),
    *("pi_zero_id", "pi_zero_mass_mev", "calorimetric_energy_mev", "is_contained"),
)


def performance_charts(dataset: Path) -> list[Chart]:
    """Return the charts of efficiency, purity, bias and resolution, of π⁰ and of Michel electrons."""
    true, reco = _read(dataset, "truth_particles", _TRUE), _read(dataset, "particles", _RECO)
    charts = []
    if len(true):
        true = _with_multiplicity(dataset, "truth_interactions", "truth_interaction_id", true)
        reco = _with_multiplicity(dataset, "interactions", "interaction_id", reco)
        true = true[true["species"].notna() & (true["semantic"] != "low_energy") & (true["num_voxels"] > 0)]
        momentum = true[
            ["momentum_initial_x_mev_c", "momentum_initial_y_mev_c", "momentum_initial_z_mev_c"]
        ].to_numpy(np.float64)
        size = np.linalg.norm(momentum, axis=1, keepdims=True)
        unit = np.divide(momentum, size, out=np.full_like(momentum, np.nan), where=size > 0)
        true = true.assign(cosine=unit[:, 2], unit_x=unit[:, 0], unit_y=unit[:, 1], unit_z=unit[:, 2])
        reco = reco.assign(cosine=reco["direction_z"].astype(np.float64))
        charts += _shares("Efficiency", true, true["iou"] >= MATCH_IOU, "true", "kinetic_energy_initial_mev")
        judged = reco[reco["truth_iou"].notna() & (reco["semantic"] != "low_energy")]
        matched = judged["truth_iou"] >= MATCH_IOU
        charts += _shares("Purity", judged, matched, "reconstructed", "kinetic_energy_mev")
        charts += _species(true, reco)
        charts += _resolutions(true, reco)
    charts += [_pi_zero_mass(reco), _michel(reco, true)]
    return [chart for chart in charts if chart["series"]]


def _read(dataset: Path, table: str, columns: Sequence[str]) -> pd.DataFrame:
    read = ds.dataset(written_table(dataset, table)).head(MAX_OBJECTS, columns=[*_KEY, *columns])
    found: pd.DataFrame = read.to_pandas()
    for name in ("semantic", "species"):
        found[name] = found[name].astype(object)
    found["number"] = found.groupby(_KEY, sort=False).ngroup()
    return found


def _with_multiplicity(dataset: Path, table: str, key: str, frame: pd.DataFrame) -> pd.DataFrame:
    columns = [*_KEY, key, "num_particles"]
    found: pd.DataFrame = (
        ds.dataset(written_table(dataset, table)).head(MAX_OBJECTS, columns=columns).to_pandas()
    )
    return frame.merge(found, on=[*_KEY, key], how="left")


_ENERGY = np.geomspace(3, 3000, 16)
_LENGTH = np.geomspace(0.5, 500, 16)
_MULTIPLICITY = np.array([0.5, 1.5, 2.5, 3.5, 5.5, 8.5, 12.5, 20.5])
_COSINE = np.linspace(-1, 1, 11)


def _quantities(kind: str, energy: str) -> list[tuple[str, str, Floats]]:
    return [
        (f"{kind} kinetic energy [MeV]", energy, _ENERGY),
        (f"{kind} length, start to end [cm]", "length_cm", _LENGTH),
        (f"particles in the {kind} interaction", "num_particles", _MULTIPLICITY),
        (f"cosine of the {kind} angle to the beam", "cosine", _COSINE),
    ]


def _shares(title: str, frame: pd.DataFrame, hit: Any, kind: str, energy: str) -> list[Chart]:
    """Return the share of matched particles against each quantity, by class."""
    of = {
        "Efficiency": "fraction of true particles matched",
        "Purity": "fraction of reconstructed particles matched",
    }[title]
    charts = []
    for label, column, edges in _quantities(kind, energy):
        series = []
        for name in CLASSES:
            chosen = (frame["semantic"] == name).to_numpy()
            values = frame[column].to_numpy(np.float64)
            found, below = shares(values[chosen], hit.to_numpy()[chosen], edges)
            if found.num.sum():
                series.append(_points(name, found, below))
        charts.append(_chart(f"{title} against {_short_label(label)}", label, of, edges, series))
    return charts


def _short_label(label: str) -> str:
    return label.split(" [")[0].split(",")[0]


def _species(true: pd.DataFrame, reco: pd.DataFrame) -> list[Chart]:
    pairs = _pairs(true, reco)
    series = []
    for name in ("photon", "electron", "muon", "pion", "proton", "kaon"):
        chosen = (pairs["species"] == name) & (pairs["semantic"] != "delta")
        right = (pairs["species_reco"] == name)[chosen].to_numpy()
        found, below = shares(
            pairs["kinetic_energy_initial_mev"][chosen].to_numpy(np.float64), right, _ENERGY
        )
        if found.num.sum():
            series.append(_points(name, found, below))
    label = "true kinetic energy [MeV]"
    return [
        _chart(
            "Species of matched particles correct",
            label,
            "fraction with the correct species",
            _ENERGY,
            series,
        )
    ]


def _pairs(true: pd.DataFrame, reco: pd.DataFrame) -> pd.DataFrame:
    """Return matched pairs: the columns of the true particle, and those of the other with `_reco`."""
    other = reco.add_suffix("_reco").rename(columns={"file_uid_reco": "file_uid", "entry_reco": "entry"})
    matched = true[true["iou"] >= MATCH_IOU]
    left, right = [*_KEY, "particle_id"], [*_KEY, "particle_id_reco"]
    return matched.merge(other, left_on=left, right_on=right)


def _resolutions(true: pd.DataFrame, reco: pd.DataFrame) -> list[Chart]:
    """Return bias and resolution of energy, and resolution of direction, of matched tracks and showers."""
    pairs = _pairs(true, reco)
    event = pairs["number"].to_numpy(np.int64)
    ratio = (pairs["kinetic_energy_mev_reco"] / pairs["kinetic_energy_initial_mev"] - 1).to_numpy(np.float64)
    cosine = sum(pairs[f"unit_{axis}"] * pairs[f"direction_{axis}_reco"] for axis in "xyz")
    angle = np.degrees(np.arccos(np.clip(np.asarray(cosine, np.float64), -1, 1)))
    away = (pairs["length_cm_reco"] / pairs["length_cm"] - 1).to_numpy(np.float64)
    charts = []
    for label, column, edges in _quantities("true", "kinetic_energy_initial_mev"):
        x = pairs[column].to_numpy(np.float64)
        against = f"against {_short_label(label)}"
        for title, y, values, figure, kinds in (
            ("Bias of the energy", "median of E / E(true) - 1", ratio, median, ("track", "shower")),
            (
                "Resolution of the energy",
                "half the central 68 %",
                ratio,
                half_width,
                ("track", "shower"),
            ),
            (
                "Resolution of the direction",
                "68 % are within [deg]",
                angle,
                quantile_68,
                ("track", "shower"),
            ),
            ("Bias of the length", "median of L / L(true) - 1", away, median, ("track",)),
        ):
            series = []
            for name in kinds:
                chosen = (pairs["semantic"] == name).to_numpy()
                found = bootstrapped(x[chosen], values[chosen], event[chosen], edges, figure)
                if found.num.sum():
                    series.append(_points(name, found))
            charts.append(
                {**_chart(f"{title} {against}", label, y, edges, series), "free_y": "Bias" in title}
            )
    return charts


def _pi_zero_mass(reco: pd.DataFrame) -> Chart:
    """Return the invariant mass of the photon pairs, of all and of those whose photons both match one."""
    pairs = reco[(reco["pi_zero_id"] >= 0) & reco["pi_zero_mass_mev"].notna()]
    groups = pairs.groupby([*_KEY, "pi_zero_id"])
    mass = groups["pi_zero_mass_mev"].first().to_numpy(np.float64)
    edges = np.linspace(0, 400, 41)
    series = [_histogram("all pairs", mass, edges)] if len(mass) else []
    if len(mass) and pairs["truth_iou"].notna().any():
        good = (groups["truth_iou"].min() >= MATCH_IOU).to_numpy() & (groups.size() == 2).to_numpy()
        series.append(_histogram("both photons matched", mass[good], edges))
    if series:
        series.append(_mark("mass of the π⁰", PI_ZERO_MASS_MEV, max(series[0]["y"])))
    return _chart("Mass of the π⁰", "invariant mass of the two photons [MeV]", "pairs per bin", edges, series)


def _michel(reco: pd.DataFrame, true: pd.DataFrame) -> Chart:
    """Return the spectrum of Michel electrons, reconstructed and true, and that of muons at rest."""
    edges = np.linspace(0, 80, 33)
    found = reco[(reco["semantic"] == "michel")]["calorimetric_energy_mev"].to_numpy(np.float64)
    series = [_histogram("reconstructed, by calorimetry", found, edges)] if len(found) else []
    if len(true) and (known := true[true["semantic"] == "michel"]["kinetic_energy_initial_mev"]).size:
        series.append(_histogram("true kinetic energy", known.to_numpy(np.float64), edges))
    if series:
        x = np.linspace(0, 53, 107)
        y = michel_density(x) * len(found if len(found) else known) * (edges[1] - edges[0])
        series.append({"name": "muons at rest (V-A)", "x": _round(x), "y": _round(y), "theory": True})
    return _chart("Michel spectrum", "kinetic energy [MeV]", "Michel electrons per bin", edges, series)


def _histogram(name: str, values: Floats, edges: Floats) -> dict[str, Any]:
    counts = np.histogram(np.clip(values[np.isfinite(values)], edges[0], edges[-1]), edges)[0]
    y = [*counts.tolist(), int(counts[-1])]
    return {
        "name": name,
        "x": _round(edges),
        "y": y,
        "shape": "hv",
        "counts": True,
        "total": int(counts.sum()),
    }


def _mark(name: str, x: float, height: float) -> dict[str, Any]:
    return {"name": name, "x": [x, x], "y": [0, height], "quiet": True}


def _points(name: str, found: Binned, below: Floats | None = None) -> dict[str, Any]:
    """Return a series of points; `below` is the lower error where it is not the same as the upper one."""
    series = {
        "name": name,
        "x": _round(found.centre),
        "y": _round(found.value),
        "error": _round(found.error),
        "num": found.num.tolist(),
        "total": int(found.num.sum()),
    }
    return series if below is None else {**series, "error_low": _round(below)}


def _chart(title: str, x: str, y: str, edges: Floats, series: list[dict[str, Any]]) -> Chart:
    group = "Efficiency and purity" if title.startswith(("Eff", "Pur", "Spec")) else "Bias and resolution"
    group = "Standard candles" if title.startswith(("Mass", "Michel")) else group
    return {"group": group, "title": title, "x": x, "y": y, "log_x": is_geometric(edges), "series": series}


def _round(values: Any) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in np.asarray(values).tolist()]
