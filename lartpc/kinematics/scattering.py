"""The momentum of a track from its multiple scattering, for tracks that leave the detector.

Shape suffixes: V clustered voxels, F particles, S segments of all particles, one after another.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lartpc.kinematics.argon import MASS_MEV, energy_of_range, highland_rad, momentum_mev_c, range_cm
from lartpc.kinematics.clusters import Clusters, Floats, Ints
from lartpc.vocab import NONE, Species

Array = NDArray[np.float64]

MIN_ANGLES = 3
"""Fewest angles between segments that say anything of a momentum."""
MIN_VOXELS = 4
"""Fewest voxels of a segment that has a direction."""
FIT_SHARE = 26 / 35
"""Variance of the angle between lines fitted to two segments, over that of one segment's thickness: the integral
of the weights that a fitted slope gives to what scatters on the way (2 ∫ (3u² - 2u³)² du)."""
TAIL_SHARE, TAIL_WIDTH, CORE_SHARE = 0.03, 3.0, 0.95
"""Share of angles in the tail that single hard scatters make, how much wider it is than the core, and the variance of
the core over that of Highland's formula, which is fitted to the central 98 % of all: of simulated muons, those with
which pulls of leaving ones have a width of one (docs/reference/kinematics.md)."""
PRIOR = 2.0
"""Energies are expected to fall as E^-2, roughly as those of muons of neutrinos and of cosmic rays do."""
_ENERGY = np.geomspace(10.0, 20_000.0, 600)


def segment_directions(
    clusters: Clusters, along_V: Floats, wanted_F: NDArray[np.bool_], step: float
) -> tuple[Ints, Floats]:
    """Return the directions (S, 3) of consecutive segments of some tracks, and whose they are (S,).

    A segment is the principal axis of the voxel centres whose place along the track (V,) falls into it, in
    voxel units as the length `step`; segments of fewer than 4 voxels and what is left at the end are dropped.
    """
    whole_F = np.where(wanted_F, clusters.maximum(along_V) // step, 0).astype(np.int64)
    first_F = np.cumsum(whole_F) - whole_F
    segment_V = (along_V // step).astype(np.int64)
    label_V = np.where(segment_V < clusters.of_voxels(whole_F), segment_V + clusters.of_voxels(first_F), NONE)
    segments = Clusters.group(clusters.point_V, clusters.energy_V, label_V, int(whole_F.sum()))
    is_forward_S = segments.total(segments.along_V * along_V[segments.row_V]) >= 0
    direction_S = segments.axis_F * np.where(is_forward_S, 1.0, -1.0)[:, None]
    kept = segments.size_F >= MIN_VOXELS
    return np.repeat(np.arange(clusters.num_clusters), whole_F)[kept], direction_S[kept]


def scattering_energy_mev(
    direction: Array, species: Species, step_cm: float, resolution_rad: float, least_mev: float = 0.0
) -> tuple[float, float]:
    """Return the kinetic energy [MeV] at the start that the angles between segments tell, and its error [MeV].

    Each angle is drawn from a Gaussian of Highland's width (PDG 2024, eq. 34.16) for the momentum that is left at that
    place, with a wider one for single hard scatters beside it, both with the resolution of angles. The method is that
    of MicroBooNE (arXiv:1703.06187), but for the tail and for what is returned: the geometric mean of the
    energies, given the angles, above the least energy, and with E^-2 before them, and their root mean square deviation
    from it.

    Parameters
    ----------
    direction
        Directions (n, 3) of consecutive segments.
    step_cm
        Length of a segment [cm].
    resolution_rad
        Error of an angle between two segments in one plane [rad].
    least_mev
        Energy that takes the particle through the path that is seen [MeV].

    Returns
    -------
    nan with fewer than `MIN_ANGLES` angles.
    """
    if len(direction) <= MIN_ANGLES:
        return float("nan"), float("nan")
    cosine = np.clip(np.einsum("ni,ni->n", direction[1:], direction[:-1]), -1.0, 1.0)
    # the angle in space is that of two planes together
    square = np.arccos(cosine) ** 2
    variance, reaches = _variances(species, len(square), step_cm, resolution_rad)
    possible = reaches & (least_mev <= _ENERGY)
    if not possible.any():
        return least_mev, 0.0
    energy, variance = _ENERGY[possible], variance[possible]
    pull = -0.5 * square / variance
    wide = TAIL_WIDTH**2
    core, tail = np.log(1 - TAIL_SHARE) + pull, np.log(TAIL_SHARE / wide) + pull / wide
    log = (np.logaddexp(core, tail) - np.log(variance)).sum(axis=1)
    # the grid is even in the logarithm of the energy
    weight = np.exp(log - log.max()) * energy ** (1 - PRIOR)
    weight /= weight.sum()
    mean = float(np.exp(weight @ np.log(energy)))
    return mean, float(np.sqrt(weight @ (energy - mean) ** 2))


@lru_cache(maxsize=256)
def _variances(
    species: Species, num: int, step_cm: float, resolution_rad: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the variances of angles (e, num) for energies (e,), and which of these reach the last angle.

    They are the same for all tracks of so many angles.
    """
    mass = MASS_MEV[species]
    length = range_cm(species, _ENERGY)
    travelled = (np.arange(num) + 1.0) * step_cm
    left = energy_of_range(species, np.maximum(length[:, None] - travelled, 0.01))
    width = highland_rad(momentum_mev_c(left, mass), mass, step_cm)
    return CORE_SHARE * FIT_SHARE * width**2 + resolution_rad**2, length > travelled[-1]
