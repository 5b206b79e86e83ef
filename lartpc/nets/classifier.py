"""A network on whole images: the encoder of a sparse U-ResNet, pooled, with heads (cf. arXiv:2006.15052).

Tensor suffixes: V voxels, I images that are convolved, B images that are classified, C channels, K classes.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lartpc.config import UResNet as Settings
from lartpc.images import ENERGY_FULL_MEV, NORM_EPS
from lartpc.nets.energies import energy_features
from lartpc.nets.rowwise import rowwise, whole
from lartpc.nets.unet import Encoder, levels, planes
from lartpc.sparse import Backend, Lattice


class ImageClassifier(nn.Module):
    """One encoder for all views of an image, whose pooled features stand side by side before the heads.

    The encoder is `unet`, as in `segment`: weights of the one start the other.

    Parameters
    ----------
    heads
        Names and numbers of classes.
    num_views
        Views of each image that are convolved by themselves; 1 for an image in 3D.
    """

    def __init__(
        self,
        cfg: Settings,
        heads: Mapping[str, int],
        *,
        num_hidden: int,
        num_views: int = 1,
        dimension: int = 3,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.num_views = num_views
        self.unet = Encoder(cfg, 2, dimension, backend)
        width = planes(cfg)[-1]
        self.hidden = nn.Linear(num_views * (2 * width + 2), num_hidden)
        self.norm = nn.LayerNorm(num_hidden, NORM_EPS)
        self.act = nn.LeakyReLU(cfg.leakiness)
        self.heads = nn.ModuleDict({name: nn.Linear(num_hidden, size) for name, size in heads.items()})

    def forward(
        self, coord_VD1: Tensor, energy_V: Tensor, num_images: int, num_cells: int
    ) -> dict[str, Tensor]:
        """Return the logits (B, K) of each head.

        Parameters
        ----------
        coord_VD1
            Image in the batch and voxel indices (V, 1 + D); the views of an image follow one another.
        energy_V
            Energy [MeV].
        num_images
            Number of images that are convolved: `num_views` for each that is classified.
        num_cells
            Voxels per side of the box.
        """
        lattice = Lattice(coord_VD1, num_images, (num_cells,) * (coord_VD1.shape[1] - 1))
        lattices = levels(lattice, self.unet.depth)
        coarse_VC = self.unet.encode(energy_features(energy_V), lattices)[-1]
        pooled_IC = torch.cat(
            [
                *_mean_and_largest(coarse_VC, lattices[-1].coord_VD1[:, 0], num_images),
                *_sizes(energy_V, coord_VD1[:, 0], num_images),
            ],
            dim=1,
        )
        pooled_BC = pooled_IC.reshape(num_images // self.num_views, -1)
        hidden_BC = self.act(self.norm(rowwise(self.hidden, pooled_BC)))
        return {name: rowwise(cast(nn.Linear, head), hidden_BC) for name, head in self.heads.items()}


def _mean_and_largest(feat_VC: Tensor, image_V: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Return mean and maximum (I, C) over the voxels of each image; 0 for images without any."""
    shape = (num_images, feat_VC.shape[1])
    count_I1 = torch.bincount(image_V, minlength=num_images)[:, None].to(feat_VC.dtype)
    total_IC = feat_VC.new_zeros(shape).index_add(0, image_V, feat_VC)
    largest_IC = feat_VC.new_zeros(shape).scatter_reduce(
        0, image_V[:, None].expand_as(feat_VC), feat_VC, "amax", include_self=False
    )
    return total_IC / count_I1.clamp(min=1), largest_IC


def _sizes(energy_V: Tensor, image_V: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Return the logarithms (I, 1) of number and energy of the voxels of each image, of the order of 1."""
    count_I = torch.bincount(image_V, minlength=num_images).to(energy_V.dtype)
    total_I = energy_V.new_zeros(num_images).index_add(0, image_V, energy_V.clamp(min=0))
    return (
        whole(torch.log1p, count_I)[:, None] / 10.0,
        whole(torch.log1p, total_I / ENERGY_FULL_MEV)[:, None] / 5.0,
    )
