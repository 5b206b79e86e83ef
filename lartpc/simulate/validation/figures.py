"""The figures of the validation: what was measured beside its reference, with errors and a goal."""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.masses import ELECTRON_MASS_MEV
from lartpc.simulate.validation import references as ref
from lartpc.simulate.validation.showers import (
    DEPTH_EDGES_CM,
    RADIUS_EDGES_CM,
    ShowerTally,
    contains,
    jackknife,
    mean_of,
)
from lartpc.simulate.validation.tracks import (
    MIP_RESIDUAL_CM,
    MUON,
    PROTON,
    RESIDUAL_CM,
    RESIDUAL_HALF_WIDTH,
    TrackTally,
)

if TYPE_CHECKING:
    from lartpc.simulate.validation.samples import Measured

Array = NDArray[np.float64]

MATERIAL_GOAL = 0.005
RANGE_GOAL = DEDX_GOAL = LANDAU_GOAL = MICHEL_GOAL = 0.02
MICHEL_RHO_GOAL = 0.1
SHOWER_GOAL = 0.05
ENERGY_GOAL = 1e-4

NUM_STANDARD_ERRORS = 2
FEWEST_FOR_PEAK = 500
PEAK_SHARE = 0.5
NUM_RESAMPLED = 200


class Verdict(StrEnum):
    """Whether a figure meets its goal."""

    WITHIN = "within"
    OUTSIDE = "outside"
    UNCLEAR = "unclear"
    """Beyond the goal by less than two standard errors, or measured on too few events."""


class Figure(NamedTuple):
    """A measured value, its reference, and how near they should be."""

    group: str
    quantity: str
    unit: str
    value: float
    error: float
    """Statistical (one standard error); 0 of what is not sampled, NaN where too few events tell."""
    reference: float
    reference_error: float
    source: str
    goal: float
    """Greatest relative difference."""

    @property
    def ratio(self) -> float:
        """Return value over reference."""
        return self.value / self.reference

    @property
    def ratio_error(self) -> float:
        """Return the standard error of the ratio, of both values together."""
        return float(np.hypot(self.error, self.ratio * self.reference_error) / self.reference)

    @property
    def verdict(self) -> Verdict:
        """Return whether the ratio is within the goal."""
        beyond = abs(self.ratio - 1) - self.goal
        if np.isnan(self.ratio_error):
            return Verdict.UNCLEAR
        if beyond <= 0:
            return Verdict.WITHIN
        return Verdict.OUTSIDE if beyond > NUM_STANDARD_ERRORS * self.ratio_error else Verdict.UNCLEAR


def compare(measured: "Measured", max_step_mm: float) -> list[Figure]:
    """Return all figures: material, ranges, dE/dx, Michel positrons, showers."""
    tracks = measured.tracks
    found = [*_material(measured), *_ranges(tracks), *_dedx(tracks)]
    found += [*_most_probable(tracks, max_step_mm), *_michel(tracks)]
    shower_references = ref.penelope()
    for energy, tally in sorted(measured.showers.items()):
        found += _showers(energy, tally, shower_references[energy])
    return found


def _material(measured: "Measured") -> Iterator[Figure]:
    for quantity, unit, key, reference in (
        ("density", "g/cm³", "density_g_cm3", ref.DENSITY_G_CM3),
        ("mean excitation energy", "eV", "mean_excitation_energy_ev", ref.MEAN_EXCITATION_EV),
        ("radiation length", "cm", "radiation_length_cm", ref.RADIATION_LENGTH_CM),
        ("nuclear interaction length", "cm", "interaction_length_cm", ref.INTERACTION_LENGTH_CM),
    ):
        value = float(measured.attrs[key])
        yield Figure("material", quantity, unit, value, 0, reference, 0, "PDG 2024", MATERIAL_GOAL)


def _ranges(tracks: TrackTally) -> Iterator[Figure]:
    shot = sorted({(int(abs(pdg)), float(mev)) for pdg, mev in zip(*tracks[:2], strict=True)})
    for pdg, energy in shot:
        value, error = mean(tracks.of(pdg, energy))
        if pdg == PROTON:
            name, source = "proton", ref.PROTON_SOURCE
            reference = ref.PROTON_RANGE_G_CM2[energy] / ref.DENSITY_G_CM3
        else:
            name, source = "muon", ref.MUON_SOURCE
            reference = float(ref.muon_range_cm(energy))
        quantity = f"{name} of {energy:g} MeV"
        yield Figure("ranges", quantity, "cm", value, error, reference, 0, source, RANGE_GOAL)


def _dedx(tracks: TrackTally) -> Iterator[Figure]:
    chosen = tracks.stopped & (abs(tracks.pdg) == MUON)
    for i, residual_cm in enumerate(RESIDUAL_CM):
        value, error = mean(tracks.dedx[chosen, i])
        around = residual_cm * np.linspace(1 - RESIDUAL_HALF_WIDTH, 1 + RESIDUAL_HALF_WIDTH, 101)
        reference = float(ref.muon_dedx(around).mean())
        quantity = f"mean, muon {residual_cm:g} cm before it stops"
        yield Figure("dE/dx", quantity, "MeV/cm", value, error, reference, 0, ref.MUON_SOURCE, DEDX_GOAL)


def most_probable_reference(max_step_mm: float) -> tuple[float, float]:
    """Return the most probable loss and ξ of muons at minimum ionisation in one step [MeV]."""
    residual_cm = np.linspace(*MIP_RESIDUAL_CM, 101)
    loss, xi = ref.landau(ref.muon_energy_mev(residual_cm), max_step_mm / 10)
    return float(loss.mean()), float(xi.mean())


def _most_probable(tracks: TrackTally, max_step_mm: float) -> Iterator[Figure]:
    thickness_cm = max_step_mm / 10
    loss, xi = most_probable_reference(max_step_mm)
    value, error = peak(tracks.mip_step_mev, xi / 6)
    quantity = f"most probable, fast muon in {max_step_mm:g} mm"
    yield Figure(
        *("dE/dx", quantity, "MeV/cm", value / thickness_cm, error / thickness_cm),
        *(loss / thickness_cm, 0, ref.LANDAU_SOURCE, LANDAU_GOAL),
    )


def _michel(tracks: TrackTally) -> Iterator[Figure]:
    energy, source = tracks.michel_mev, ref.MICHEL_SOURCE
    top_mev = ref.MICHEL_END_MEV - ELECTRON_MASS_MEV
    value, error = mean(energy)
    quantity = "mean energy"
    yield Figure(
        "Michel positrons", quantity, "MeV", value, error, ref.MICHEL_MEAN_MEV, 0, source, MICHEL_GOAL
    )
    # Of N draws the largest lies below the end by end / 2N on average, and scatters by as much.
    gap = ref.MICHEL_END_MEV / (2 * len(energy)) if len(energy) else np.nan
    value = float(energy.max()) + gap if len(energy) else np.nan
    quantity = "greatest energy"
    yield Figure("Michel positrons", quantity, "MeV", value, gap, top_mev, 0, source, MICHEL_GOAL)
    value, error = michel_rho(energy)
    quantity = "shape: Michel's ρ"
    yield Figure("Michel positrons", quantity, "", value, error, ref.MICHEL_RHO, 0, source, MICHEL_RHO_GOAL)


def _showers(energy_mev: float, tally: ShowerTally, reference: ref.Penelope) -> Iterator[Figure]:
    group = f"electrons of {energy_mev:g} MeV"
    value, error = mean(tally.deposited_mev)
    yield Figure(
        *(group, "energy deposited", "MeV", value, error, energy_mev, 0, "energy conservation", ENERGY_GOAL),
    )
    source = ref.PENELOPE_SOURCE
    for quantity, found, expected in (
        (
            "mean depth",
            jackknife(tally.depth_mev, lambda energy: mean_of(DEPTH_EDGES_CM, energy)),
            reference.mean_depth_cm,
        ),
        (
            "depth that contains 90 %",
            jackknife(tally.depth_mev, lambda energy: contains(DEPTH_EDGES_CM, energy)),
            reference.contains_depth_cm,
        ),
        (
            "radius that contains 90 %",
            jackknife(tally.radius_mev, lambda energy: contains(RADIUS_EDGES_CM, energy)),
            reference.contains_radius_cm,
        ),
    ):
        yield Figure(group, quantity, "cm", *found, *expected, source, SHOWER_GOAL)


# -- estimators ---------------------------------------------------------------------------------


def mean(values: Array) -> tuple[float, float]:
    """Return the mean of the values that are numbers, and its standard error; NaN of too few."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, np.nan
    return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else np.nan


def peak(values: Array, bin_width: float) -> tuple[float, float]:
    """Return the most probable value and its standard error (resampled); NaN of too few values.

    The maximum of a polynomial of fourth degree, fitted to the logarithms of the counts around the fullest
    bin where they are above half of it. On Landau's distribution it is right to 0.3 %.
    """
    if len(values) < FEWEST_FOR_PEAK:
        return np.nan, np.nan
    edges = np.arange(values.min(), np.quantile(values, 0.95), bin_width)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.histogram(values, edges)[0].astype(np.float64)
    smooth = np.convolve(counts, np.ones(5) / 5, "same")
    top = int(smooth.argmax())
    low = np.flatnonzero(smooth[:top] < PEAK_SHARE * smooth[top])
    high = np.flatnonzero(smooth[top:] < PEAK_SHARE * smooth[top])
    chosen = slice(low[-1] + 1 if len(low) else 0, top + high[0] if len(high) else len(counts))
    x = middle[chosen] - middle[top]
    rng = np.random.default_rng(0)
    samples = [counts[chosen], *rng.poisson(counts[chosen], (NUM_RESAMPLED, len(x)))]
    tops = np.array([_top_of_polynomial(x, np.maximum(sample, 1.0)) for sample in samples]) + middle[top]
    return float(tops[0]), float(tops[1:].std())


def _top_of_polynomial(x: Array, counts: Array) -> float:
    fit = np.polynomial.Polynomial.fit(x, np.log(counts), 4, w=np.sqrt(counts))
    fine = np.linspace(x[0], x[-1], 2001)
    return float(fine[fit(fine).argmax()])


def michel_rho(kinetic_energy_mev: Array) -> tuple[float, float]:
    """Return Michel's parameter ρ of positrons, by greatest likelihood, and its standard error."""
    if not len(kinetic_energy_mev):
        return np.nan, np.nan
    energy = np.minimum(kinetic_energy_mev, ref.MICHEL_END_MEV - ELECTRON_MASS_MEV)
    flat = ref.michel_density(energy, 0.0)
    slope = ref.michel_density(energy, 1.0) - flat
    rho = np.linspace(0.1, 1.2, 1101)[:, None]
    likelihood = np.log(flat + rho * slope).sum(1)
    best = float(rho[likelihood.argmax(), 0])
    curvature = ((slope / (flat + best * slope)) ** 2).sum()
    return best, float(1 / np.sqrt(curvature))
