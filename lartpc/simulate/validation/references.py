"""Published values and formulas for liquid argon that the simulation is held against.

Constants without a source of their own: Particle Data Group, Phys. Rev. D 110 (2024) 030001.
"""

import json
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from lartpc.masses import ELECTRON_MASS_MEV, MUON_MASS_MEV

Array = NDArray[np.float64]

DENSITY_G_CM3 = 1.396
RADIATION_LENGTH_CM = 19.55 / DENSITY_G_CM3
INTERACTION_LENGTH_CM = 119.7 / DENSITY_G_CM3
MEAN_EXCITATION_EV = 188.0
ARGON_Z, ARGON_A = 18, 39.948

BETHE_K = 0.307075
"""4π N_A r_e² m_e c² [MeV cm²/mol]."""

STERNHEIMER = {"a": 0.19559, "k": 3.0, "x0": 0.2, "x1": 3.0, "c": 5.2146}
"""Density effect of liquid argon: R. M. Sternheimer, M. J. Berger and S. M. Seltzer, At. Data Nucl. Data
Tables 30 (1984) 261."""

MUON_SOURCE = "PUMAS, after Groom et al. 2001"
MUON_TABLE = np.array(
    [
        *((2, 19.90, 5.456e-2), (3, 14.45, 0.1144), (4, 11.52, 0.1925), (5, 9.670, 0.2876)),
        *((6, 8.393, 0.3990), (8, 6.733, 0.6670), (10, 5.697, 0.9913), (12, 4.985, 1.367)),
        *((14, 4.466, 1.792), (17, 3.905, 2.512), (20, 3.505, 3.324), (25, 3.044, 4.859)),
        *((30, 2.732, 6.595), (35, 2.509, 8.507), (40, 2.341, 10.57), (50, 2.107, 15.09)),
        *((60, 1.954, 20.02), (70, 1.848, 25.29), (80, 1.771, 30.82), (100, 1.670, 42.47)),
        *((120, 1.609, 54.68), (140, 1.570, 67.26), (170, 1.536, 86.58), (200, 1.519, 106.2)),
        *((250, 1.508, 139.3), (300, 1.510, 172.4), (350, 1.516, 205.5), (400, 1.526, 238.3)),
        *((500, 1.547, 303.4), (600, 1.569, 367.6), (800, 1.610, 493.4), (1000, 1.645, 616.2)),
    ]
)
"""Kinetic energy [MeV], mean stopping power [MeV cm²/g] and CSDA range [g/cm²] of muons in liquid argon:
rows of dedx/muon/liquid_argon.txt of github.com/niess/pumas-materials, computed by PUMAS (V. Niess, Comput.
Phys. Commun. 279 (2022) 108438) after D. E. Groom, N. V. Mokhov and S. I. Striganov, At. Data Nucl. Data
Tables 78 (2001) 183."""

PROTON_SOURCE = "NIST PSTAR"
PROTON_RANGE_G_CM2 = {50.0: 3.208, 100.0: 10.92, 200.0: 36.27, 400.0: 113.8}
"""CSDA range of protons in argon by kinetic energy [MeV]: NIST PSTAR (M. J. Berger, J. S. Coursey,
M. A. Zucker and J. Chang, NISTIR 4999), https://physics.nist.gov/PhysRefData/Star/Text/PSTAR.html."""

LANDAU_SOURCE = "Landau-Vavilov, PDG 2024 eq. 34.12"
LANDAU_J = 0.200

MICHEL_SOURCE = "V-A, PDG 2024"
MICHEL_RHO = 0.75
MICHEL_END_MEV = (MUON_MASS_MEV**2 + ELECTRON_MASS_MEV**2) / (2 * MUON_MASS_MEV)
"""Greatest total energy of the positron of a muon at rest."""

PENELOPE_SOURCE = "PENELOPE"

_log_energy = np.log(MUON_TABLE[:, 0])
_log_range_cm = np.log(MUON_TABLE[:, 2] / DENSITY_G_CM3)
_range_of = CubicSpline(_log_energy, _log_range_cm)
_energy_of = CubicSpline(_log_range_cm, _log_energy)
_dedx_of = CubicSpline(_log_range_cm, np.log(MUON_TABLE[:, 1] * DENSITY_G_CM3))


def muon_range_cm(kinetic_energy_mev: ArrayLike) -> Array:
    """Return the CSDA range of muons of 2 to 1000 MeV [cm], between the rows of the table by splines."""
    found: Array = np.exp(_range_of(np.log(kinetic_energy_mev)))
    return found


def muon_energy_mev(residual_cm: ArrayLike) -> Array:
    """Return the kinetic energy of muons with a residual range of 0.04 to 441 cm [MeV]."""
    found: Array = np.exp(_energy_of(np.log(residual_cm)))
    return found


def muon_dedx(residual_cm: ArrayLike) -> Array:
    """Return the mean energy loss of muons with a residual range of 0.04 to 441 cm [MeV/cm]."""
    found: Array = np.exp(_dedx_of(np.log(residual_cm)))
    return found


def landau(kinetic_energy_mev: ArrayLike, thickness_cm: float) -> tuple[Array, Array]:
    """Return the most probable energy loss of muons and the parameter ξ of its distribution [MeV].

    Particle Data Group 2024, eq. 34.12, with the density effect of eq. 34.7. It holds where ξ is far
    below the greatest energy of a delta ray and far above the mean excitation energy.
    """
    gamma = 1 + np.asarray(kinetic_energy_mev, np.float64) / MUON_MASS_MEV
    beta_gamma_2 = gamma**2 - 1
    beta_2 = beta_gamma_2 / gamma**2
    xi: Array = BETHE_K / 2 * ARGON_Z / ARGON_A * DENSITY_G_CM3 * thickness_cm / beta_2
    mean_excitation_mev = MEAN_EXCITATION_EV * 1e-6
    loss: Array = xi * (
        np.log(2 * ELECTRON_MASS_MEV * beta_gamma_2 / mean_excitation_mev)
        + np.log(xi / mean_excitation_mev)
        + LANDAU_J
        - beta_2
        - _density_effect(beta_gamma_2)
    )
    return loss, xi


def _density_effect(beta_gamma_2: Array) -> Array:
    """Return δ of liquid argon (PDG 2024, eq. 34.7; none below x0, as for insulators)."""
    x, s = np.log10(beta_gamma_2) / 2, STERNHEIMER
    bend = np.where(x < s["x1"], s["a"] * np.maximum(s["x1"] - x, 0) ** s["k"], 0.0)
    return np.where(x < s["x0"], 0.0, 2 * np.log(10) * x - s["c"] + bend)


def michel_density(kinetic_energy_mev: ArrayLike, rho: float = MICHEL_RHO) -> Array:
    """Return the spectrum of the positrons of muons at rest [1/MeV], normalised, without radiation.

    PDG 2024, review "Muon decay parameters", without the mass of the electron: 12 x² (1 - x) + 8/3 ρ x² (4x - 3) with
    x the total energy over its greatest.
    """
    x = (np.asarray(kinetic_energy_mev, np.float64) + ELECTRON_MASS_MEV) / MICHEL_END_MEV
    density: Array = (12 * x**2 * (1 - x) + 8 / 3 * rho * x**2 * (4 * x - 3)) / MICHEL_END_MEV
    return np.where((x > 0) & (x <= 1), density, 0.0)


MICHEL_MEAN_MEV = 0.7 * MICHEL_END_MEV - ELECTRON_MASS_MEV
"""Mean kinetic energy of that spectrum: x is 7/10 on average."""


class Penelope(NamedTuple):
    """Showers of electrons of one energy in PENELOPE, values with their statistical errors [cm]."""

    mean_depth_cm: tuple[float, float]
    contains_depth_cm: tuple[float, float]
    contains_radius_cm: tuple[float, float]
    depth_cm: list[float]
    """Edges of bins of depth."""
    depth_share: list[float]
    """Share of the energy in each of them."""
    radius_cm: list[float]
    inside_radius: list[float]
    """Share of the energy nearer to the axis than each of these radii."""


def penelope() -> dict[float, Penelope]:
    """Return PENELOPE's showers by the electron's energy [MeV]; `benchmarks/penelope.py` makes them."""
    text = files("lartpc.simulate.validation").joinpath("penelope.json").read_text()
    content: dict[str, Any] = json.loads(text)
    return {float(energy): Penelope(**shower) for energy, shower in content["showers"].items()}
