"""What networks on images see of the energy of a voxel. Shape suffix: V voxels."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENERGY_SCALE_MEV = 0.1
"""Energies well above it enter logarithmically, below it linearly."""

ENERGY_FULL_MEV = 10.0
"""Energy of a voxel that enters as 1; a minimum-ionising track leaves some 0.6 MeV in 3 mm."""


def energy_features(energy_V: NDArray[Any]) -> NDArray[np.float32]:
    """Return the features (V, 2) that a network sees of energies [MeV]."""
    # The constant tells an occupied voxel of little energy from an empty one.
    feat_V2 = np.ones((len(energy_V), 2), np.float32)
    scaled_V = np.log1p(np.maximum(energy_V, 0).astype(np.float32) / np.float32(ENERGY_SCALE_MEV))
    feat_V2[:, 0] = scaled_V / np.float32(math.log1p(ENERGY_FULL_MEV / ENERGY_SCALE_MEV))
    return feat_V2
