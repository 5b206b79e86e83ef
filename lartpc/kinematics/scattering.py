"""The momentum of a track from its multiple scattering, for tracks that leave the detector."""

import numpy as np
from numpy.typing import NDArray

from lartpc.kinematics.argon import MASS_MEV, energy_of_range, highland_rad, momentum_mev_c, range_cm
from lartpc.vocab import Species

Array = NDArray[np.float64]

MIN_ANGLES = 3
"""Fewest angles between segments that say anything of a momentum."""
FIT_SHARE = 26 / 35
"""Variance of the angle between lines fitted to two segments, over that of one segment's thickness: the integral
of the weights that a fitted slope gives to what scatters on the way (2 ∫ (3u² - 2u³)² du)."""
_ENERGY = np.geomspace(10.0, 20_000.0, 240)


def segment_directions(point: Array, along: Array, step: float) -> Array:
    """Return the directions (n, 3) of consecutive segments of a track.

    A segment is the principal axis of the voxel centres (V, 3) whose place along the track (V,) falls into it;
    segments of fewer than 4 voxels and what is left at the end are dropped.
    """
    segment = np.floor(along / step).astype(np.int64)
    whole = int(along.max(initial=0.0) // step)
    found = []
    for number in range(whole):
        inside = segment == number
        if np.count_nonzero(inside) < 4:
            continue
        centred = point[inside] - point[inside].mean(axis=0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, 2]
        at = along[inside]
        found.append(axis * (1.0 if (centred @ axis) @ (at - at.mean()) >= 0 else -1.0))
    return np.reshape(found, (-1, 3))


def scattering_energy_mev(direction: Array, species: Species, step_cm: float, resolution_rad: float) -> float:
    """Return the kinetic energy [MeV] at the start for which the angles between segments are likeliest.

    Each angle is a Gaussian of Highland's width (PDG 2024, eq. 34.16) for the momentum that is left at that
    segment, in two planes, with the resolution of the segments added in quadrature, as in the method of
    MicroBooNE (arXiv:1703.06187).

    Parameters
    ----------
    direction
        Directions (n, 3) of consecutive segments.
    step_cm
        Length of a segment [cm].
    resolution_rad
        Error of an angle between two segments in one plane [rad].

    Returns
    -------
    nan with fewer than `MIN_ANGLES` angles.
    """
    if len(direction) <= MIN_ANGLES:
        return float("nan")
    cosine = np.clip(np.einsum("ni,ni->n", direction[1:], direction[:-1]), -1.0, 1.0)
    # the angle in space is that of two planes together
    square = np.arccos(cosine) ** 2
    mass = MASS_MEV[species]
    travelled = (np.arange(len(square)) + 1.0) * step_cm
    left = energy_of_range(species, np.maximum(range_cm(species, _ENERGY)[:, None] - travelled, 0.01))
    width = highland_rad(momentum_mev_c(left, mass), mass, step_cm)
    variance = FIT_SHARE * width**2 + resolution_rad**2
    likelihood = -(np.log(variance) + square / (2 * variance)).sum(axis=1)
    reaches = range_cm(species, _ENERGY) > travelled[-1]
    likelihood[~reaches] = -np.inf
    best = int(likelihood.argmax())
    if 0 < best < len(_ENERGY) - 1 and np.isfinite(likelihood[best - 1]):
        # the top of the parabola through three points
        below, top, above = likelihood[best - 1 : best + 2]
        shift = 0.5 * (below - above) / (below - 2 * top + above)
        return float(_ENERGY[best] * (_ENERGY[1] / _ENERGY[0]) ** shift)
    return float(_ENERGY[best])
