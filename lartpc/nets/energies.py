"""What networks on images see of the energy of a voxel. Tensor suffix: V voxels."""

import math

import torch
from torch import Tensor

from lartpc.nets.rowwise import whole

ENERGY_SCALE_MEV = 0.1
"""Energies well above it enter logarithmically, below it linearly."""

ENERGY_FULL_MEV = 10.0
"""Energy of a voxel that enters as 1; a minimum-ionising track leaves some 0.6 MeV in 3 mm."""


def energy_features(energy_V: Tensor) -> Tensor:
    """Return the features (V, 2) that a network sees of energies [MeV]."""
    scaled_V = whole(torch.log1p, energy_V.clamp(min=0) / ENERGY_SCALE_MEV)
    scaled_V = scaled_V / math.log1p(ENERGY_FULL_MEV / ENERGY_SCALE_MEV)
    # The constant tells an occupied voxel of little energy from an empty one.
    return torch.stack([scaled_V, torch.ones_like(scaled_V)], 1)
