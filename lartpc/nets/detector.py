"""A detector of interactions in sparse images: a heatmap proposes boxes, and what is in each box decides.

Two stages, as in the R-CNN family (arXiv:1506.01497): peaks of a heatmap (arXiv:1904.07850) on the decoder of a sparse
U-ResNet propose boxes, with regressed distances to the four sides (arXiv:1904.01355), and so do the pixels that the
same decoder says a neutrino brought, where they lie together; features pooled over parts of each box then give its
score and a correction of its sides.

Tensor suffixes: V voxels, C channels, K origins, L cells of the heatmap's level, R boxes, D dimensions, T true boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc.config import Detect
from lartpc.nets.energies import energy_features
from lartpc.nets.rowwise import rowwise, whole
from lartpc.nets.unet import UResNet, levels, norm_activation, planes
from lartpc.sparse import Lattice
from lartpc.vocab import Origin

PEAK_DISTANCE = 2
"""Peaks at most this far from a higher one, along each axis, are none [cell]."""

GAPS = (1, 3, 8)
"""Pixels of a neutrino propose a box together if their cells are at most so far apart, for each of these [cell]."""

PEAK_PRIOR = -4.0
"""Logit of a peak that a network without training says: most cells are none (arXiv:1708.02002)."""

LARGEST_LOG = 7.0
"""Largest logarithm of a distance to a side, in cells."""

HIDDEN = 64


@dataclass
class Maps:
    """What the network says of an image before boxes are looked into.

    `peak_L` are logits that a neutrino interacts in a cell, `side_LD2` logarithms of the distances from the middle of
    the cell to the lower and upper sides of its box [cell], `offset_LD` the way to the vertex [cell].
    """

    origin_VK: Tensor
    feat_VC: Tensor
    peak_L: Tensor
    side_LD2: Tensor
    offset_LD: Tensor
    coord_LD1: Tensor


@dataclass
class Boxes:
    """Boxes of a batch: event of each, corners [voxel], vertex [voxel], and logit or score of the peak."""

    event_R: Tensor
    low_RD: Tensor
    high_RD: Tensor
    vertex_RD: Tensor
    peak_R: Tensor


class Detector(nn.Module):
    """Sparse U-ResNet with an origin per voxel, a heatmap, and a head on boxes."""

    def __init__(self, cfg: Detect) -> None:
        super().__init__()
        self.level, self.num_bins, self.dimension = cfg.level, cfg.num_bins, cfg.dimension
        self.num_proposals, self.min_voxels = cfg.num_proposals, cfg.min_voxels
        self.unet = UResNet(cfg.unet, 2, cfg.dimension, cfg.backend)
        widths = planes(cfg.unet)
        leakiness, backend = cfg.unet.leakiness, cfg.backend
        self.voxel_act = norm_activation(widths[0], leakiness, backend)
        self.cell_act = norm_activation(widths[cfg.level], leakiness, backend)
        self.origin = nn.Linear(widths[0], len(Origin))
        self.peak = nn.Linear(widths[cfg.level], 1)
        self.sides = nn.Linear(widths[cfg.level], 2 * cfg.dimension)
        self.offset = nn.Linear(widths[cfg.level], cfg.dimension)
        num_in = cfg.num_bins**cfg.dimension * (widths[0] + len(Origin) + 1) + cfg.dimension
        self.look = nn.ModuleList([nn.Linear(num_in, HIDDEN), nn.Linear(HIDDEN, HIDDEN)])
        self.score = nn.Linear(HIDDEN, 1)
        self.correct = nn.Linear(HIDDEN, 2 * cfg.dimension)
        nn.init.constant_(self.peak.bias, PEAK_PRIOR)

    def forward(
        self, coord_VD1: Tensor, energy_V: Tensor, batch_size: int, num_cells: int, more: Boxes | None = None
    ) -> tuple[Maps, Boxes, Tensor, Tensor]:
        """Return the maps of a batch, its proposed boxes, their logits (R,) and corrections (R, 2, D).

        Corrections are of the corners, in lengths of the sides.

        Parameters
        ----------
        coord_VD1
            Event in the batch and voxel indices (V, 1 + D).
        energy_V
            Energy [MeV].
        batch_size
            Number of events.
        num_cells
            Voxels per side of the box.
        more
            Boxes to be looked into, too; they stand behind the proposed ones.
        """
        maps = self._maps(coord_VD1, energy_V, batch_size, num_cells)
        boxes = self._propose(maps, coord_VD1, batch_size)
        if more is not None:
            boxes = _joined([boxes, more])
        return maps, boxes, *self._judge(maps, boxes, coord_VD1)

    def _maps(self, coord_VD1: Tensor, energy_V: Tensor, batch_size: int, num_cells: int) -> Maps:
        """Return the maps of a batch of images."""
        lattice = Lattice(coord_VD1, batch_size, (num_cells,) * (coord_VD1.shape[1] - 1))
        decoded = self.unet(energy_features(energy_V), lattice)
        at_level = levels(lattice, self.level + 1)[-1]
        feat_VC, feat_LC = self.voxel_act(decoded[0]), self.cell_act(decoded[self.level])
        return Maps(
            rowwise(self.origin, feat_VC),
            feat_VC,
            rowwise(self.peak, feat_LC)[:, 0],
            rowwise(self.sides, feat_LC).view(-1, 2, self.dimension),
            rowwise(self.offset, feat_LC),
            at_level.coord_VD1,
        )

    def _propose(self, maps: Maps, coord_VD1: Tensor, batch_size: int) -> Boxes:
        """Return the boxes at the highest peaks of each image, then those of its pixels; without gradients."""
        with torch.no_grad():
            row_R = torch.cat([_peaks(maps, event, self.num_proposals) for event in range(batch_size)])
            width = 2.0**self.level
            centre_RD = (maps.coord_LD1[row_R, 1:] + 0.5) * width
            away_R2D = whole(torch.exp, maps.side_LD2[row_R].float().clamp(-LARGEST_LOG, LARGEST_LOG)) * width
            found = [
                Boxes(
                    maps.coord_LD1[row_R, 0],
                    centre_RD - away_R2D[:, 0],
                    centre_RD + away_R2D[:, 1],
                    centre_RD + maps.offset_LD[row_R].float() * width,
                    maps.peak_L[row_R].float(),
                )
            ]
            found += [self._of_pixels(maps, coord_VD1, event) for event in range(batch_size)]
            return _joined(found)

    def _of_pixels(self, maps: Maps, coord_VD1: Tensor, event: int) -> Boxes:
        """Return the boxes around pixels of neutrinos that belong together, the largest of each gap, each once.

        The vertex of each is that of the highest peak in it.
        """
        width = 2**self.level
        of_neutrino_V = (coord_VD1[:, 0] == event) & (maps.origin_VK.argmax(1) == Origin.NEUTRINO)
        coord_VD = coord_VD1[of_neutrino_V, 1:].cpu().numpy().astype(np.int64)
        row_L = torch.nonzero(maps.coord_LD1[:, 0] == event)[:, 0]
        cell_LD, peak_L = maps.coord_LD1[row_L, 1:].cpu().numpy(), maps.peak_L[row_L].float().cpu().numpy()
        boxes: dict[tuple[int, ...], int] = {}
        for gap in GAPS if len(coord_VD) else ():
            piece_V = _pieces(coord_VD // width, gap)
            size_N = np.bincount(piece_V)
            order_N = np.argsort(-size_N, kind="stable")[: self.num_proposals]
            for piece in order_N[size_N[order_N] >= self.min_voxels].tolist():
                mine_VD = coord_VD[piece_V == piece]
                low_D, high_D = mine_VD.min(0), mine_VD.max(0) + 1
                inside_L = ((cell_LD >= low_D // width) & (cell_LD <= (high_D - 1) // width)).all(1)
                best = int(np.where(inside_L, peak_L, -np.inf).argmax())
                boxes.setdefault((*low_D.tolist(), *high_D.tolist()), best)
        device, num = coord_VD1.device, len(boxes)
        corner_R2D = torch.tensor(list(boxes), dtype=torch.float32, device=device).view(
            num, 2, self.dimension
        )
        peak_R = row_L[torch.tensor(list(boxes.values()), dtype=torch.long, device=device)]
        away_RD = maps.coord_LD1[peak_R, 1:] + 0.5 + maps.offset_LD[peak_R].float()
        return Boxes(
            torch.full((num,), event, dtype=maps.coord_LD1.dtype, device=device),
            corner_R2D[:, 0],
            corner_R2D[:, 1],
            away_RD * width,
            maps.peak_L[peak_R].float(),
        )

    def _judge(self, maps: Maps, boxes: Boxes, coord_VD1: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit of each box (R,), and corrections of its corners (R, 2, D)."""
        feat_RC = self._pool(maps, boxes, coord_VD1)
        for layer in self.look:
            assert isinstance(layer, nn.Linear)
            feat_RC = rowwise(layer, feat_RC).relu()
        return rowwise(self.score, feat_RC)[:, 0], rowwise(self.correct, feat_RC).view(-1, 2, self.dimension)

    def _pool(self, maps: Maps, boxes: Boxes, coord_VD1: Tensor) -> Tensor:
        """Return what is in each box: features and number of voxels of each part, and its size."""
        size_RD = (boxes.high_RD - boxes.low_RD).clamp(min=1.0)
        num_boxes, num_parts = len(size_RD), self.num_bins**self.dimension
        shown_VC = torch.cat([maps.feat_VC, whole_softmax(maps.origin_VK)], 1)
        box_P, voxel_P = _members(boxes, coord_VD1)
        place_PD = (coord_VD1[voxel_P, 1:] + 0.5 - boxes.low_RD[box_P]) / size_RD[box_P]
        bin_PD = (place_PD * self.num_bins).long().clamp(0, self.num_bins - 1)
        part_P = box_P
        for axis in range(self.dimension):
            part_P = part_P * self.num_bins + bin_PD[:, axis]
        shape = (num_boxes * num_parts, shown_VC.shape[1])
        sum_QC = shown_VC.new_zeros(shape).index_add(0, part_P, shown_VC[voxel_P])
        count_Q1 = torch.bincount(part_P, minlength=shape[0]).to(sum_QC.dtype)[:, None]
        pooled_QC = torch.cat([sum_QC / count_Q1.clamp(min=1), whole(torch.log1p, count_Q1)], 1)
        pooled_RC = pooled_QC.view(num_boxes, num_parts * pooled_QC.shape[1])
        return torch.cat([pooled_RC, whole(torch.log, size_RD).to(pooled_RC.dtype)], 1)


def whole_softmax(logit_VK: Tensor) -> Tensor:
    """Return the softmax (V, K) over the columns, the same for a row wherever it stands."""
    power_VK = whole(torch.exp, logit_VK - logit_VK.amax(1, keepdim=True))
    return power_VK / power_VK.sum(1, keepdim=True)


def corrected(boxes: Boxes, change_R2D: Tensor, num_cells: int) -> tuple[Tensor, Tensor]:
    """Return the corners (R, D) of boxes moved by `change_R2D`, in the image, and at least a voxel apart."""
    size_RD = (boxes.high_RD - boxes.low_RD).clamp(min=1.0)
    low_RD = (boxes.low_RD + change_R2D[:, 0] * size_RD).clamp(0, num_cells - 1)
    high_RD = torch.maximum(boxes.high_RD + change_R2D[:, 1] * size_RD, low_RD + 1).clamp(max=num_cells)
    return low_RD, high_RD


def overlaps(low_RD: Tensor, high_RD: Tensor, low_TD: Tensor, high_TD: Tensor) -> Tensor:
    """Return the IoU (R, T) of boxes with others."""
    side_RTD = torch.minimum(high_RD[:, None], high_TD) - torch.maximum(low_RD[:, None], low_TD)
    both_RT = side_RTD.clamp(min=0).prod(2)
    one_R, other_T = (high_RD - low_RD).prod(1), (high_TD - low_TD).prod(1)
    return both_RT / (one_R[:, None] + other_T - both_RT).clamp(min=1e-6)


def best_of(score_R: Tensor, low_RD: Tensor, high_RD: Tensor, most_overlap: float) -> Tensor:
    """Return the rows of boxes that overlap no better one by more than `most_overlap`, the best first."""
    order_R = torch.argsort(score_R, descending=True, stable=True)
    near_RR = overlaps(low_RD[order_R], high_RD[order_R], low_RD[order_R], high_RD[order_R]) > most_overlap
    return order_R[_first_ones(near_RR)]


def _joined(parts: Sequence[Boxes]) -> Boxes:
    return Boxes(
        *(torch.cat(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True))
    )


def _pieces(cell_VD: NDArray[np.int64], gap: int) -> NDArray[np.int64]:
    """Return the number of the piece (V,) that each pixel is of: its cells are at most `gap` from one another."""
    from lartpc.lean import (
        cKDTree,
        connected_components,
        coo_array,
    )  # here, so that training starts without scipy

    cell_ND, of_V = np.unique(cell_VD, axis=0, return_inverse=True)
    pair_E2 = cKDTree(cell_ND).query_pairs(gap + 0.5, p=np.inf, output_type="ndarray")
    near = coo_array((np.ones(len(pair_E2)), (pair_E2[:, 0], pair_E2[:, 1])), shape=(len(cell_ND),) * 2)
    return np.asarray(connected_components(near, directed=False)[1])[of_V.reshape(-1)].astype(np.int64)


def _peaks(maps: Maps, event: int, most: int) -> Tensor:
    """Return the rows of the cells of an image that are peaks, the highest first, at most `most`."""
    row_L = torch.nonzero(maps.coord_LD1[:, 0] == event)[:, 0]
    order_L = torch.argsort(maps.peak_L[row_L], descending=True, stable=True)
    # enough that the neighbours of `most` peaks may be among them
    row_L = row_L[order_L[: most * (2 * PEAK_DISTANCE + 1) ** 2]]
    coord_LD = maps.coord_LD1[row_L, 1:]
    near_LL = ((coord_LD[:, None] - coord_LD).abs() <= PEAK_DISTANCE).all(2)
    return row_L[_first_ones(near_LL)][:most]


def _first_ones(near_RR: Tensor) -> Tensor:
    """Return the rows, in order, that are near no earlier one that was taken."""
    near = near_RR.cpu().numpy()
    taken: list[int] = []
    for row in range(len(near)):
        if not near[row, taken].any():
            taken.append(row)
    return torch.tensor(taken, dtype=torch.long, device=near_RR.device)


def _members(boxes: Boxes, coord_VD1: Tensor) -> tuple[Tensor, Tensor]:
    """Return pairs of a box and a voxel of its event in it; of each box in the order of the voxels."""
    pairs = [(boxes.event_R[:0], boxes.event_R[:0])]
    for row, event in enumerate(boxes.event_R.tolist()):
        # voxels of an event follow one another
        first, last = torch.searchsorted(
            coord_VD1[:, 0].contiguous(), torch.tensor([event, event + 1], device=coord_VD1.device)
        ).tolist()
        middle_VD = coord_VD1[first:last, 1:] + 0.5
        inside_V = ((middle_VD >= boxes.low_RD[row]) & (middle_VD < boxes.high_RD[row])).all(1)
        voxel = torch.nonzero(inside_V)[:, 0] + first
        pairs.append((torch.full_like(voxel, row), voxel))
    return torch.cat([box for box, _ in pairs]), torch.cat([voxel for _, voxel in pairs])
