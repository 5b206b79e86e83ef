"""Sparse U-ResNet (arXiv:1903.05663): residual blocks at several resolutions, joined by skips.

Tensor suffixes: V voxels (rows of a lattice), C channels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lartpc.config import UResNet as Settings
from lartpc.images import NORM_EPS
from lartpc.nets.dropout import FeatureDropout
from lartpc.sparse import (
    Backend,
    Downsample,
    KernelMap,
    Lattice,
    NormActivation,
    SubmanifoldConv,
    Upsample,
    block,
)

NORM_MOMENTUM = 0.05
"""SPINE's U-ResNet takes 0.01 for its tens of thousands of steps; ours are hundreds."""


def norm_activation(num_channels: int, leakiness: float, backend: Backend) -> NormActivation:
    """Return the normalisation and activation in front of a convolution."""
    return NormActivation(num_channels, leakiness, NORM_EPS, NORM_MOMENTUM, backend)


class ResidualBlock(nn.Module):
    """Two pre-activated submanifold convolutions beside a shortcut (arXiv:1603.05027)."""

    def __init__(
        self, num_in: int, num_out: int, *, kernel: int, leakiness: float, dimension: int, backend: Backend
    ) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if num_in == num_out else nn.Linear(num_in, num_out, bias=False)
        self.first_act = norm_activation(num_in, leakiness, backend)
        self.first_conv = SubmanifoldConv(num_in, num_out, kernel, dimension, backend)
        self.second_act = norm_activation(num_out, leakiness, backend)
        self.second_conv = SubmanifoldConv(num_out, num_out, kernel, dimension, backend)

    def forward(self, feat_VC: Tensor, lattice: Lattice, more_VC: Tensor | None = None) -> Tensor:
        """Map features (V, C_in), the last of them from `more_VC` if given, to (V, C_out) on the same voxels."""
        parts = [feat_VC] if more_VC is None else [feat_VC, more_VC]
        acts, weights = (self.first_act, self.second_act), (self.first_conv.weight, self.second_conv.weight)
        if form := block.form_of(feat_VC, acts, weights, self.first_conv.backend):
            shortcut = self.shortcut.weight if isinstance(self.shortcut, nn.Linear) else None
            kernel_map = lattice.neighbours(self.first_conv.kernel)
            return block.residual(parts, acts, weights, shortcut, kernel_map, form)
        feat_VC = torch.cat(parts, 1) if more_VC is not None else feat_VC
        out: Tensor = self.first_conv(self.first_act(feat_VC), lattice)
        out = self.second_conv(self.second_act(out), lattice)
        return out.add_(self.shortcut(feat_VC))


class Blocks(nn.ModuleList):
    """Residual blocks one after another; the first may change the number of channels."""

    def __init__(self, num_in: int, num_out: int, cfg: Settings, dimension: int, backend: Backend) -> None:
        super().__init__(
            ResidualBlock(
                num_in if step == 0 else num_out,
                num_out,
                kernel=cfg.kernel,
                leakiness=cfg.leakiness,
                dimension=dimension,
                backend=backend,
            )
            for step in range(cfg.repetitions)
        )

    def forward(self, feat_VC: Tensor, lattice: Lattice, more_VC: Tensor | None = None) -> Tensor:
        """Map features (V, C_in), the last of them from `more_VC` if given, to (V, C_out) on the same voxels."""
        for one in self:
            feat_VC, more_VC = one(feat_VC, lattice, more_VC), None
        return feat_VC


def _activated(
    act: nn.Module, conv: nn.Module, feat_VC: Tensor, fine: Lattice, kernel_map: KernelMap
) -> Tensor:
    """Normalise, activate and convolve features along a map of the coarsening of `fine`."""
    assert isinstance(act, NormActivation) and isinstance(conv, Downsample | Upsample)
    if form := block.form_of(feat_VC, [act], [conv.weight], conv.backend):
        return block.activated_convolution(feat_VC, act, conv.weight, kernel_map, form)
    found: Tensor = conv(act(feat_VC), fine)
    return found


def planes(cfg: Settings) -> list[int]:
    """Return the number of channels of each level, finest first: m, 2m, 3m, ..."""
    return [cfg.filters * (level + 1) for level in range(cfg.depth)]


def levels(lattice: Lattice, depth: int) -> list[Lattice]:
    """Return the lattices of each level, finest first."""
    found = [lattice]
    while len(found) < depth:
        found.append(found[-1].coarser.lattice)
    return found


class Encoder(nn.Module):
    """Residual blocks at resolutions from fine to coarse: the one half of the U-ResNet, with the same names of weights.

    Parameters
    ----------
    cfg
        Sizes.
    num_in
        Features per input voxel.
    dimension
        2 or 3.
    backend
        Backend of the convolutions.
    """

    def __init__(self, cfg: Settings, num_in: int = 1, dimension: int = 3, backend: Backend = "auto") -> None:
        super().__init__()
        self.depth = cfg.depth
        widths = planes(cfg)
        self.stem = SubmanifoldConv(num_in, widths[0], cfg.kernel, dimension, backend)
        self.encoder = nn.ModuleList(Blocks(width, width, cfg, dimension, backend) for width in widths)
        self.down_act = nn.ModuleList(norm_activation(fine, cfg.leakiness, backend) for fine in widths[:-1])
        self.down = nn.ModuleList(
            Downsample(fine, coarse, dimension, backend) for fine, coarse in pairwise(widths)
        )

    def encode(
        self, feat_VC: Tensor, lattices: list[Lattice], added_VC: Tensor | None = None
    ) -> list[Tensor]:
        """Return the features (V_l, C_l) of each level l, finest first, on the lattices of `levels`.

        `added_VC` are further features of the voxels, as many as those of the finest level, to which they are added.
        """
        feat = self.stem(feat_VC, lattices[0])
        if added_VC is not None:
            feat = feat + added_VC.to(feat.dtype)
        found = []
        for level, blocks in enumerate(self.encoder):
            if level:
                fine = lattices[level - 1]
                feat = _activated(
                    self.down_act[level - 1], self.down[level - 1], feat, fine, fine.coarser.down
                )
            feat = blocks(feat, lattices[level])
            found.append(feat)
        return found


class UResNet(Encoder):
    """Encoder and decoder of residual blocks.

    Parameters
    ----------
    dropout
        Share of the features of each level of the decoder that are dropped, see `FeatureDropout`.
    """

    def __init__(
        self,
        cfg: Settings,
        num_in: int = 1,
        dimension: int = 3,
        backend: Backend = "auto",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(cfg, num_in, dimension, backend)
        widths = planes(cfg)
        self.up_act = nn.ModuleList(norm_activation(coarse, cfg.leakiness, backend) for coarse in widths[1:])
        self.up = nn.ModuleList(
            Upsample(coarse, fine, dimension, backend) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(Blocks(2 * fine, fine, cfg, dimension, backend) for fine in widths[:-1])
        self.dropout = nn.ModuleList(FeatureDropout(dropout, level) for level in range(cfg.depth) if dropout)

    def forward(self, feat_VC: Tensor, lattice: Lattice, added_VC: Tensor | None = None) -> list[Tensor]:
        """Return the decoder's features (V_l, C_l) of each level l, finest first; `added_VC` as of `encode`."""
        lattices = levels(lattice, self.depth)
        skips = self.encode(feat_VC, lattices, added_VC)
        feat = self._drop(skips[-1], lattices, self.depth - 1)
        decoded = [feat]
        for level in reversed(range(self.depth - 1)):
            fine = lattices[level]
            feat = _activated(self.up_act[level], self.up[level], feat, fine, fine.coarser.up)
            feat = self.decoder[level](skips[level], lattices[level], feat)
            feat = self._drop(feat, lattices, level)
            decoded.append(feat)
        return decoded[::-1]

    def _drop(self, feat: Tensor, lattices: list[Lattice], level: int) -> Tensor:
        if not self.dropout:
            return feat
        dropped: Tensor = self.dropout[level](feat, lattices[level])
        return dropped
