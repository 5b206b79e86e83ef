"""The segmentation network in plain tensor operations, for other frameworks to run without this package.

Kernel maps are found within the program, by searches in sorted keys. A convolution gathers the rows of the neighbours,
an absent one being a row of zeros, and multiplies. There is one pass: no dropout, no reflection of the image.

Tensor suffixes: V voxels, C channels, K kernel offsets or classes, D dimensions, Q queries.
"""

import itertools
import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc.nets.ppn import Ppn
from lartpc.nets.uncertainty import mean_and_vacuity
from lartpc.nets.unet import Blocks, ResidualBlock, UResNet
from lartpc.sparse import NormActivation

SIDE = 16_384
"""Voxel indices must be below it along each axis. It numbers the voxels, and takes no memory."""

GUARD = 4
"""Numbers left free at the end of each line of voxels, so that no neighbour wraps around."""

SEARCH_STEPS = 24
"""A search that is made of gathers finds its way among two to this power of voxels, 16.8 million."""

OFFSETS_AT_ONCE = 9
"""Neighbours of a voxel that are gathered together: a convolution takes the memory of that many times its input."""

OUTPUTS = (
    "score",
    "uncertainty",
    "ghost_score",
    "point_score",
    "point_position",
    "point_class_score",
    "point_end_score",
)
"""What a program returns, one row per voxel; `uncertainty` and `ghost_score` only where the network has them."""


class Level(NamedTuple):
    """The voxels of a resolution in the order of their numbers `key_V`, and the row of each neighbour.

    Where there is no neighbour the row is the number of voxels.
    """

    coord_VD1: Tensor
    key_V: Tensor
    neighbour_VK: Tensor


class Step(NamedTuple):
    """From a resolution to the next coarser one.

    `parent_V` is the row of each voxel's parent, `corner_V` which of its corners the voxel is, and `child_VK` the row
    of each corner of the parents, the number of fine voxels where there is none.
    """

    parent_V: Tensor
    corner_V: Tensor
    child_VK: Tensor


class PortableSegmenter(nn.Module):
    """What a `Segmenter` says of the voxels of a batch, in plain operations.

    Parameters
    ----------
    unet, point_net, classes, ghost
        Parts of the network, with their weights.
    dimension
        2 or 3.
    mask_threshold
        Score above which a coarse voxel is looked into for points.
    evidential
        Whether scores are means of Dirichlet distributions, with an uncertainty.
    scale_mev, full_mev
        Energy up to which features are linear, and the one that is 1.
    by_gathers
        Whether keys are searched by gathers alone, for frameworks that have no search.
    """

    def __init__(
        self,
        unet: UResNet,
        point_net: Ppn,
        classes: nn.Linear,
        ghost: nn.Linear | None,
        *,
        dimension: int,
        mask_threshold: float,
        evidential: bool,
        scale_mev: float,
        full_mev: float,
        by_gathers: bool = False,
    ) -> None:
        super().__init__()
        self.dimension, self.depth, self.by_gathers = dimension, unet.depth, by_gathers
        self.mask_threshold, self.evidential = mask_threshold, evidential
        self.scale_mev, self.largest = scale_mev, math.log1p(full_mev / scale_mev)
        self.radius = (round(unet.stem.weight.shape[0] ** (1 / dimension)) - 1) // 2
        self.stem = _Convolution(unet.stem)
        self.encoder = nn.ModuleList(_blocks(blocks) for blocks in unet.encoder)
        self.down_act = nn.ModuleList(_Activation(act) for act in unet.down_act)
        self.down = nn.ModuleList(_Convolution(layer) for layer in unet.down)
        self.up_act = nn.ModuleList(_Activation(act) for act in unet.up_act)
        self.up = nn.ModuleList(_Upsampling(layer) for layer in unet.up)
        self.decoder = nn.ModuleList(_blocks(blocks) for blocks in unet.decoder)
        self.point_blocks = nn.ModuleList(_Block(block) for block in point_net.blocks)
        self.point_up = nn.ModuleList(_Upsampling(layer) for layer in point_net.up)
        self.masks, self.point_head = point_net.masks, point_net.head
        self.classes, self.ghost = classes, ghost

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of `OUTPUTS` that this network has."""
        has = {"uncertainty": self.evidential, "ghost_score": self.ghost is not None}
        return tuple(name for name in OUTPUTS if has.get(name, True))

    def forward(self, coord_VD1: Tensor, energy_V: Tensor) -> tuple[Tensor, ...]:
        """Return `OUTPUTS` of the voxels of a batch.

        Parameters
        ----------
        coord_VD1
            Event in the batch and voxel indices (V, 1 + D), int64, each voxel of an event once, in any order.
        energy_V
            Energy [MeV].
        """
        key_V, order_V = torch.sort(self._keys(coord_VD1))
        levels = [self._level(coord_VD1[order_V], key_V)]
        steps: list[Step] = []
        for _ in range(self.depth - 1):
            level, step = self._coarsen(levels[-1])
            levels.append(level)
            steps.append(step)
        scaled_V = torch.log1p(energy_V[order_V].clamp(min=0) / self.scale_mev) / self.largest
        decoded = self._unet(torch.stack([scaled_V, torch.ones_like(scaled_V)], 1), levels, steps)
        point_V, proposal_VC = self._points(decoded, levels, steps)
        logit_VK = self.classes(decoded[0])
        if self.evidential:
            score_VK, unsure_V = mean_and_vacuity(logit_VK)
            said = [score_VK, unsure_V]
        else:
            said = [torch.softmax(logit_VK, 1)]
        if self.ghost is not None:
            said.append(torch.sigmoid(self.ghost(decoded[0])[:, 0]))
        num = self.dimension
        position_VD = levels[0].coord_VD1[:, 1:].to(proposal_VC.dtype) + 0.5 + proposal_VC[:, :num]
        said += [
            point_V,
            position_VD,
            torch.softmax(proposal_VC[:, num:-1], 1),
            torch.sigmoid(proposal_VC[:, -1]),
        ]
        back_V = torch.sort(order_V)[1]
        return tuple(value[back_V] for value in said)

    def _unet(self, feat: Tensor, levels: list[Level], steps: list[Step]) -> list[Tensor]:
        feat = self.stem(feat, levels[0].neighbour_VK)
        skips = []
        for number, level in enumerate(levels):
            if number:
                feat = self.down[number - 1](self.down_act[number - 1](feat), steps[number - 1].child_VK)
            for block in cast(nn.ModuleList, self.encoder[number]):
                feat = block(feat, level.neighbour_VK)
            skips.append(feat)
        decoded = [feat]
        for number in reversed(range(self.depth - 1)):
            feat = self.up[number](self.up_act[number](feat), steps[number])
            feat = torch.cat([skips[number], feat], 1)
            for block in cast(nn.ModuleList, self.decoder[number]):
                feat = block(feat, levels[number].neighbour_VK)
            decoded.append(feat)
        return decoded[::-1]

    def _points(self, decoded: list[Tensor], levels: list[Level], steps: list[Step]) -> tuple[Tensor, Tensor]:
        """Return the score of each voxel's point (V,), 0 where a coarser level does not look, and the proposals."""
        feat, looks_V = decoded[-1], torch.ones_like(levels[-1].key_V, dtype=torch.bool)
        score_V = decoded[-1][:, 0]
        for number in reversed(range(self.depth)):
            if number < self.depth - 1:
                looks_V = (looks_V & (score_V > self.mask_threshold))[steps[number].parent_V]
                up = self.point_up[number](feat * score_V[:, None], steps[number])
                feat = torch.cat([decoded[number], up], 1)
            feat = self.point_blocks[number](feat, levels[number].neighbour_VK)
            score_V = torch.sigmoid(self.masks[number](feat)[:, 0])
        return score_V * looks_V, self.point_head(feat)

    def _keys(self, coord_VD1: Tensor) -> Tensor:
        key_V = coord_VD1[:, 0]
        for axis in range(self.dimension):
            key_V = key_V * (SIDE + 2 * GUARD) + coord_VD1[:, 1 + axis] + GUARD
        return key_V

    def _find(self, key_V: Tensor, query_Q: Tensor) -> Tensor:
        """Return the row of the first key that is not below each query."""
        if not self.by_gathers:
            return torch.searchsorted(key_V, query_Q)
        ends_V = torch.cat([key_V, torch.full_like(key_V[:1], torch.iinfo(torch.int64).max)])
        last = torch.ones_like(key_V).sum()
        place_Q = torch.zeros_like(query_Q)
        for step in reversed(range(SEARCH_STEPS)):
            probe_Q = place_Q + 2**step
            is_below_Q = ends_V[torch.minimum(probe_Q - 1, last)] < query_Q
            place_Q = torch.where(is_below_Q, probe_Q, place_Q)
        return place_Q

    def _rows(self, key_V: Tensor, query_Q: Tensor) -> Tensor:
        """Return the row of each key that is looked for, the number of keys where there is none."""
        ends_V = torch.cat([key_V, torch.full_like(key_V[:1], torch.iinfo(torch.int64).max)])
        row_Q = self._find(key_V, query_Q)
        return torch.where(ends_V[row_Q] == query_Q, row_Q, torch.ones_like(key_V).sum())

    def _level(self, coord_VD1: Tensor, key_V: Tensor) -> Level:
        reach = range(-self.radius, self.radius + 1)
        shifts = []
        for offset in itertools.product(reach, repeat=self.dimension):
            shift = 0
            for along in offset:
                shift = shift * (SIDE + 2 * GUARD) + along
            shifts.append(shift)
        query_VK = key_V[:, None] + torch.tensor(shifts, device=key_V.device)
        return Level(coord_VD1, key_V, self._rows(key_V, query_VK))

    def _coarsen(self, fine: Level) -> tuple[Level, Step]:
        spatial_VD = fine.coord_VD1[:, 1:]
        parent_VD1 = torch.cat([fine.coord_VD1[:, :1], spatial_VD // 2], 1)
        key_V, order_V = torch.sort(self._keys(parent_VD1))
        is_first_V = torch.cat([torch.ones_like(key_V[:1], dtype=torch.bool), key_V[1:] != key_V[:-1]])
        first = torch.nonzero(is_first_V)[:, 0]
        coord_VD1, keys = parent_VD1[order_V[first]], key_V[first]
        corner_V = torch.zeros_like(fine.key_V)
        for axis in range(self.dimension):
            corner_V = corner_V * 2 + spatial_VD[:, axis] % 2
        queries = []
        for corner in itertools.product((0, 1), repeat=self.dimension):
            parts = [coord_VD1[:, 1 + axis] * 2 + corner[axis] for axis in range(self.dimension)]
            queries.append(self._keys(torch.stack([coord_VD1[:, 0], *parts], 1)))
        child_VK = self._rows(fine.key_V, torch.stack(queries, 1))
        step = Step(self._find(keys, self._keys(parent_VD1)), corner_V, child_VK)
        return self._level(coord_VD1, keys), step


class _Convolution(nn.Module):
    """Sum over offsets of gathered rows times weights."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight_KCC = cast(Tensor, layer.weight).detach()
        self.weights = nn.ParameterList(
            nn.Parameter(part.reshape(-1, weight_KCC.shape[2]), requires_grad=False)
            for part in torch.split(weight_KCC, OFFSETS_AT_ONCE)
        )

    def forward(self, feat_VC: Tensor, row_VK: Tensor) -> Tensor:
        padded = torch.cat([feat_VC, torch.zeros_like(feat_VC[:1])])
        rows = torch.split(row_VK, OFFSETS_AT_ONCE, 1)
        total: Tensor = padded[rows[0]].flatten(1) @ self.weights[0]
        for row_VO, weight in zip(rows[1:], list(self.weights)[1:], strict=True):
            total = total + padded[row_VO].flatten(1) @ weight
        return total


class _Upsampling(nn.Module):
    """Rows of the parents times the weights of the corner that a voxel is."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight_KCC = cast(Tensor, layer.weight).detach()
        self.num_offsets, num_in, self.num_out = weight_KCC.shape
        self.weight = nn.Parameter(weight_KCC.permute(1, 0, 2).reshape(num_in, -1), requires_grad=False)

    def forward(self, feat_VC: Tensor, step: Step) -> Tensor:
        every = (feat_VC @ self.weight).reshape(-1, self.num_out)
        return every[step.parent_V * self.num_offsets + step.corner_V]


class _Activation(nn.Module):
    """Normalisation by the running statistics, and LeakyReLU."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        assert isinstance(module, NormActivation)
        norm = module.norm
        assert norm.running_mean is not None and norm.running_var is not None
        scale_C = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
        shift_C = norm.bias.double() - norm.running_mean.double() * scale_C
        self.scale = nn.Parameter(scale_C.detach().float(), requires_grad=False)
        self.shift = nn.Parameter(shift_C.detach().float(), requires_grad=False)
        self.leakiness = module.leakiness

    def forward(self, feat_VC: Tensor) -> Tensor:
        return functional.leaky_relu(feat_VC * self.scale + self.shift, self.leakiness)


class _Block(nn.Module):
    """A residual block."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        assert isinstance(module, ResidualBlock)
        self.shortcut = module.shortcut
        self.first_act, self.second_act = _Activation(module.first_act), _Activation(module.second_act)
        self.first_conv, self.second_conv = _Convolution(module.first_conv), _Convolution(module.second_conv)

    def forward(self, feat_VC: Tensor, row_VK: Tensor) -> Tensor:
        out = self.first_conv(self.first_act(feat_VC), row_VK)
        out = self.second_conv(self.second_act(out), row_VK)
        return cast(Tensor, out + self.shortcut(feat_VC))


def _blocks(blocks: nn.Module) -> nn.ModuleList:
    return nn.ModuleList(_Block(block) for block in cast(Blocks, blocks))
