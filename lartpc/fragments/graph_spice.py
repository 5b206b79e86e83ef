"""Fragments as connected components of a learned graph, after Graph-SPICE.

A U-ResNet gives each voxel an embedding, and a bilinear classifier tells of each link between near voxels of
one class whether both are of one fragment. The embedding has the parts of SPICE (arXiv:2007.03083) and of
its successor in lartpc_mlreco3d: position, features, occupancy and covariance.

Tensor suffixes: V voxels, C channels, E links, N events and classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc import config
from lartpc.fragments.images import NUM_FEATURES, Images
from lartpc.links import Bools
from lartpc.nets.unet import UResNet
from lartpc.sparse import Lattice

SPATIAL, OCCUPANCY, COVARIANCE = 3, 1, 2
"""Columns of the embedding besides the features."""

LINKED_BIAS = 3.0
"""Logit of a link before training: nearly all links hold, so that fragments begin as those of DBSCAN."""

DICE_WEIGHT, CROSS_ENTROPY_WEIGHT = 0.8, 0.2
"""Parts of the loss, as in SPINE's training of Graph-SPICE."""


class GraphSpice(nn.Module):
    """U-ResNet, node embedding and bilinear kernel."""

    def __init__(self, cfg: config.GraphSpice) -> None:
        super().__init__()
        self.num_features = cfg.num_features
        self.unet = UResNet(cfg.unet, num_in=NUM_FEATURES)
        width = SPATIAL + cfg.num_features + OCCUPANCY + COVARIANCE
        self.node = nn.Linear(cfg.unet.filters, width)
        self.kernel = nn.Linear(width, cfg.num_kernel)
        self.edge = nn.Linear(2 * cfg.num_kernel, 1)
        nn.init.constant_(self.edge.bias, LINKED_BIAS)

    def forward(self, images: Images) -> Tensor:
        """Return the logit (E,) that the voxels of each link are of one fragment."""
        shape = (images.num_cells,) * (images.coord_VD1.shape[1] - 1)
        lattice = Lattice(images.coord_VD1, images.num_events, shape)
        node_VC = self.embed(self.unet(images.feat_VC, lattice)[0], images.feat_VC[:, -SPATIAL:])
        kernel_VC = self.kernel(node_VC)
        one_EC, two_EC = kernel_VC[images.link_E2[:, 0]], kernel_VC[images.link_E2[:, 1]]
        # A symmetric bilinear form, as a sum over products, and the distance along the same directions.
        edge_EC = torch.cat([one_EC * two_EC, (one_EC - two_EC).abs()], dim=1)
        logit_E: Tensor = self.edge(edge_EC)[:, 0]
        return logit_E

    def embed(self, feat_VC: Tensor, position_VD: Tensor) -> Tensor:
        """Return the embedding of each voxel: shifted position, features, occupancy, covariance."""
        parts = self.node(feat_VC).split([SPATIAL, self.num_features, OCCUPANCY + COVARIANCE], dim=1)
        spatial_VD = position_VD + torch.tanh(parts[0])
        return torch.cat([spatial_VD, parts[1], functional.softplus(parts[2])], dim=1)


def network(cfg: config.GraphSpice) -> nn.Module:
    """Build the network with fresh weights."""
    return GraphSpice(cfg)


def loss(
    logit_E: Tensor, images: Images, target_V: Tensor, cfg: config.GraphSpice
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the terms of the loss: cross entropy per link, and logarithmic dice per event and class.

    Links between two fragments are few, so the dice is of these.
    """
    target_E2 = target_V[images.link_E2]
    known_E = (target_E2 >= 0).all(dim=1)
    cut_E = (target_E2[known_E, 0] != target_E2[known_E, 1]).to(logit_E.dtype)
    logit_E = -logit_E[known_E]
    entropy = functional.binary_cross_entropy_with_logits(logit_E, cut_E, reduction="sum")
    _, class_E = torch.unique(images.class_V[images.link_E2[known_E, 0]], return_inverse=True)
    num = int(class_E.max()) + 1 if len(class_E) else 0
    score_E = torch.sigmoid(logit_E)
    both_N, all_N = (
        logit_E.new_zeros(num).index_add(0, class_E, part) for part in (score_E * cut_E, score_E + cut_E)
    )
    dice = -torch.log((2 * both_N + 1) / (all_N + 1)).sum()
    return {
        "fragment_edge": (CROSS_ENTROPY_WEIGHT * entropy, known_E.sum()),
        "fragment_dice": (DICE_WEIGHT * dice, torch.tensor(num, device=dice.device)),
    }


def linked(logit_E: Tensor, images: Images, cfg: config.GraphSpice) -> Bools:
    """Tell which links (E,) hold: those with a score of at least the threshold."""
    found: Bools = (torch.sigmoid(logit_E) >= cfg.edge_threshold).cpu().numpy()
    return found
