"""Voxels at the borders between classes, which a loss can weigh by themselves (arXiv:1808.07269).

Tensor suffixes: V voxels (rows of a lattice), P pairs of neighbours.
"""

import torch
from torch import Tensor

from lartpc.sparse import Lattice

BORDER_VOXELS = 2
"""Reach of a border: in MicroBooNE's network it is 2 pixels wide, and a kernel of side 5 covers it."""


def at_border(label_V: Tensor, lattice: Lattice) -> Tensor:
    """Tell which voxels (V,) have one of another class within 2 voxels along each axis.

    Labels below 0 are unknown: such voxels are at no border, and make none.
    """
    near = lattice.neighbours(2 * BORDER_VOXELS + 1)
    source_P, target_P = label_V[near.source_P], label_V[near.target_P]
    differs_P = (source_P != target_P) & (source_P >= 0) & (target_P >= 0)
    found_V = torch.zeros_like(label_V, dtype=torch.bool)
    found_V[near.target_P[differs_P]] = True
    return found_V
