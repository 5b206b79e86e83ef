"""What readers need to know of particles: kinetic energies, and whether lengths and energies can be true.

Shape suffixes: S steps, T trajectories.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from particle import Particle, ParticleNotFound

from lartpc.ingest.steps import FloatArray, IntArray, is_neutral

LEAST_LOSS_MEV_CM = 1.0
"""Liquid argon takes 2.1 MeV/cm of a minimum-ionising particle (PDG, Atomic and Nuclear Properties), of which
steps show 1.5 and more, since what electrons above the cut carry away is theirs."""

LARGEST_LOSS_MEV_CM = 60.0
"""Charged particles lose more than this only in their last millimetres."""

LEAST_LENGTH_CM = 10.0
"""Steps of less length than this together say nothing."""

LOW_PART = 0.1
"""Part of the length whose loss is the least; it is that of fast particles."""


def kinetic_energy_mev(energy: ArrayLike, momentum: ArrayLike) -> FloatArray:
    """Return the kinetic energy (T,) [MeV] of a total energy (T,) [MeV] and a momentum (T, 3) [MeV/c]."""
    energy_T = np.asarray(energy, np.float64)
    momentum2_T = (np.asarray(momentum, np.float64) ** 2).sum(axis=-1)
    mass_T = np.sqrt(np.maximum(energy_T**2 - momentum2_T, 0.0))
    # p² / (E + m) is E - m without its cancellation, which single precision would show
    kinetic_T: FloatArray = momentum2_T / np.maximum(energy_T + mass_T, np.finfo(np.float64).tiny)
    return kinetic_T


def kinetic_from_momentum_mev(pdg: ArrayLike, momentum: ArrayLike) -> FloatArray:
    """Return the kinetic energy (T,) [MeV] of particles of a momentum (T, 3) [MeV/c]; nan for unknown ones."""
    codes, index = np.unique(np.asarray(pdg, np.int64), return_inverse=True)
    mass_T = np.array([_mass_mev(int(code)) for code in codes], np.float64)[index.reshape(-1)]
    momentum_T = np.linalg.norm(np.asarray(momentum, np.float64), axis=-1)
    kinetic_T: FloatArray = np.hypot(momentum_T, mass_T) - mass_T
    return kinetic_T


def check_loss(path: Path, start: FloatArray, end: FloatArray, energy: FloatArray, pdg: IntArray) -> None:
    """Check that steps from start to end (S, 3) [cm] may have deposited their energy (S,) [MeV] in argon.

    Raises
    ------
    ValueError
        Fast charged particles lose far less or far more than in liquid argon: the units are others.
    """
    length_S = np.linalg.norm(end - start, axis=-1)
    used_S = np.isfinite(length_S) & (length_S > 0) & np.isfinite(energy) & ~is_neutral(pdg)
    length_S, loss_S = length_S[used_S], energy[used_S] / length_S[used_S]
    if length_S.sum() < LEAST_LENGTH_CM:
        return
    order_S = np.argsort(loss_S)
    along_S = np.cumsum(length_S[order_S])
    loss_mev_cm = loss_S[order_S][np.searchsorted(along_S, LOW_PART * along_S[-1])]
    if LEAST_LOSS_MEV_CM <= loss_mev_cm <= LARGEST_LOSS_MEV_CM:
        return
    guess = "mm, or energies in GeV" if loss_mev_cm < LEAST_LOSS_MEV_CM else "m, or energies in keV"
    raise ValueError(
        f"{path}: fast charged particles lose {loss_mev_cm:.3g} MeV/cm, in liquid argon it would be 1.5 to 3; "
        f"positions must be in cm and energies in MeV (these may be in {guess}); convert the file"
    )


@lru_cache(maxsize=65_536)
def _mass_mev(pdg: int) -> float:
    try:
        mass = Particle.from_pdgid(pdg).mass
    except ParticleNotFound:
        return np.nan
    return np.nan if mass is None else float(mass)
