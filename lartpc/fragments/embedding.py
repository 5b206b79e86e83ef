"""Fragments by clustering in a learned space (arXiv:1708.02551).

A U-ResNet gives each voxel a place in the space. The loss pulls the voxels of a fragment to their mean, and
pushes the means of fragments of one class that touch away from each other; fragments that do not touch are
apart in the image.

Tensor suffixes: V voxels, C channels, E links, I instances (fragments), P pairs of instances.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lartpc import config
from lartpc.fragments.images import NUM_FEATURES, Images
from lartpc.lean import csr_array
from lartpc.links import Bools, Ints
from lartpc.nets.unet import UResNet
from lartpc.sparse import Lattice

LINK_BLOCK = 1 << 18
"""Links whose distances are computed at a time: the differences then stay small in memory."""


class EmbeddingNetwork(nn.Module):
    """U-ResNet, and a linear map into the space."""

    def __init__(self, cfg: config.Embedding) -> None:
        super().__init__()
        self.unet = UResNet(cfg.unet, num_in=NUM_FEATURES)
        self.place = nn.Linear(cfg.unet.filters, cfg.num_dimensions)

    def forward(self, images: Images) -> Tensor:
        """Return the place (V, C) of each voxel."""
        shape = (images.num_cells,) * (images.coord_VD1.shape[1] - 1)
        lattice = Lattice(images.coord_VD1, images.num_events, shape)
        place_VC: Tensor = self.place(self.unet(images.feat_VC, lattice)[0])
        return place_VC


def network(cfg: config.Embedding) -> nn.Module:
    """Build the network with fresh weights."""
    return EmbeddingNetwork(cfg)


def loss(
    place_VC: Tensor, images: Images, target_V: Tensor, cfg: config.Embedding
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return pull and regularisation per fragment, and push per pair of fragments that touch."""
    known = (target_V >= 0).nonzero()[:, 0]
    _, instance_V, size_I = torch.unique(target_V[known], return_inverse=True, return_counts=True)
    num = len(size_I)

    def mean(value: Tensor) -> Tensor:
        total = value.new_zeros((num, *value.shape[1:])).index_add(0, instance_V, value)
        return torch.div(total, size_I.view(-1, *[1] * (value.ndim - 1)))

    mean_IC = mean(place_VC[known])
    away_V = _norm(place_VC[known] - mean_IC[instance_V])
    pull_I = mean(functional.relu(away_V - cfg.pull_margin) ** 2)
    pair_P2 = _touching(images.link_E2, target_V, known, instance_V, num)
    apart_P = _norm(mean_IC[pair_P2[:, 0]] - mean_IC[pair_P2[:, 1]])
    push_P = functional.relu(2 * cfg.push_margin - apart_P) ** 2
    count = torch.tensor(num, device=place_VC.device)
    return {
        "fragment_pull": (pull_I.sum(), count),
        "fragment_push": (push_P.sum(), torch.tensor(len(push_P), device=place_VC.device)),
        "fragment_size": (cfg.regularisation * _norm(mean_IC).sum(), count),
    }


def linked(place_VC: Tensor, images: Images, cfg: config.Embedding) -> Bools:
    """Tell which links (E,) hold: those whose voxels are near each other in the space.

    Before, each voxel moves `num_shifts` times to the mean of itself and of its linked neighbours within
    `push_margin`: mean shift with a flat kernel (arXiv:1708.02551), in time and memory that grow with links.
    """
    place = place_VC.cpu().numpy()
    link_E2 = images.link_E2.cpu().numpy()
    num = len(place)
    for _ in range(cfg.num_shifts):
        near = link_E2[_distance(place, link_E2) < cfg.push_margin]
        degree_V = 1 + np.bincount(near.ravel(), minlength=num)
        graph = csr_array((np.ones(len(near), place.dtype), (near[:, 0], near[:, 1])), shape=(num, num))
        place = (place + graph @ place + graph.T @ place) / degree_V[:, None].astype(place.dtype)
    return _distance(place, link_E2) < cfg.link_margin


def _touching(link_E2: Tensor, target_V: Tensor, known: Tensor, instance_V: Tensor, num: int) -> Tensor:
    """Return the pairs (P, 2) of different instances that a link joins, each once."""
    of_V = torch.full_like(target_V, -1)
    of_V[known] = instance_V
    pair_E2 = of_V[link_E2].sort(dim=1).values
    pair_E2 = pair_E2[(pair_E2[:, 0] >= 0) & (pair_E2[:, 0] != pair_E2[:, 1])]
    key_P = torch.unique(pair_E2[:, 0] * max(num, 1) + pair_E2[:, 1])
    return torch.stack([key_P // max(num, 1), key_P % max(num, 1)], dim=1)


def _distance(place_VC: NDArray[np.floating], link_E2: Ints) -> NDArray[np.floating]:
    """Return the distances (E,) between the voxels of links, a block of links at a time."""
    out = np.empty(len(link_E2), place_VC.dtype)
    for low in range(0, len(link_E2), LINK_BLOCK):
        one, two = link_E2[low : low + LINK_BLOCK].T
        out[low : low + LINK_BLOCK] = np.linalg.norm(place_VC[one] - place_VC[two], axis=1)
    return out


def _norm(value_NC: Tensor) -> Tensor:
    """Return the length of each row; its gradient is finite where the length is 0."""
    return (value_NC.square().sum(dim=1) + 1e-12).sqrt()
