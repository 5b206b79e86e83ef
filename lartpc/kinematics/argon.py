"""Charged particles in liquid argon: energy loss, range, and how much they scatter.

Formulas and constants without a source of their own: Particle Data Group, Phys. Rev. D 110 (2024) 030001,
section 34. Energies are kinetic and in MeV, lengths in cm, momenta in MeV/c.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lartpc.masses import ELECTRON_MASS_MEV, known_mass_mev
from lartpc.vocab import PDG_TO_SPECIES, Species

Array = NDArray[np.float64]

DENSITY_G_CM3 = 1.396
RADIATION_LENGTH_CM = 19.55 / DENSITY_G_CM3
MEAN_EXCITATION_MEV = 188.0e-6
Z_OVER_A = 18 / 39.948
BETHE_K = 0.307075
"""4π N_A r_e² m_e c² [MeV cm²/mol]."""
MASS_MEV = {species: known_mass_mev(pdg) for pdg, species in PDG_TO_SPECIES.items()}
TRACKS = (Species.MUON, Species.PION, Species.PROTON, Species.KAON)
"""Species that leave tracks."""

_STERNHEIMER = {"a": 0.19559, "k": 3.0, "x0": 0.2, "x1": 3.0, "c": 5.2146}
# R. M. Sternheimer, M. J. Berger and S. M. Seltzer, At. Data Nucl. Data Tables 30 (1984) 261

_LEAST_BETA_GAMMA = 0.02
_GRID = np.geomspace(_LEAST_BETA_GAMMA, 1e3, 1200)
"""βγ of the rows of the tables; below 0.05 the formula overstates ranges that are less than 0.1 mm anyway."""


def stopping_power(species: Species, energy_mev: ArrayLike, cut_mev: float = np.inf) -> Array:
    """Return the mean energy loss by ionisation [MeV/cm] (PDG eq. 34.5), of deltas up to `cut_mev` (34.14).

    The density effect is eq. 34.7. Radiation is left out: it is 0.5 % of the loss of a muon of 1 GeV.
    """
    mass = MASS_MEV[species]
    gamma = 1 + np.asarray(energy_mev, np.float64) / mass
    return _loss(np.sqrt(gamma**2 - 1), mass, cut_mev)


def _loss(beta_gamma: Array, mass_mev: float, cut_mev: float) -> Array:
    gamma_2 = 1 + beta_gamma**2
    beta_2 = beta_gamma**2 / gamma_2
    ratio = ELECTRON_MASS_MEV / mass_mev
    largest = 2 * ELECTRON_MASS_MEV * beta_gamma**2 / (1 + 2 * np.sqrt(gamma_2) * ratio + ratio**2)
    cut = np.minimum(largest, cut_mev)
    x, s = np.log10(beta_gamma), _STERNHEIMER
    bend = np.where(x < s["x1"], s["a"] * np.maximum(s["x1"] - x, 0) ** s["k"], 0.0)
    density = np.where(x < s["x0"], 0.0, 2 * np.log(10) * x - s["c"] + bend)
    log = 0.5 * np.log(2 * ELECTRON_MASS_MEV * beta_gamma**2 * cut / MEAN_EXCITATION_MEV**2)
    bracket = log - 0.5 * beta_2 * (1 + cut / largest) - 0.5 * density
    loss: Array = DENSITY_G_CM3 * BETHE_K * Z_OVER_A / beta_2 * np.maximum(bracket, 0.3)
    return loss


@cache
def _table(species: Species) -> tuple[Array, Array]:
    """Return energies and CSDA ranges [cm] of a species, rising."""
    mass = MASS_MEV[species]
    energy = mass * (np.sqrt(1 + _GRID**2) - 1)

    def per_log(log_energy: Array) -> Array:  # dR / d(ln T)
        kinetic = np.exp(log_energy)
        return kinetic / stopping_power(species, kinetic)

    return energy, _integral(per_log, np.log(energy)) + 0.6 * per_log(np.log(energy[0]))


def range_cm(species: Species, energy_mev: ArrayLike) -> Array:
    """Return the range in the continuous-slowing-down approximation [cm]."""
    energy, length = _table(species)
    found: Array = np.exp(np.interp(_log(energy_mev), np.log(energy), np.log(length)))
    return found


def energy_of_range(species: Species, length_cm: ArrayLike) -> Array:
    """Return the kinetic energy [MeV] of a particle that stops after a length [cm]."""
    energy, length = _table(species)
    found: Array = np.exp(np.interp(_log(length_cm), np.log(length), np.log(energy)))
    return np.where(np.asarray(length_cm) > 0, found, 0.0)


@cache
def _straggling_table(species: Species) -> tuple[Array, Array]:
    """Return energies and the standard deviations of their ranges [cm] of a species, rising."""
    mass = MASS_MEV[species]
    energy, _ = _table(species)
    ratio = ELECTRON_MASS_MEV / mass

    def per_log(log_energy: Array) -> Array:
        kinetic = np.exp(log_energy)
        gamma = 1 + kinetic / mass
        beta_2 = 1 - 1 / gamma**2
        largest = 2 * ELECTRON_MASS_MEV * (gamma**2 - 1) / (1 + 2 * gamma * ratio + ratio**2)
        spread = 0.5 * BETHE_K * Z_OVER_A * DENSITY_G_CM3 / beta_2 * largest * (1 - beta_2 / 2)
        found: Array = kinetic * spread / stopping_power(species, kinetic) ** 3
        return found

    return energy, np.sqrt(_integral(per_log, np.log(energy)) + 0.3 * per_log(np.log(energy[0])))


def _integral(function: Callable[[Array], Array], grid: Array) -> Array:
    """Return the integral of a function from the first point of a grid to each (rows,): Gauss's rule of three points.

    scipy.integrate would take a job longer to import than all ranges take.
    """
    node, weight = np.polynomial.legendre.leggauss(3)
    half = np.diff(grid) / 2
    parts = half * (function(grid[:-1, None] + half[:, None] * (1 + node)) @ weight)
    return np.concatenate([[0.0], np.cumsum(parts)])


def straggling_cm(species: Species, energy_mev: ArrayLike) -> Array:
    """Return the standard deviation of the range [cm] by straggling.

    The variance of the energy loss in a length is ξ W (1 - β²/2), with Landau's ξ of that length and the largest energy
    transfer W (GEANT 3 manual, PHYS332); that of the range is its integral over the way, over the square of the loss.
    """
    energy, sigma = _straggling_table(species)
    found: Array = np.exp(np.interp(_log(energy_mev), np.log(energy), np.log(sigma)))
    return found


def loss_at_residual(species: Species, residual_cm: ArrayLike, cut_mev: float) -> Array:
    """Return the mean energy loss [MeV/cm] at a residual range [cm], of deltas up to `cut_mev`."""
    return stopping_power(species, energy_of_range(species, residual_cm), cut_mev)


def momentum_mev_c(energy_mev: ArrayLike, mass_mev: ArrayLike) -> Array:
    """Return the momentum [MeV/c] of a kinetic energy [MeV] and a mass [MeV]."""
    energy = np.asarray(energy_mev, np.float64)
    return np.sqrt(energy * (energy + 2 * np.asarray(mass_mev, np.float64)))


def highland_rad(momentum: ArrayLike, mass_mev: float, thickness_cm: ArrayLike) -> Array:
    """Return the RMS of the projected scattering angle [rad] of a momentum [MeV/c] (PDG eq. 34.16)."""
    p = np.asarray(momentum, np.float64)
    depth = np.asarray(thickness_cm, np.float64) / RADIATION_LENGTH_CM
    beta = p / np.hypot(p, mass_mev)
    angle: Array = 13.6 / (beta * p) * np.sqrt(depth) * (1 + 0.038 * np.log(depth / beta**2))
    return angle


def _log(value: ArrayLike) -> Array:
    return np.log(np.maximum(np.asarray(value, np.float64), 1e-12))
