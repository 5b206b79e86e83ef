"""What the hits of wire planes tell of a 3D point that is made of them: see docs/explanation/ghosts.md.

Tensor suffixes: V points, P planes, C channels, H hits, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lartpc.event import MAX_PLANES, Event
from lartpc.nets.energies import energy_features
from lartpc.nets.inputs import column_of
from lartpc.nets.rowwise import rowwise

NUM_FEATURES = 3
"""Of each plane: its charge, the share of it that the point has, and one over the points that share it."""


class PlaneHits(nn.Module):
    """Features of points from the hits of their planes, added to those of the image; at first they add nothing.

    Planes are in the order of the shares of their charge that the point has: which plane is which does not matter, and
    of two planes the last place is empty.

    Parameters
    ----------
    num_out
        Number of features.
    leakiness
        Negative slope of LeakyReLU.
    """

    def __init__(self, num_out: int, leakiness: float) -> None:
        super().__init__()
        self.first = nn.Linear(NUM_FEATURES * MAX_PLANES, 2 * num_out)
        self.act = nn.LeakyReLU(leakiness)
        self.last = nn.Linear(2 * num_out, num_out)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, feat_VC: Tensor) -> Tensor:
        """Map `hit_features` (V, 9) to what is added (V, C)."""
        return rowwise(self.last, self.act(rowwise(self.first, feat_VC)))


class Rivals(nn.Module):
    """The logit of being a ghost, from a point's own features and from those of the points that share its hits.

    What one point explains of a charge another one cannot have: the points of a hit may lie far from one another, and
    no convolution sees them together. Features of those of each hit are pooled, and so are those of the planes.

    Parameters
    ----------
    num_in
        Number of features of a point.
    leakiness
        Negative slope of LeakyReLU.
    """

    def __init__(self, num_in: int, leakiness: float) -> None:
        super().__init__()
        self.said = nn.Linear(num_in, num_in)
        self.first = nn.Linear(6 * num_in, 2 * num_in)
        self.act = nn.LeakyReLU(leakiness)
        self.last = nn.Linear(2 * num_in, 1)

    def forward(self, feat_VC: Tensor, hit_VP: Tensor) -> Tensor:
        """Return the logits (V,) of points with features (V, C), whose hits have the numbers `hit_VP`."""
        feat_VC = feat_VC.float()
        said_VC = rowwise(self.said, feat_VC).float()
        pooled_PVC = torch.stack([_pooled(said_VC, hit_V) for hit_V in hit_VP.unbind(1)])
        all_VC = torch.cat([feat_VC, said_VC, pooled_PVC.mean(0), pooled_PVC.amax(0)], 1)
        return rowwise(self.last, self.act(rowwise(self.first, all_VC)))[:, 0]


def _pooled(feat_VC: Tensor, hit_V: Tensor) -> Tensor:
    """Return mean and maximum (V, 2 C) over the points of each one's hit."""
    num = int(hit_V.max()) + 1 if len(hit_V) else 0
    count_H1 = torch.bincount(hit_V, minlength=num)[:, None].to(feat_VC.dtype)
    total_HC = feat_VC.new_zeros(num, feat_VC.shape[1]).index_add(0, hit_V, feat_VC)
    largest_HC = feat_VC.new_zeros(num, feat_VC.shape[1]).scatter_reduce(
        0, hit_V[:, None].expand_as(feat_VC), feat_VC, "amax", include_self=False
    )
    return torch.cat([total_HC / count_H1.clamp(min=1), largest_HC], 1)[hit_V]


@dataclass(frozen=True)
class Seen:
    """What the planes see of the points of a batch: `hit_features` (V, 9), and numbers of hits (V, P) by plane.

    Points with the same number are of one hit; where a plane does not see a point, that has a number of its own.
    """

    feat_VC: Tensor
    hit_VP: Tensor

    def rows(self, order_V: Tensor) -> "Seen":
        """Return the points in another order."""
        return Seen(self.feat_VC[order_V], self.hit_VP[order_V])


def seen_by_planes(batch: Sequence[Event], coord_VD1: Tensor, energy_V: Tensor) -> Seen:
    """Return what the planes see of the voxels of a batch, of indices `coord_VD1` and energies `energy_V`.

    Raises
    ------
    ValueError
        An event does not say what planes saw.
    """
    if missing := [event for event in batch if "plane_hit" not in event]:
        raise ValueError(
            f"segment.plane_hits is on, and {missing[0].file_uid} has no hits of planes: its points are to be made by "
            "ingest.tomography or ingest.wires.space_points, and by this version"
        )
    hits = [event["plane_hit"] for event in batch]
    charge_VP = column_of([hit["charge"] for hit in hits], energy_V.device)
    num_VP = column_of([hit["num_points"] for hit in hits], energy_V.device)
    return Seen(hit_features(energy_V, charge_VP, num_VP), _numbers(coord_VD1, charge_VP, num_VP))


def _numbers(coord_VD1: Tensor, charge_VP: Tensor, num_VP: Tensor) -> Tensor:
    """Return the numbers of hits (V, P): points of one event with one drift coordinate and one charge share it."""
    place_V = coord_VD1[:, 0].long() << 12 | coord_VD1[:, 1].long()
    alone_V = -1 - torch.arange(len(place_V), device=place_V.device)
    bits_VP = charge_VP.contiguous().view(torch.int32).long() & 0xFFFFFFFF
    key_VP = torch.where(num_VP > 0, place_V[:, None] << 32 | bits_VP, alone_V[:, None])
    numbers = [torch.unique(key_V, return_inverse=True)[1] for key_V in key_VP.unbind(1)]
    return torch.stack(numbers, 1)


def hit_features(energy_V: Tensor, charge_VP: Tensor, num_VP: Tensor) -> Tensor:
    """Return the features (V, 9): of the planes, by falling share, the share, the charge and 1 over the points.

    Parameters
    ----------
    energy_V
        Charge of the points [MeV].
    charge_VP
        Charge of the wires that see them [MeV]; 0: none does.
    num_VP
        Points that share it.
    """
    seen_VP = num_VP > 0
    share_VP = torch.where(
        seen_VP, energy_V[:, None] / charge_VP.clamp(min=torch.finfo(charge_VP.dtype).tiny), 0
    )
    # points have the mean of what planes give, so the share may be somewhat above 1
    share_VP = share_VP.clamp(0, 2)
    order_VP = torch.argsort(share_VP, dim=1, descending=True, stable=True)
    scaled_VP = energy_features(charge_VP.flatten())[:, 0].view_as(charge_VP)
    few_VP = torch.where(seen_VP, 1.0 / num_VP.clamp(min=1), 0)
    return torch.cat([value.gather(1, order_VP) for value in (share_VP, scaled_VP, few_VP)], 1)
