"""Point proposal network (arXiv:2006.14745): where particles start and end, from coarse to fine.

At each level of the U-ResNet's decoder a mask says which voxels have a point near; it multiplies what is
passed to the next finer level. At full resolution every voxel proposes a point.

Tensor suffixes: V voxels, C channels, K classes, P points, D dimensions.
"""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lartpc.config import UResNet as Settings
from lartpc.nets.rowwise import rowwise, whole
from lartpc.nets.unet import ResidualBlock, levels, planes
from lartpc.sparse import Backend, Lattice, Upsample
from lartpc.vocab import NONE, Semantic


@dataclass
class Proposals:
    """What the network says of each voxel.

    Attributes
    ----------
    masks
        Logit (V_l,) that a point is near, of each level l, finest first; the finest is the score.
    offset_VD
        From the centre of the voxel to the point [voxel].
    class_VK
        Logits of the class of the point.
    end_V
        Logit of end against start.
    """

    masks: list[Tensor]
    offset_VD: Tensor
    class_VK: Tensor
    end_V: Tensor


class Ppn(nn.Module):
    """Masks at every level of a U-ResNet's decoder, and a proposal per voxel at the finest."""

    def __init__(self, cfg: Settings, dimension: int = 3, backend: Backend = "auto") -> None:
        super().__init__()
        widths = planes(cfg)
        self.dimension = dimension
        self.blocks = nn.ModuleList(
            ResidualBlock(
                2 * width if level < cfg.depth - 1 else width,
                width,
                kernel=cfg.kernel,
                leakiness=cfg.leakiness,
                dimension=dimension,
                backend=backend,
            )
            for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            Upsample(coarse, fine, dimension, backend) for fine, coarse in pairwise(widths)
        )
        self.masks = nn.ModuleList(nn.Linear(width, 1) for width in widths)
        self.head = nn.Linear(widths[0], dimension + len(Semantic) + 1)

    def forward(self, decoded: list[Tensor], lattice: Lattice) -> Proposals:
        """Propose points from the decoder's features (V_l, C_l), finest first."""
        depth = len(decoded)
        lattices = levels(lattice, depth)
        masks: list[Tensor] = []
        feat: Tensor | None = None
        for level in reversed(range(depth)):
            upper = None
            if feat is not None:
                attended = feat * whole(torch.sigmoid, masks[-1])[:, None]
                upper = self.up[level](attended, lattices[level])
            feat = self.blocks[level](decoded[level], lattices[level], upper)
            masks.append(rowwise(cast(nn.Linear, self.masks[level]), feat)[:, 0])
        assert feat is not None, "a network has a level"
        sizes = [self.dimension, len(Semantic), 1]
        offset_VD, class_VK, end_V1 = torch.split(rowwise(self.head, feat), sizes, 1)
        return Proposals(masks[::-1], offset_VD, class_VK, end_V1[:, 0])


# -- targets and losses ------------------------------------------------------------------------


@dataclass
class Targets:
    """What each voxel should say: the nearest true point within reach; `point_V` is -1 without one."""

    point_V: NDArray[np.int64]
    offset_VD: NDArray[np.float32]
    class_V: NDArray[np.int64]
    end_V: NDArray[np.float32]


def assign(
    coord_VD: NDArray[np.integer],
    particle_V: NDArray[np.integer],
    position_PD: NDArray[np.floating],
    semantic_P: NDArray[np.integer],
    end_P: NDArray[np.integer],
    particle_P: NDArray[np.integer],
    radius: float,
) -> Targets:
    """Give each voxel of one event the true point that it should propose.

    A voxel answers to the nearest point of its own particle whose distance from its centre is less
    than `radius`. A point none of whose particle's voxels is in reach is given to any voxel there.
    """
    from lartpc.lean import cKDTree  # here, so that inference starts without scipy

    num_voxels, num_points = len(coord_VD), len(position_PD)
    centre_VD = coord_VD + 0.5
    point_V = np.full(num_voxels, NONE, np.int64)
    if num_voxels and num_points:
        near = cKDTree(centre_VD).sparse_distance_matrix(cKDTree(position_PD), radius, output_type="ndarray")
        near = near[near["v"] < radius]
        voxel, point = near["i"], near["j"]
        own = (particle_V[voxel] == particle_P[point]) & (particle_P[point] != NONE)
        claimed_P = np.bincount(point[own], minlength=num_points) > 0
        keep = own | ~claimed_P[point]
        voxel, point, own, distance = voxel[keep], point[keep], own[keep], near["v"][keep]
        # Written last is what stays: own particles after others, near points after far ones.
        order = np.lexsort((point, -distance, own))
        point_V[voxel[order]] = point[order]
    chosen_V = np.where(point_V == NONE, 0, point_V)
    if not num_points:
        zeros = np.zeros(num_voxels)
        return Targets(
            point_V, np.zeros_like(centre_VD, np.float32), zeros.astype(np.int64), zeros.astype("f4")
        )
    return Targets(
        point_V,
        (position_PD[chosen_V] - centre_VD).astype(np.float32),
        semantic_P[chosen_V].astype(np.int64),
        end_P[chosen_V].astype(np.float32),
    )


def stack(targets: list[Targets], device: torch.device) -> dict[str, Tensor]:
    """Concatenate the targets of several events into tensors."""
    return {
        item.name: torch.from_numpy(np.concatenate([getattr(target, item.name) for target in targets])).to(
            device
        )
        for item in fields(Targets)
    }


def losses(
    proposals: Proposals, targets: dict[str, Tensor], lattice: Lattice, offset_scale: float
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each loss as its sum over the events that have it, and their number.

    Masks are balanced between near and far voxels, classes between classes, in each event by
    itself: the loss of an event does not depend on the others in its batch. Errors of an offset below
    `offset_scale` [voxel] count by their square, larger ones by their size.
    """
    batch_size = lattice.batch_size
    positive_V = targets["point_V"] >= 0
    mask_sum = proposals.offset_VD.sum() * 0.0
    mask_count = positive_V.new_zeros((), dtype=mask_sum.dtype)
    near_V, depth = positive_V, len(proposals.masks)
    for level, (at_level, logit_V) in enumerate(zip(levels(lattice, depth), proposals.masks, strict=True)):
        loss_V = functional.binary_cross_entropy_with_logits(
            logit_V, near_V.to(logit_V.dtype), reduction="none"
        )
        total, mask_count = _balanced(loss_V, near_V.long(), at_level.coord_VD1[:, 0], batch_size, 2)
        mask_sum = mask_sum + total / depth
        if level < depth - 1:
            coarse, parent_V, _ = at_level.coarser
            near_V = torch.zeros(len(coarse), device=near_V.device).index_add(0, parent_V, near_V.float()) > 0
    event_P = lattice.coord_VD1[positive_V, 0]
    class_P = targets["class_V"][positive_V]
    zero_P = torch.zeros_like(class_P)
    class_loss_P = functional.cross_entropy(proposals.class_VK[positive_V], class_P, reduction="none")
    offset_loss_PD = functional.smooth_l1_loss(
        proposals.offset_VD[positive_V],
        targets["offset_VD"][positive_V],
        reduction="none",
        beta=offset_scale,
    )
    track_P = class_P == Semantic.TRACK
    end_loss_P = functional.binary_cross_entropy_with_logits(
        proposals.end_V[positive_V], targets["end_V"][positive_V], reduction="none"
    )
    return {
        "point_mask": (mask_sum, mask_count),
        "point_class": _balanced(class_loss_P, class_P, event_P, batch_size, len(Semantic)),
        "point_offset": _balanced(offset_loss_PD.mean(1), zero_P, event_P, batch_size, 1),
        "point_end": _balanced(end_loss_P[track_P], zero_P[track_P], event_P[track_P], batch_size, 1),
    }


def _balanced(
    loss_V: Tensor, group_V: Tensor, event_V: Tensor, num_events: int, num_groups: int
) -> tuple[Tensor, Tensor]:
    """Average a loss over rows, then over the groups of an event that occur; return sum and count over events."""
    cell_V = event_V * num_groups + group_V
    sums = loss_V.new_zeros(num_events * num_groups).index_add(0, cell_V, loss_V)
    counts = torch.bincount(cell_V, minlength=num_events * num_groups)
    means_BG = (sums / counts.clamp(min=1)).view(num_events, num_groups)
    groups_B = (counts > 0).view(num_events, num_groups).sum(1)
    return (means_BG.sum(1) / groups_B.clamp(min=1)).sum(), (groups_B > 0).sum().to(loss_V.dtype)
