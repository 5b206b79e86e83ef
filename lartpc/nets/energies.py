"""What networks on images see of the energy of a voxel, as tensors. Tensor suffix: V voxels."""

import math

import torch
from torch import Tensor

from lartpc.images import ENERGY_FULL_MEV, ENERGY_SCALE_MEV
from lartpc.nets.rowwise import whole


def energy_features(energy_V: Tensor) -> Tensor:
    """Return the features (V, 2) that `lartpc.images.energy_features` does."""
    scaled_V = whole(torch.log1p, energy_V.clamp(min=0) / ENERGY_SCALE_MEV)
    scaled_V = scaled_V / math.log1p(ENERGY_FULL_MEV / ENERGY_SCALE_MEV)
    return torch.stack([scaled_V, torch.ones_like(scaled_V)], 1)
