"""Voxel classes and raw point proposals: a sparse U-ResNet with a PPN on its decoder.

Shape suffixes: V voxels, K classes, P points, D dimensions, N views of the same image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns, Event, conform
from lartpc.images import (
    Answer,
    CompiledSegmenter,
    Images,
    affinity_logits,
    arithmetic,
    has_gpu,
    has_kernel,
    passes_masks,
    reflect,
    reflections,
    signs,
    stack,
    turned_round,
)
from lartpc.scores import best_class, mean_and_vacuity, sigmoid, softmax
from lartpc.vocab import GHOST, Semantic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lartpc.nets.portable import PortableSegmenter

METRIC_DISTANCE = 3.0
"""Distance within which a proposal and a true point count as the same during training [voxel]."""

METRIC_SCORE = 0.5
"""Score from which a proposal counts during training."""

MIN_VOXELS = 5
"""Points of smaller particles are not targets, as in the PPN paper (arXiv:2006.14745)."""


class Network(Protocol):
    """The network in inference."""

    def answer(self, batch: Sequence[Event], images: Images, num_passes: int) -> Answer:
        """Return what it says of the images of a batch; `num_passes` of thinned networks besides."""


def network(cfg: config.Segment) -> "nn.Module":
    """Build the network with fresh weights."""
    from lartpc.stages.segment import learn

    return learn.Segmenter(cfg)


def compiled(cfg: config.Segment, state: Mapping[str, NDArray[Any]]) -> CompiledSegmenter | None:
    """Return the network with the weights of a state, for inference without torch, or None if that cannot be had.

    On GPUs it is of torch, and so are networks that see hits of planes, and thinned ones.
    """
    if cfg.backend not in ("auto", "fused") or cfg.plane_hits or cfg.infer.num_passes:
        return None
    if has_gpu() or not has_kernel():
        return None
    unit = arithmetic(cfg.infer.precision)
    return CompiledSegmenter(state, cfg.unet, cfg.dimension, has_ghosts=cfg.heads.ghost, unit=unit)


def portable(net: "nn.Module", cfg: config.Segment, *, by_gathers: bool) -> "PortableSegmenter":
    """Return the network in plain tensor operations; `by_gathers`: without a search in sorted keys."""
    from lartpc.stages.segment import learn

    return learn.portable(net, cfg, by_gathers=by_gathers)


def bytes_per_voxel(cfg: config.Segment) -> float:
    """Return the memory [B] that inference takes for each voxel of a batch on a CPU."""
    return cfg.unet.memory_per_voxel


def loss(net: "nn.Module", batch: list[Event], cfg: config.Segment) -> "dict[str, tuple[Tensor, Tensor]]":
    """Return each term of the loss as its sum and the count that it is to be divided by (`learn.loss`)."""
    from lartpc.stages.segment import learn

    return learn.loss(net, batch, cfg)


@dataclass
class Said:
    """What the network says of each voxel: scores of classes, uncertainty and ghosts, and the point that it proposes.

    `side_VS` is what it says of its neighbours (`lartpc.images.affinity`), without columns where it says nothing of
    them. `point_V` is the score of the point, 0 where a coarser level does not look. Numbers are nan where the network
    says nothing.
    """

    score_VK: NDArray[Any]
    unsure_V: NDArray[Any]
    ghost_V: NDArray[Any]
    point_V: NDArray[Any]
    offset_VD: NDArray[Any]
    class_VK: NDArray[Any]
    end_V: NDArray[Any]
    side_VS: NDArray[Any]


def infer(net: Network, batch: list[Event], cfg: config.Segment) -> list[dict[str, Columns]]:
    """Return the products `semantic`, `proposal` and `affinity` of each event.

    A voxel has the label of the class whose score times its weight (`infer.label_weights`) is the largest. One whose
    ghost score reaches its threshold has the label GHOST and proposes nothing. With `infer.symmetries`
    scores are means over reflections of the image, and offsets are weighted by the scores of the points.
    """
    images = stack(batch, cfg.dimension, "segment")
    views = reflections(cfg.infer.symmetries, cfg.dimension)
    said = _mean([_say(net, batch, images, cfg, axes) for axes in views])
    # where there are no ghosts the score is nan, and nothing is one
    class_V = best_class(said.score_VK, cfg.infer.label_weights)
    label_V = np.where(said.ghost_V >= cfg.infer.ghost_threshold, GHOST, class_V)
    keep_V = (said.point_V >= cfg.infer.proposal_floor) & (said.point_V > 0) & (label_V != GHOST)
    coord_VD1 = images.coord_VD1[keep_V]
    position_PD = coord_VD1[:, 1:].astype(np.float32) + np.float32(0.5) + said.offset_VD[keep_V]
    # Flat images are one layer thick, and everything is in its middle.
    position_P3 = np.full((len(position_PD), 3), 0.5, np.float32)
    position_P3[:, : cfg.dimension] = position_PD.clip(0, images.num_cells)
    semantic = {
        "score": said.score_VK,
        "label": label_V,
        "uncertainty": said.unsure_V,
        "ghost_score": said.ghost_V,
    }
    proposal = {
        "position": position_P3,
        "score": said.point_V[keep_V],
        "class_score": said.class_VK[keep_V],
        "end_score": said.end_V[keep_V],
    }
    num_proposals = np.bincount(coord_VD1[:, 0], minlength=len(batch)).tolist()
    num_voxels = [event.num_voxels for event in batch]
    semantics, bounds = _split("semantic", semantic, num_voxels), np.cumsum(num_voxels)[:-1]
    sides = zip(batch, np.split(said.side_VS, bounds), np.split(label_V, bounds), strict=True)
    affinities = [{"logit": affinity_logits(side_VS, event, own_V)} for event, side_VS, own_V in sides]
    proposals = _split("proposal", proposal, num_proposals)
    return [
        {"semantic": ours, "proposal": theirs, "affinity": affinity}
        for ours, theirs, affinity in zip(semantics, proposals, affinities, strict=True)
    ]


def _say(
    net: Network, batch: list[Event], images: Images, cfg: config.Segment, axes: tuple[bool, ...]
) -> Said:
    """Return what the network says of the voxels of a batch, seen with some axes turned round."""
    if any(axes):
        images = reflect(images, axes)
    answer = net.answer(batch, images, cfg.infer.num_passes)
    if answer.sampled:
        score_VK, unsure_V = answer.sampled
    elif cfg.heads.evidential:
        score_VK, unsure_V = mean_and_vacuity(answer.logit_VK)
    else:
        score_VK = softmax(answer.logit_VK)
        unsure_V = np.full(len(score_VK), np.nan, score_VK.dtype)
    said = Said(
        score_VK,
        unsure_V,
        np.full_like(unsure_V, np.nan) if answer.ghost_V is None else sigmoid(answer.ghost_V),
        sigmoid(answer.masks[0]) * passes_masks(answer.masks, answer.parents, cfg.ppn.mask_threshold),
        answer.offset_VD,
        softmax(answer.class_VK),
        sigmoid(answer.end_V),
        np.zeros((len(score_VK), 0), np.float32) if answer.side_VS is None else answer.side_VS,
    )
    if images.order_V is None:
        return said
    back_V = np.argsort(images.order_V)
    turned = {name: value[back_V] for name, value in vars(said).items()}
    offset_VD, side_VS = turned["offset_VD"] * signs(axes), turned_round(turned["side_VS"], axes)
    return Said(**turned | {"offset_VD": offset_VD, "side_VS": side_VS})


def _mean(views: list[Said]) -> Said:
    """Return the mean of what was said of the same voxels, of points weighted by their scores."""
    if len(views) == 1:
        return views[0]
    weight_NV = np.stack([view.point_V for view in views])
    weight_NV = weight_NV / np.maximum(weight_NV.sum(0), np.finfo(weight_NV.dtype).tiny)

    def mean(name: str) -> NDArray[Any]:
        values = np.stack([getattr(view, name) for view in views])
        if name not in ("offset_VD", "class_VK", "end_V"):
            values = values / len(views)
        else:
            values = values * (weight_NV if values.ndim == 2 else weight_NV[..., None])
        total: NDArray[Any] = values.sum(0)
        return total

    return Said(**{field.name: mean(field.name) for field in fields(Said)})


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
    points = truth["truth_point"]["position"][is_target(truth)]
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


def is_target(event: Event) -> NDArray[np.bool_]:
    """Tell which true points (P,) the network should find: none of small or low-energy particles."""
    point = event["truth_point"]
    target: NDArray[np.bool_] = (point["semantic"] >= 0) & (point["semantic"] != Semantic.LOW_ENERGY)
    if "truth_particle" in event:
        size = np.append(event["truth_particle"]["num_voxels"], MIN_VOXELS)
        target &= size[point["particle"]] >= MIN_VOXELS
    return target


def _split(product: str, columns: Columns, sizes: list[int]) -> list[Columns]:
    """Cut the columns of a batch into those of its events."""
    bounds = np.cumsum(sizes)[:-1]
    pieces = {name: np.split(value, bounds) for name, value in columns.items()}
    return [
        conform(product, {name: piece[index] for name, piece in pieces.items()})
        for index in range(len(sizes))
    ]
