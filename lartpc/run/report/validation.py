"""Charts of the validation of the simulation, as data for the page's script."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lartpc.simulate.validation import Figure, Measured
from lartpc.simulate.validation import references as ref
from lartpc.simulate.validation.figures import RANGE_GOAL, mean, most_probable_reference
from lartpc.simulate.validation.showers import DEPTH_EDGES_CM, RADIUS_EDGES_CM, ShowerTally
from lartpc.simulate.validation.tracks import MUON, RESIDUAL_CM, TrackTally

Chart = dict[str, Any]
Series = dict[str, Any]

LANDAU_PEAK = -0.42931
"""Most probable value of scipy's Landau distribution, whose scale is π/2 times Landau's ξ."""

RADIUS_SHOWN_CM = 40.0


def charts(figures: Sequence[Figure], measured: Measured, max_step_mm: float) -> list[Chart]:
    """Return all charts; what was measured has error bars, references are lines."""
    tracks = measured.tracks
    found = [_ranges(figures), _dedx(tracks), _steps(tracks, max_step_mm), _michel(tracks)]
    references = ref.penelope()
    for energy, tally in sorted(measured.showers.items()):
        found += _shower(energy, tally, references[energy])
    return found


def _chart(title: str, x: str, y: str, series: Iterable[Series], **more: Any) -> Chart:
    return {"title": title, "x": x, "y": y, "series": list(series), **more}


def _line(name: str, x: ArrayLike, y: ArrayLike, **more: Any) -> Series:
    return {"name": name, "x": _short(x), "y": _short(y), **more}


def _points(name: str, x: ArrayLike, y: ArrayLike, error: ArrayLike) -> Series:
    return {"name": name, "x": _short(x), "y": _short(y), "error": _short(error)}


def _short(values: ArrayLike) -> list[float | None]:
    """Return numbers to five figures; JSON has no NaN."""
    flat = np.asarray(values, np.float64)
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in flat.tolist()]


def _ranges(figures: Sequence[Figure]) -> Chart:
    series = []
    ends = [40.0, 1200.0]
    for particle in ("muon", "proton"):
        rows = [f for f in figures if f.group == "ranges" and particle in f.quantity]
        energy = [float(f.quantity.split()[-2]) for f in rows]
        series.append(_points(f"{particle}s", energy, [f.ratio for f in rows], [f.ratio_error for f in rows]))
    series += [
        _line("goal", ends, [limit, limit], quiet=True) for limit in (1 - RANGE_GOAL, 1.0, 1 + RANGE_GOAL)
    ]
    return _chart(
        "Range over the reference", "kinetic energy [MeV]", "ratio", series, log_x=True, free_y=True
    )


def _dedx(tracks: TrackTally) -> Chart:
    chosen = tracks.stopped & (abs(tracks.pdg) == MUON)
    series = []
    for name, values in (("all losses", tracks.dedx), ("without delta rays", tracks.dedx_deposited)):
        found = [mean(values[chosen, i]) for i in range(len(RESIDUAL_CM))]
        series.append(_points(name, RESIDUAL_CM, *zip(*found, strict=True)))
    fine = np.geomspace(0.7, 150, 60)
    series.append(_line("mean dE/dx (PUMAS)", fine, ref.muon_dedx(fine)))
    return _chart("Stopping muons", "residual range [cm]", "dE/dx [MeV/cm]", series, log_x=True)


def _steps(tracks: TrackTally, max_step_mm: float) -> Chart:
    from scipy.stats import landau

    most_probable, xi = most_probable_reference(max_step_mm)
    edges = np.arange(most_probable - 6 * xi, most_probable + 20 * xi, xi / 4)
    num = max(1, len(tracks.mip_step_mev))
    counts = np.histogram(tracks.mip_step_mev, edges)[0]
    fine = np.linspace(edges[0], edges[-1], 200)
    scale = np.pi / 2 * xi
    density = landau.pdf((fine - most_probable) / scale + LANDAU_PEAK) / scale
    series = [
        _stairs("lartpc", edges, counts / num / np.diff(edges)),
        _line("Landau, most probable loss of the PDG", fine, density),
    ]
    title = f"Muons at minimum ionisation in {max_step_mm:g} mm"
    return _chart(title, "energy deposited [MeV]", "share per MeV", series)


def _michel(tracks: TrackTally) -> Chart:
    edges = np.linspace(0, 55, 56)
    counts = np.histogram(tracks.michel_mev, edges)[0]
    num = max(1, len(tracks.michel_mev))
    fine = np.linspace(0, 55, 221)
    series = [_stairs("lartpc", edges, counts / num), _line("V-A", fine, ref.michel_density(fine))]
    return _chart("Michel positrons", "kinetic energy [MeV]", "share per MeV", series)


def _shower(energy_mev: float, tally: ShowerTally, reference: ref.Penelope) -> list[Chart]:
    edges = np.array(reference.depth_cm)
    share = tally.depth_mev.sum(0) / tally.depth_mev.sum()
    ours = np.histogram((DEPTH_EDGES_CM[1:] + DEPTH_EDGES_CM[:-1]) / 2, edges, weights=share)[0]
    width = np.diff(edges)
    along = [
        _stairs("lartpc", edges, ours / width),
        _stairs("PENELOPE", edges, np.array(reference.depth_share) / width),
    ]
    inside = np.cumsum(tally.radius_mev.sum(0)) / tally.radius_mev.sum()
    shown = slice(None, int(np.searchsorted(RADIUS_EDGES_CM, RADIUS_SHOWN_CM)), 4)
    around = [
        _line("lartpc", RADIUS_EDGES_CM[1:][shown], inside[shown]),
        _line("PENELOPE", reference.radius_cm, reference.inside_radius),
    ]
    name = f"Electrons of {energy_mev:g} MeV"
    return [
        _chart(f"{name}: along", "depth [cm]", "share of the energy per cm", along),
        _chart(f"{name}: around", "radius [cm]", "share of the energy inside", around),
    ]


def _stairs(name: str, edges: NDArray[np.float64], height: NDArray[np.float64]) -> Series:
    return _line(name, edges, [*height, height[-1]], shape="hv")
