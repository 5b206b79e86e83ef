"""What readers need to know of particles: kinetic energies, and whether lengths and energies can be true.

Shape suffixes: S steps, T trajectories.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lartpc.ingest.steps import (
    FARTHEST_CM,
    LARGEST_ENERGY_MEV,
    LARGEST_KINETIC_MEV,
    FloatArray,
    IntArray,
    Steps,
    is_neutral,
)
from lartpc.masses import mass_mev

LEAST_LOSS_MEV_CM = 1.0
"""Liquid argon takes 2.1 MeV/cm of a minimum-ionising particle (PDG, Atomic and Nuclear Properties), of which
steps show 1.5 and more, since what electrons above the cut carry away is theirs."""

LARGEST_LOSS_MEV_CM = 60.0
"""Charged particles lose more than this only in their last millimetres."""

LARGEST_LIGHT_LOSS_MEV_CM = 10.0
"""Electrons, muons and pions lose more than this below 30 keV, 5 MeV and 6 MeV (ESTAR, PDG)."""

LIGHT = (11, 13, 211)
"""Electrons, muons and charged pions, in units of which the loss of a track is best known."""

LEAST_LENGTH_CM = 10.0
"""Steps of less length than this together say nothing."""

LOW_PART = 0.1
"""Part of the length whose loss is the least; it is that of fast particles."""

NUM_JUDGED = 512
"""About so many steps of an event are enough to judge its units by."""

CAPPED = 10.0
"""A step counts as no longer than this many times the median one, so that a wrong one does not decide."""

GAP_CM, GAP_LOSS_MEV_CM = 10.0, 0.15
"""Longer than the first and losing less than the second, a step of a charged particle is none: a tenth of the least."""


def kinetic_energy_mev(energy: ArrayLike, momentum: ArrayLike) -> FloatArray:
    """Return the kinetic energy (T,) [MeV] of a total energy (T,) [MeV] and a momentum (T, 3) [MeV/c].

    Raises
    ------
    ValueError
        An energy is beyond those of cosmic rays.
    """
    energy_T = np.asarray(energy, np.float64)
    if (np.abs(energy_T) > LARGEST_KINETIC_MEV).any():
        raise ValueError(f"a particle has {np.abs(energy_T).max():.6g} MeV, more than any")
    momentum2_T = (np.asarray(momentum, np.float64) ** 2).sum(axis=-1)
    mass_T = np.sqrt(np.maximum(energy_T**2 - momentum2_T, 0.0))
    # p² / (E + m) is E - m without its cancellation, which single precision would show
    kinetic_T: FloatArray = momentum2_T / np.maximum(energy_T + mass_T, np.finfo(np.float64).tiny)
    return kinetic_T


def kinetic_from_momentum_mev(pdg: ArrayLike, momentum: ArrayLike) -> FloatArray:
    """Return the kinetic energy (T,) [MeV] of particles of a momentum (T, 3) [MeV/c]; nan for unknown ones."""
    codes, index = np.unique(np.asarray(pdg, np.int64), return_inverse=True)
    mass_T = np.array([mass_mev(int(code)) for code in codes], np.float64)[index.reshape(-1)]
    momentum_T = np.linalg.norm(np.asarray(momentum, np.float64), axis=-1)
    kinetic_T: FloatArray = np.hypot(momentum_T, mass_T) - mass_T
    return kinetic_T


class OtherUnitsError(ValueError):
    """Steps that cannot be in cm and MeV."""


def check_steps(steps: Steps) -> bool:
    """Check that the steps of an event may have been in liquid argon, in cm and MeV.

    Light particles decide, where they go far enough, since their loss is best known.

    Returns
    -------
    Whether there are steps enough to judge by.

    Raises
    ------
    OtherUnitsError
        Charged particles lose far less or far more than in liquid argon.
    ValueError
        A single step does, over a length at which none can.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is not judged here
        delta_S3 = steps.end - steps.start
        length_S = np.sqrt(np.einsum("ij,ij->i", delta_S3, delta_S3))
    every = max(1, len(length_S) // NUM_JUDGED)
    length, energy, pdg = length_S[::every], steps.energy[::every], steps.pdg[::every]
    possible = (length > 0) & (length <= FARTHEST_CM) & (energy >= 0) & (energy <= LARGEST_ENERGY_MEV)
    used = np.flatnonzero(possible & ~is_neutral(pdg))
    length, energy, pdg = length[used], energy[used], pdg[used]
    if every * length.sum() < LEAST_LENGTH_CM:
        return False
    light = _is_light(pdg)
    is_light = bool(every * length[light].sum() >= LEAST_LENGTH_CM)
    judged = light if is_light else np.ones(len(used), np.bool_)
    loss = _low_loss(length[judged], energy[judged])
    if not LEAST_LOSS_MEV_CM <= loss <= (LARGEST_LIGHT_LOSS_MEV_CM if is_light else LARGEST_LOSS_MEV_CM):
        guess = "mm, or energies in GeV" if loss < LEAST_LOSS_MEV_CM else "m, or energies in keV"
        raise OtherUnitsError(
            f"fast charged particles lose {loss:.3g} MeV/cm, in liquid argon it would be 1.5 to 3; positions must "
            f"be in cm and energies in MeV (these may be in {guess})"
        )
    gap = np.flatnonzero((length_S > GAP_CM) & (length_S <= FARTHEST_CM) & (steps.energy >= 0))
    gap = gap[(steps.energy[gap] < GAP_LOSS_MEV_CM * length_S[gap]) & ~is_neutral(steps.pdg[gap])]
    if len(gap):
        row = int(gap[0])
        raise ValueError(
            f"event {steps.event}: step {row} of {length_S[row]:.4g} cm has {steps.energy[row]:.3g} MeV; a "
            "charged particle loses 1.5 MeV/cm and more in liquid argon"
        )
    return True


def _is_light(pdg_S: IntArray) -> NDArray[np.bool_]:
    size_S = np.abs(pdg_S)
    light_S: NDArray[np.bool_] = size_S == LIGHT[0]
    for code in LIGHT[1:]:
        light_S |= size_S == code
    return light_S


def _low_loss(length_S: FloatArray, energy_S: FloatArray) -> float:
    """Return the loss that the tenth of the length with the least has at most [MeV/cm]."""
    loss_S = energy_S / length_S
    order_S = np.argsort(loss_S)
    along_S = np.cumsum(np.minimum(length_S, CAPPED * np.median(length_S))[order_S])
    return float(loss_S[order_S[np.searchsorted(along_S, LOW_PART * along_S[-1])]])
