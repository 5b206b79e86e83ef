"""Where neutrinos interact in images with cosmic muons: a box for each, and the origin of every voxel.

Tensor suffixes: V voxels, C channels, K origins, L cells of the heatmap's level, R boxes, D dimensions, T true boxes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lartpc import config
from lartpc.event import Columns, Event, conform
from lartpc.nets.detector import Boxes, Detector, Maps, best_of, corrected, overlaps, whole_softmax
from lartpc.nets.inputs import column_of, stack
from lartpc.nets.losses import lovasz_softmax
from lartpc.nets.rowwise import whole
from lartpc.truth import neutrino_boxes, origins
from lartpc.vocab import NONE, Origin

PEAK_WIDTH = 1.0
"""σ of the heatmap's peak at a vertex [cell]."""

PEAK_CORE = 0.6
"""Cells with at least so high a peak are asked for the sides of the box: those within a cell of the vertex."""

RIGHT_OVERLAP = 0.5
"""A box is right if it overlaps a true one by so much (IoU), as in PASCAL VOC."""

NEAR_OVERLAP = 0.25
"""Boxes that overlap a true one by so much are taught its corners."""

METRIC_SCORE = 0.5
"""Score from which a box counts during training."""


@dataclass
class _True:
    """True boxes of a batch, one row each: event, corners and vertex [voxel]."""

    event_T: Tensor
    low_TD: Tensor
    high_TD: Tensor
    vertex_TD: Tensor


def network(cfg: config.Detect) -> nn.Module:
    """Build the network with fresh weights."""
    return Detector(cfg)


def bytes_per_voxel(cfg: config.Detect) -> float:
    """Return the memory [B] that inference takes for each voxel of a batch on a CPU."""
    return cfg.unet.memory_per_voxel


def loss(net: nn.Module, batch: list[Event], cfg: config.Detect) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each term of the loss as its sum and the count that it is to be divided by.

    `origin` is the cross entropy of the voxels whose origin is known, `lovasz` its Lovász loss per image, `peak` the
    cross entropy of the heatmap weighted by the square of the error (arXiv:2006.04388), `side` and `offset` those of
    the proposals at vertices, `box` the cross entropy of boxes being right, and `corner` that of their corrections.
    """
    device = next(net.parameters()).device
    coord_VD1, energy_V, num_events, num_cells = stack(batch, device, cfg.dimension, "detect")
    true = _true_boxes(batch, cfg, device)
    maps, boxes, score_R, change_R2D = net(coord_VD1, energy_V, num_events, num_cells, _as_boxes(true))
    label_V = column_of([origins(event) for event in batch], device).long()
    known_V = label_V != NONE
    logit_VK, event_V = maps.origin_VK[known_V], coord_VD1[known_V, 0]
    entropy_V = functional.cross_entropy(logit_VK, label_V[known_V], reduction="none")
    return {
        "origin": (entropy_V.sum(), known_V.sum().to(entropy_V.dtype)),
        "lovasz": lovasz_softmax(logit_VK, label_V[known_V], event_V, num_events),
        **_proposal_terms(maps, true, num_events, 2**cfg.level),
        **_box_terms(boxes, score_R, change_R2D, true),
    }


def _proposal_terms(maps: Maps, true: _True, num_events: int, width: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the terms of the heatmap and of what its cells propose."""
    middle_LD = (maps.coord_LD1[:, 1:] + 0.5) * width
    away_LTD = (true.vertex_TD - middle_LD[:, None]) / width
    same_LT = maps.coord_LD1[:, :1] == true.event_T
    height_LT = torch.exp(-0.5 * (away_LTD / PEAK_WIDTH).square().sum(2)) * same_LT
    # the cell that is nearest to a vertex is a peak, wherever in it the vertex lies
    if height_LT.numel():
        height_LT = height_LT / height_LT.amax(0).clamp(min=1e-9)
    wanted_L = height_LT.amax(1) if height_LT.shape[1] else torch.zeros_like(maps.peak_L)
    error_L = torch.sigmoid(maps.peak_L.detach()) - wanted_L
    entropy_L = functional.binary_cross_entropy_with_logits(maps.peak_L, wanted_L, reduction="none")
    peak = (error_L.square() * entropy_L).sum()
    row_L, box_L = torch.nonzero(height_LT >= PEAK_CORE, as_tuple=True)
    middle_LD = middle_LD[row_L]
    side_L2D = torch.stack([middle_LD - true.low_TD[box_L], true.high_TD[box_L] - middle_LD], 1) / width
    side_L2D = torch.log(side_L2D.clamp(min=0.5 / width))
    count = torch.tensor(float(len(row_L)), device=peak.device)
    side = functional.smooth_l1_loss(maps.side_LD2[row_L], side_L2D, reduction="none").mean((1, 2))
    way = functional.smooth_l1_loss(maps.offset_LD[row_L], away_LTD[row_L, box_L], reduction="none").mean(1)
    return {
        "peak": (peak, torch.tensor(float(num_events), device=peak.device)),
        "side": (side.sum(), count),
        "offset": (way.sum(), count),
    }


def _box_terms(
    boxes: Boxes, score_R: Tensor, change_R2D: Tensor, true: _True
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the terms of the scores of boxes and of the corrections of their corners."""
    zero = score_R.sum() * 0.0
    best_R, of_R = torch.zeros_like(score_R), torch.zeros_like(boxes.event_R)
    if len(true.event_T) and len(score_R):
        overlap_RT = overlaps(boxes.low_RD, boxes.high_RD, true.low_TD, true.high_TD)
        best_R, of_R = (overlap_RT * (boxes.event_R[:, None] == true.event_T)).max(1)
    right_R = (best_R >= RIGHT_OVERLAP).to(score_R.dtype)
    entropy = functional.binary_cross_entropy_with_logits(score_R, right_R, reduction="sum")
    row_R = torch.nonzero(best_R >= NEAR_OVERLAP)[:, 0]
    size_RD = (boxes.high_RD - boxes.low_RD)[row_R].clamp(min=1.0)
    wanted_R2D = torch.stack(
        [true.low_TD[of_R[row_R]] - boxes.low_RD[row_R], true.high_TD[of_R[row_R]] - boxes.high_RD[row_R]], 1
    )
    wanted_R2D = wanted_R2D / size_RD[:, None]
    corner = functional.smooth_l1_loss(change_R2D[row_R], wanted_R2D, beta=0.1, reduction="none").mean((1, 2))
    return {
        "box": (zero + entropy, zero.new_tensor(float(len(score_R)))),
        "corner": (zero + corner.sum(), zero.new_tensor(float(len(row_R)))),
    }


@torch.inference_mode()
def infer(net: Detector, batch: list[Event], cfg: config.Detect) -> list[dict[str, Columns]]:
    """Return the products `origin` and `detection` of each event."""
    device = next(net.parameters()).device
    coord_VD1, energy_V, num_events, num_cells = stack(batch, device, cfg.dimension, "detect")
    maps, boxes, logit_R, change_R2D = net(coord_VD1, energy_V, num_events, num_cells)
    score_R = whole(torch.sigmoid, logit_R)
    low_RD, high_RD = corrected(boxes, change_R2D, num_cells)
    if not all(torch.isfinite(values).all() for values in (score_R, low_RD, high_RD)):
        raise ValueError("boxes or their scores are not finite")  # a score of nan is below each limit
    score_VK = whole_softmax(maps.origin_VK)
    label_V = maps.origin_VK.argmax(1)
    found: list[dict[str, Columns]] = []
    for event in range(num_events):
        mine_V = coord_VD1[:, 0] == event
        row_R = torch.nonzero((boxes.event_R == event) & (score_R >= cfg.infer.score_floor))[:, 0]
        row_R = row_R[best_of(score_R[row_R], low_RD[row_R], high_RD[row_R], cfg.infer.overlap)]
        detection = {
            "low": _in_3d(low_RD[row_R], 0.0),
            "high": _in_3d(high_RD[row_R], 1.0),
            "vertex": _in_3d(boxes.vertex_RD[row_R].clamp(0, num_cells), 0.5),
            "score": score_R[row_R].cpu().numpy(),
            "peak_score": whole(torch.sigmoid, boxes.peak_R[row_R]).cpu().numpy(),
        }
        origin = {"score": score_VK[mine_V].cpu().numpy(), "label": label_V[mine_V].cpu().numpy()}
        found.append({"origin": conform("origin", origin), "detection": conform("detection", detection)})
    return found


def metrics(pred: Event, truth: Event, cfg: config.Detect) -> dict[str, tuple[float, float]]:
    """Return figures of one event as (numerator, denominator).

    `accuracy` is of the voxels that are not background, `iou_...` the intersection over union of voxels of each
    origin; `boxes_found` and `boxes_right` are the shares of true boxes with one of score 0.5 and IoU 0.5, and
    the reverse.
    """
    wanted, label = origins(truth), pred["origin"]["label"]
    real = wanted > Origin.BACKGROUND
    found = {"accuracy": (float((label == wanted)[real].sum()), float(real.sum()))}
    for kind in Origin:
        one, other = wanted == kind, (label == kind) & (wanted != NONE)
        found[f"iou_{kind.name.lower()}"] = (float((one & other).sum()), float((one | other).sum()))
    low, high, _ = neutrino_boxes(truth, cfg.min_voxels)
    kept = pred["detection"]["score"] >= METRIC_SCORE
    ours = (pred["detection"][name][kept].astype(np.float64) for name in ("low", "high"))
    right = overlaps(*map(torch.from_numpy, (*ours, low, high))).numpy() >= RIGHT_OVERLAP
    found["boxes_found"] = (float(right.any(0).sum()), float(len(low)))
    found["boxes_right"] = (float(right.any(1).sum()), float(kept.sum()))
    return found


def _true_boxes(batch: list[Event], cfg: config.Detect, device: torch.device) -> _True:
    """Return the true boxes of a batch."""
    parts = [neutrino_boxes(event, cfg.min_voxels) for event in batch]
    event = np.repeat(np.arange(len(batch)), [len(low) for low, _, _ in parts])
    rest = [np.concatenate([part[column] for part in parts])[:, : cfg.dimension] for column in range(3)]
    return _True(
        torch.from_numpy(event).to(device),
        *(torch.from_numpy(values.astype(np.float32)).to(device) for values in rest),
    )


def _as_boxes(true: _True) -> Boxes:
    """Return the true boxes as boxes to be looked into: what is right is learned while no proposal is."""
    return Boxes(true.event_T, true.low_TD, true.high_TD, true.vertex_TD, torch.zeros_like(true.low_TD[:, 0]))


def _in_3d(values_RD: Tensor, fill: float) -> NDArray[np.float32]:
    """Return positions with three coordinates: flat images are one layer thick."""
    padded = functional.pad(values_RD, (0, 3 - values_RD.shape[1]), value=fill)
    return np.asarray(padded.cpu().numpy(), np.float32)
