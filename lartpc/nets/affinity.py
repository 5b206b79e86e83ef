"""Whether neighbouring voxels are of one particle: a head of the segmentation, and its loss.

Of each two voxels that share a corner both say something, and the logit of the pair is the sum. A voxel so has two
outputs for each of the directions of `lartpc.affinities`: of its neighbour there, and of the one on the opposite side.

Tensor suffixes: V voxels, C channels, E pairs of neighbours, S sides (26).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc import affinities
from lartpc.config import UResNet as Settings
from lartpc.event import Event
from lartpc.images import AFFINITY_WIDENING
from lartpc.nets.unet import ResidualBlock
from lartpc.sparse import Backend, Lattice
from lartpc.vocab import NUM_DIRECTIONS, Semantic


class Affinities(nn.Module):
    """A residual block and a linear layer on the finest features of the decoder.

    Parameters
    ----------
    cfg
        Sizes of the U-ResNet.
    dimension
        2 or 3.
    backend
        Backend of the convolutions.
    """

    def __init__(self, cfg: Settings, dimension: int = 3, backend: Backend = "auto") -> None:
        super().__init__()
        width = AFFINITY_WIDENING * cfg.filters
        self.block = ResidualBlock(
            cfg.filters,
            width,
            kernel=cfg.kernel,
            leakiness=cfg.leakiness,
            dimension=dimension,
            backend=backend,
        )
        self.head = nn.Linear(width, 2 * NUM_DIRECTIONS)

    def forward(self, feat_VC: Tensor, lattice: Lattice) -> Tensor:
        """Return what each voxel says of its sides (V, 26)."""
        found: Tensor = self.head(self.block(feat_VC, lattice))
        return found


def affinity_term(side_VS: Tensor, batch: Sequence[Event]) -> tuple[Tensor, Tensor]:
    """Return the sum of the cross entropies of pairs of neighbours, of one particle against of two, and their number.

    Voxels of no particle, and of low-energy deposits, have no pairs that count.
    """
    mine, theirs, wanted, first = [], [], [], 0
    for event in batch:
        truth = event["truth_voxel"]
        known_V = (truth["particle"] >= 0) & (truth["semantic"] != Semantic.LOW_ENERGY)
        pair_E2, direction_E = affinities.neighbours(event["voxel"]["coord"])
        counts_E = known_V[pair_E2].all(1)
        pair_E2, direction_E = pair_E2[counts_E], direction_E[counts_E]
        wanted.append(truth["particle"][pair_E2[:, 0]] == truth["particle"][pair_E2[:, 1]])
        row_E2 = (pair_E2 + first) * (2 * NUM_DIRECTIONS)
        mine.append(row_E2[:, 0] + direction_E)
        theirs.append(row_E2[:, 1] + NUM_DIRECTIONS + direction_E)
        first += event.num_voxels
    place_2E = torch.from_numpy(np.stack([np.concatenate(mine), np.concatenate(theirs)])).to(side_VS.device)
    wanted_E = torch.from_numpy(np.concatenate(wanted)).to(side_VS)
    logit_E = side_VS.flatten()[place_2E].sum(0)
    total = functional.binary_cross_entropy_with_logits(logit_E, wanted_E, reduction="sum")
    return total, torch.tensor(len(wanted_E), dtype=total.dtype, device=total.device)
