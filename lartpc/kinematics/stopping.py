"""Protons that do not stop: their energy from what they lose on the path that is seen.

A proton that interacts in argon leaves a track without the rise of dE/dx at its end, and shorter than its range; of
300 MeV it is every second one. Shape suffix: F particles.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from lartpc.kinematics.argon import energy_of_range, range_cm
from lartpc.kinematics.clusters import Floats
from lartpc.vocab import Species

LEAST_SHARE = 0.85
"""A stopping proton deposits more than this share of the energy that its range takes."""
LEAST_END_SHARE = 0.4
"""Likewise of its last centimetres; with the recombination of a detector it is 0.44 of that, which is still more."""
_LARGEST_MEV = 5000.0


@cache
def _grid(species: Species) -> tuple[Floats, Floats]:
    """Return energies [MeV], rising, and their ranges [cm]."""
    energy = np.geomspace(1.0, _LARGEST_MEV, 2000)
    return energy, range_cm(species, energy)


def stops_early(
    deposited_F: Floats,
    length_F: Floats,
    end_loss_F: Floats,
    end_cm: float,
    species: Species = Species.PROTON,
) -> NDArray[np.bool_]:
    """Tell which tracks (F,) do not stop at their end, if they are of a species.

    Parameters
    ----------
    deposited_F, length_F
        Energy [MeV] and length [cm] of the tracks.
    end_loss_F
        Energy per length [MeV/cm] within `end_cm` of the end.
    """
    end_F = np.clip(length_F, 1e-3, end_cm)
    expected_F = energy_of_range(species, end_F) / end_F
    share_F = deposited_F / np.maximum(energy_of_range(species, length_F), 1e-9)
    found: NDArray[np.bool_] = (share_F < LEAST_SHARE) & (end_loss_F < LEAST_END_SHARE * expected_F)
    return found & (length_F > 0)


def energy_by_loss(deposited_mev: float, length_cm: float, species: Species = Species.PROTON) -> float:
    """Return the kinetic energy [MeV] of a particle that loses an energy [MeV] over a length [cm], and goes on.

    The faster it is the less it loses: of one that loses less than any up to 5 GeV it is the largest that is looked at.
    """
    energy, length = _grid(species)
    reaches = length >= length_cm
    if not reaches.any():
        return _LARGEST_MEV
    energy, left_cm = energy[reaches], length[reaches] - length_cm
    lost = energy - energy_of_range(species, left_cm)
    # it falls to the least ionisation and hardly rises again
    falling = slice(0, int(lost.argmin()) + 1)
    return float(np.interp(-deposited_mev, -lost[falling], energy[falling]))
