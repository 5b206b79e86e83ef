"""What the hits of wire planes tell of a 3D point that is made of them: see docs/explanation/ghosts.md.

Tensor suffixes: V points, P planes, C channels.
"""

from collections.abc import Sequence

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


def features_of(batch: Sequence[Event], energy_V: Tensor) -> Tensor:
    """Return `hit_features` of the voxels of a batch, whose energies are `energy_V`.

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
    return hit_features(energy_V, charge_VP, column_of([hit["num_points"] for hit in hits], energy_V.device))


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
