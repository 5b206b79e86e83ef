"""Voxel classes and raw point proposals: a sparse U-ResNet with a PPN on its decoder.

Tensor suffixes: V voxels, C channels, K classes, P points, D dimensions, N views of the same image.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lartpc import config
from lartpc.event import Columns, Event, conform
from lartpc.nets import ppn
from lartpc.nets.border import at_border
from lartpc.nets.dropout import sampled
from lartpc.nets.energies import ENERGY_FULL_MEV, ENERGY_SCALE_MEV, energy_features
from lartpc.nets.inputs import column_of, stack
from lartpc.nets.losses import ghost_term, semantic_terms
from lartpc.nets.plane_hits import PlaneHits, Rivals, Seen, seen_by_planes
from lartpc.nets.portable import PortableSegmenter
from lartpc.nets.rowwise import whole
from lartpc.nets.symmetry import reflect, reflections, signs
from lartpc.nets.uncertainty import mean_and_disagreement, mean_and_vacuity
from lartpc.nets.unet import UResNet, memory_per_voxel
from lartpc.sparse import Lattice
from lartpc.truth import is_far_ghost
from lartpc.vocab import GHOST, NONE, Semantic

METRIC_DISTANCE = 3.0
"""Distance within which a proposal and a true point count as the same during training [voxel]."""

METRIC_SCORE = 0.5
"""Score from which a proposal counts during training."""


class Segmenter(nn.Module):
    """U-ResNet with a class per voxel, and the PPN."""

    def __init__(self, cfg: config.Segment) -> None:
        super().__init__()
        self.dimension = cfg.dimension
        self.unet = UResNet(cfg.unet, 2, cfg.dimension, cfg.backend, cfg.heads.dropout)
        self.classes = nn.Linear(cfg.unet.filters, len(Semantic))
        self.ppn = ppn.Ppn(cfg.unet, cfg.dimension, backend=cfg.backend)
        self.ghost: nn.Linear | Rivals | None = None
        if cfg.heads.ghost:
            rivals = cfg.plane_hits
            self.ghost = (
                Rivals(cfg.unet.filters, cfg.unet.leakiness) if rivals else nn.Linear(cfg.unet.filters, 1)
            )
        self.hits = PlaneHits(cfg.unet.filters, cfg.unet.leakiness) if cfg.plane_hits else None

    def forward(
        self,
        coord_VD1: Tensor,
        energy_V: Tensor,
        batch_size: int,
        num_cells: int,
        seen: Seen | None = None,
    ) -> tuple[Tensor, ppn.Proposals, Lattice, Tensor | None]:
        """Return class logits (V, K), proposals, the lattice of the batch, and logits of ghosts (V,), if any.

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
        seen
            What the planes see of the voxels, for a network that takes it (`plane_hits`).
        """
        lattice = Lattice(coord_VD1, batch_size, (num_cells,) * (coord_VD1.shape[1] - 1))
        decoded = self.unet(energy_features(energy_V), lattice, self._added(seen))
        return self.classes(decoded[0]), self.ppn(decoded, lattice), lattice, self._ghosts(decoded[0], seen)

    def _ghosts(self, feat_VC: Tensor, seen: Seen | None) -> Tensor | None:
        if isinstance(self.ghost, Rivals):
            assert seen is not None, "a network that takes hits of planes"
            return cast(Tensor, self.ghost(feat_VC, seen.hit_VP))
        return None if self.ghost is None else cast(Tensor, self.ghost(feat_VC)[:, 0])

    def sample(
        self, energy_V: Tensor, lattice: Lattice, num_passes: int, seen: Seen | None = None
    ) -> Iterator[Tensor]:
        """Yield the scores (V, K) of thinned networks: passes with features dropped."""
        feat_VC, added_VC = energy_features(energy_V), self._added(seen)
        for number in range(num_passes):
            with sampled(self, number):
                yield torch.softmax(self.classes(self.unet(feat_VC, lattice, added_VC)[0]), 1)

    def _added(self, seen: Seen | None) -> Tensor | None:
        return None if self.hits is None or seen is None else cast(Tensor, self.hits(seen.feat_VC))


def network(cfg: config.Segment) -> nn.Module:
    """Build the network with fresh weights."""
    return Segmenter(cfg)


def portable(net: nn.Module, cfg: config.Segment, *, by_gathers: bool) -> PortableSegmenter:
    """Return the network in plain tensor operations; `by_gathers`: without a search in sorted keys."""
    assert isinstance(net, Segmenter)
    if net.hits is not None or isinstance(net.ghost, Rivals):
        raise ValueError(
            "a network that sees the hits of planes (segment.plane_hits) cannot be exported as a program"
        )
    return PortableSegmenter(
        net.unet,
        net.ppn,
        net.classes,
        net.ghost,
        dimension=cfg.dimension,
        mask_threshold=cfg.ppn.mask_threshold,
        evidential=cfg.heads.evidential,
        scale_mev=ENERGY_SCALE_MEV,
        full_mev=ENERGY_FULL_MEV,
        by_gathers=by_gathers,
    ).eval()


def bytes_per_voxel(cfg: config.Segment) -> float:
    """Return the memory [B] that inference takes for each voxel of a batch on a CPU."""
    return memory_per_voxel(cfg.unet)


def loss(net: nn.Module, batch: list[Event], cfg: config.Segment) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each term of the loss as its sum and the count that it is to be divided by.

    `semantic` is that of the voxel classes, see `losses.semantic_terms`; the `point_...` terms are per
    event, see `ppn.losses`, and carry `cfg.ppn.loss_weight` in their sums. `ghost` is there with
    `cfg.heads.ghost`, see `losses.ghost_term`; ghosts have no class and do not enter `semantic`.
    """
    device = next(net.parameters()).device
    logit_VK, proposals, lattice, ghost_V = net(*_inputs(batch, device, cfg))
    label_V = column_of([event["truth_voxel"]["semantic"] for event in batch], device).long()
    known_V = label_V >= 0
    event_V = lattice.coord_VD1[:, 0]
    border_V = at_border(label_V, lattice)[known_V] if cfg.train.loss == "border" else None
    terms = semantic_terms(
        logit_VK[known_V],
        label_V[known_V],
        event_V[known_V],
        len(batch),
        cfg.train,
        border_V,
        evidential=cfg.heads.evidential,
    )
    if ghost_V is not None:
        asked_V = label_V
        if cfg.train.only_far_ghosts:
            far_V = column_of([is_far_ghost(event) for event in batch], device)
            asked_V = torch.where((label_V == GHOST) & ~far_V, NONE, label_V)
        terms["ghost"] = ghost_term(ghost_V, asked_V)
    targets = ppn.stack([_targets(event, cfg) for event in batch], device)
    for name, (total, count) in ppn.losses(proposals, targets, lattice).items():
        terms[name] = (total * cfg.ppn.loss_weight, count)
    return terms


Inputs = tuple[Tensor, Tensor, int, int, Seen | None]
"""What the network takes (`Segmenter.forward`)."""


def _inputs(batch: list[Event], device: torch.device, cfg: config.Segment) -> Inputs:
    coord_VD1, energy_V, batch_size, num_cells = stack(batch, device, cfg.dimension, "segment")
    seen = seen_by_planes(batch, coord_VD1, energy_V) if cfg.plane_hits else None
    return coord_VD1, energy_V, batch_size, num_cells, seen


@dataclass
class Said:
    """What the network says of each voxel: class, uncertainty and ghosts, and of the point that it proposes.

    `point_V` is the score of the point, 0 where a coarser level does not look; nan where the network says nothing.
    """

    label_V: Tensor
    score_VK: Tensor
    unsure_V: Tensor
    ghost_V: Tensor
    point_V: Tensor
    offset_VD: Tensor
    class_VK: Tensor
    end_V: Tensor


@torch.inference_mode()
def infer(net: Segmenter, batch: list[Event], cfg: config.Segment) -> list[dict[str, Columns]]:
    """Return the products `semantic` and `proposal` of each event.

    A voxel whose ghost score reaches its threshold has the label GHOST and proposes nothing. With `infer.symmetries`
    scores are means over reflections of the image, and offsets are weighted by the scores of the points.
    """
    inputs = _inputs(batch, next(net.parameters()).device, cfg)
    said = _mean([_say(net, inputs, cfg, axes) for axes in reflections(cfg.infer.symmetries, cfg.dimension)])
    # where there are no ghosts the score is nan, and nothing is one
    label_V = torch.where(said.ghost_V >= cfg.infer.ghost_threshold, GHOST, said.label_V)
    keep_V = (said.point_V >= cfg.infer.proposal_floor) & (said.point_V > 0) & (label_V != GHOST)
    coord_VD1, num_cells = inputs[0][keep_V], inputs[3]
    position_PD = (coord_VD1[:, 1:] + 0.5 + said.offset_VD[keep_V]).clamp(0, num_cells)
    # Flat images are one layer thick, and everything is in its middle.
    position_PD = functional.pad(position_PD, (0, 3 - cfg.dimension), value=0.5)
    semantic = {
        "score": said.score_VK,
        "label": label_V,
        "uncertainty": said.unsure_V,
        "ghost_score": said.ghost_V,
    }
    proposal = {
        "position": position_PD,
        "score": said.point_V[keep_V],
        "class_score": said.class_VK[keep_V],
        "end_score": said.end_V[keep_V],
    }
    num_proposals = torch.bincount(coord_VD1[:, 0], minlength=len(batch)).tolist()
    semantics = _split("semantic", semantic, [event.num_voxels for event in batch])
    return [
        {"semantic": ours, "proposal": theirs}
        for ours, theirs in zip(semantics, _split("proposal", proposal, num_proposals), strict=True)
    ]


def _say(net: Segmenter, inputs: Inputs, cfg: config.Segment, axes: tuple[bool, ...]) -> Said:
    """Return what the network says of the voxels of a batch, seen with some axes turned round."""
    coord_VD1, energy_V, batch_size, num_cells, seen = inputs
    order_V = None
    if any(axes):
        coord_VD1, order_V = reflect(coord_VD1, axes, num_cells)
        energy_V = energy_V[order_V]
        seen = seen.rows(order_V) if seen else None
    logit_VK, proposals, lattice, ghost_V = net(coord_VD1, energy_V, batch_size, num_cells, seen)
    label_V = logit_VK.argmax(1)
    if cfg.infer.num_passes:
        score_VK, unsure_V = mean_and_disagreement(net.sample(energy_V, lattice, cfg.infer.num_passes, seen))
        label_V = score_VK.argmax(1)
    elif cfg.heads.evidential:
        score_VK, unsure_V = mean_and_vacuity(logit_VK)
    else:
        score_VK, unsure_V = torch.softmax(logit_VK, 1), torch.full_like(logit_VK[:, 0], math.nan)
    looks_V = ppn.passes_masks(proposals, lattice, cfg.ppn.mask_threshold)
    said = Said(
        label_V,
        score_VK,
        unsure_V,
        torch.full_like(unsure_V, math.nan) if ghost_V is None else whole(torch.sigmoid, ghost_V),
        whole(torch.sigmoid, proposals.masks[0]) * looks_V,
        proposals.offset_VD,
        torch.softmax(proposals.class_VK, 1),
        whole(torch.sigmoid, proposals.end_V),
    )
    if order_V is None:
        return said
    back_V = torch.argsort(order_V)
    turned = {name: value[back_V] for name, value in vars(said).items()}
    return Said(**turned | {"offset_VD": turned["offset_VD"] * signs(axes, said.offset_VD)})


def _mean(views: list[Said]) -> Said:
    """Return the mean of what was said of the same voxels, of points weighted by their scores."""
    if len(views) == 1:
        return views[0]
    weight_NV = torch.stack([view.point_V for view in views])
    weight_NV = weight_NV / weight_NV.sum(0).clamp(min=torch.finfo(weight_NV.dtype).tiny)

    def mean(name: str) -> Tensor:
        values = torch.stack([getattr(view, name) for view in views])
        if name not in ("offset_VD", "class_VK", "end_V"):
            return values.mean(0)
        weight = weight_NV if values.ndim == 2 else weight_NV[..., None]
        return (weight * values).sum(0)

    score_VK = mean("score_VK")
    others = {
        field.name: mean(field.name) for field in fields(Said) if field.name not in ("label_V", "score_VK")
    }
    return Said(score_VK.argmax(1), score_VK, **others)


def metrics(pred: Event, truth: Event, cfg: config.Segment) -> dict[str, tuple[float, float]]:
    """Return figures of one event as numerator and denominator, to be summed over events.

    `accuracy` and `recall_<class>` are over voxels; `points_found` is the share of true points with a
    proposal of score 0.5 within 3 voxels, `proposals_right` the reverse share. Where there are ghosts,
    `ghosts_removed` and `real_kept` are the shares of voxels that are rightly called so.
    """
    label, wanted = pred["semantic"]["label"], truth["truth_voxel"]["semantic"]
    right = (label == wanted) & (wanted >= 0)
    found = {"accuracy": (float(right.sum()), float((wanted >= 0).sum()))}
    for kind in Semantic:
        of_kind = wanted == kind
        found[f"recall_{kind.name.lower()}"] = (float(right[of_kind].sum()), float(of_kind.sum()))
    if (wanted == GHOST).any():
        called = label == GHOST
        found["ghosts_removed"] = (float(called[wanted == GHOST].sum()), float((wanted == GHOST).sum()))
        found["real_kept"] = (float((~called)[wanted >= 0].sum()), float((wanted >= 0).sum()))
    points = truth["truth_point"]["position"][_is_target(truth)]
    proposals = pred["proposal"]["position"][pred["proposal"]["score"] >= METRIC_SCORE]
    found["points_found"] = (_num_near(points, proposals), float(len(points)))
    found["proposals_right"] = (_num_near(proposals, points), float(len(proposals)))
    return found


def _num_near(of: NDArray[Any], to: NDArray[Any]) -> float:
    """Count the points (N, 3) that have one of the others within METRIC_DISTANCE."""
    from lartpc.lean import cKDTree  # here, so that inference starts without scipy

    if not len(of) or not len(to):
        return 0.0
    return float((cKDTree(to).query(of)[0] < METRIC_DISTANCE).sum())


def _is_target(event: Event) -> NDArray[np.bool_]:
    """Tell which true points (P,) the network should find: none of small or low-energy particles."""
    point = event["truth_point"]
    target: NDArray[np.bool_] = (point["semantic"] >= 0) & (point["semantic"] != Semantic.LOW_ENERGY)
    if "truth_particle" in event:
        size = np.append(event["truth_particle"]["num_voxels"], ppn.MIN_VOXELS)
        target &= size[point["particle"]] >= ppn.MIN_VOXELS
    return target


def _targets(event: Event, cfg: config.Segment) -> ppn.Targets:
    target = _is_target(event)
    point = {name: value[target] for name, value in event["truth_point"].items()}
    found = ppn.assign(
        event["voxel"]["coord"],
        event["truth_voxel"]["particle"],
        point["position"],
        point["semantic"],
        point["kind"],
        point["particle"],
        cfg.ppn.radius,
    )
    return replace(found, offset_VD=found.offset_VD[:, : cfg.dimension])


def _split(product: str, columns: dict[str, Tensor], sizes: list[int]) -> list[Columns]:
    """Cut the columns of a batch into those of its events."""
    bounds = np.cumsum(sizes)[:-1]
    pieces = {name: np.split(value.cpu().numpy(), bounds) for name, value in columns.items()}
    return [
        conform(product, {name: piece[index] for name, piece in pieces.items()})
        for index in range(len(sizes))
    ]
