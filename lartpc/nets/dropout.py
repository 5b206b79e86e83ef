"""Dropout of whole features, which can be repeated at inference (Monte-Carlo dropout, arXiv:1506.02142).

Tensor suffixes: V voxels (rows of a lattice), C channels, B events.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lartpc.sparse import Lattice


class FeatureDropout(nn.Module):
    """Set features of an event to zero at random, all voxels alike, and scale up the rest.

    Features of neighbouring voxels are alike, and a convolution would fill in what single voxels lose
    (arXiv:1411.4280). In training each event loses features of its own; in evaluation none does, but
    inside `sampled`, where all events lose the same ones.

    Parameters
    ----------
    rate
        Share of the features that is dropped.
    number
        Tells apart the layers of a network, which drop features independently.
    """

    def __init__(self, rate: float, number: int) -> None:
        super().__init__()
        self.rate, self.number = rate, number
        self.sample: int | None = None

    def forward(self, feat_VC: Tensor, lattice: Lattice) -> Tensor:
        """Drop features (V, C)."""
        num_channels = feat_VC.shape[1]
        if self.training:
            drawn_BC = torch.rand(lattice.batch_size, num_channels, device=feat_VC.device)
        elif self.sample is not None:
            generator = torch.Generator().manual_seed(self.sample << 16 | self.number)
            drawn_BC = torch.rand(1, num_channels, generator=generator).to(feat_VC.device)
        else:
            return feat_VC
        scale_BC = ((drawn_BC >= self.rate) / (1 - self.rate)).to(feat_VC.dtype)
        return feat_VC * (scale_BC if len(scale_BC) == 1 else scale_BC[lattice.coord_VD1[:, 0]])


@contextmanager
def sampled(net: nn.Module, sample: int) -> Iterator[None]:
    """Let the dropout of a network in evaluation drop the features of one fixed draw.

    Each number stands for one thinned network, the same for every event in whatever batch.
    """
    layers = [module for module in net.modules() if isinstance(module, FeatureDropout)]
    for layer in layers:
        layer.sample = sample
    try:
        yield
    finally:
        for layer in layers:
            layer.sample = None
