"""Voxel classes and raw point proposals: a sparse U-ResNet with a PPN on its decoder.

Tensor suffixes: V voxels, C channels, K classes, P points, D dimensions, B events.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

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
from lartpc.nets.losses import ghost_term, semantic_terms
from lartpc.nets.uncertainty import mean_and_disagreement, mean_and_vacuity
from lartpc.nets.unet import UResNet
from lartpc.sparse import Lattice
from lartpc.vocab import GHOST, Semantic

ENERGY_SCALE_MEV = 0.1
"""Energies well above it enter logarithmically, below it linearly."""

ENERGY_FULL_MEV = 10.0
"""Energy of a voxel that enters as 1; a minimum-ionising track leaves some 0.6 MeV in 3 mm."""

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
        self.ghost = nn.Linear(cfg.unet.filters, 1) if cfg.heads.ghost else None

    def forward(
        self, coord_VD1: Tensor, energy_V: Tensor, batch_size: int, num_cells: int
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
        """
        lattice = Lattice(coord_VD1, batch_size, (num_cells,) * (coord_VD1.shape[1] - 1))
        decoded = self.unet(_features(energy_V), lattice)
        ghost_V = None if self.ghost is None else self.ghost(decoded[0])[:, 0]
        return self.classes(decoded[0]), self.ppn(decoded, lattice), lattice, ghost_V

    def sample(self, energy_V: Tensor, lattice: Lattice, num_passes: int) -> Iterator[Tensor]:
        """Yield the scores (V, K) of thinned networks: passes with features dropped."""
        feat_VC = _features(energy_V)
        for number in range(num_passes):
            with sampled(self, number):
                yield torch.softmax(self.classes(self.unet(feat_VC, lattice)[0]), 1)


def _features(energy_V: Tensor) -> Tensor:
    """Return the features (V, 2) that the network sees of energies [MeV]."""
    scaled_V = torch.log1p(energy_V.clamp(min=0) / ENERGY_SCALE_MEV)
    scaled_V = scaled_V / math.log1p(ENERGY_FULL_MEV / ENERGY_SCALE_MEV)
    # The constant tells an occupied voxel of little energy from an empty one.
    return torch.stack([scaled_V, torch.ones_like(scaled_V)], 1)


def network(cfg: config.Segment) -> nn.Module:
    """Build the network with fresh weights."""
    return Segmenter(cfg)


def bytes_per_voxel(cfg: config.Segment) -> float:
    """Return the memory [B] that inference takes for each voxel of a batch on a CPU.

    Measured with 16 filters: 1,400 to 2,320 (`benchmarks/large_event.py`). Kernel maps take some 300 of it,
    and the rest are features.
    """
    return 300 + 130 * cfg.unet.filters


def loss(net: nn.Module, batch: list[Event], cfg: config.Segment) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each term of the loss as its sum and the count that it is to be divided by.

    `semantic` is that of the voxel classes, see `losses.semantic_terms`; the `point_...` terms are per
    event, see `ppn.losses`, and carry `cfg.ppn.loss_weight` in their sums. `ghost` is there with
    `cfg.heads.ghost`, see `losses.ghost_term`; ghosts have no class and do not enter `semantic`.
    """
    device = next(net.parameters()).device
    logit_VK, proposals, lattice, ghost_V = net(*_inputs(batch, device, cfg.dimension))
    label_V = _tensor([event["truth_voxel"]["semantic"] for event in batch], device).long()
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
        terms["ghost"] = ghost_term(ghost_V, label_V)
    targets = ppn.stack([_targets(event, cfg) for event in batch], device)
    for name, (total, count) in ppn.losses(proposals, targets, lattice).items():
        terms[name] = (total * cfg.ppn.loss_weight, count)
    return terms


@torch.inference_mode()
def infer(net: Segmenter, batch: list[Event], cfg: config.Segment) -> list[dict[str, Columns]]:
    """Return the products `semantic` and `proposal` of each event.

    A voxel whose ghost score reaches its threshold has the label GHOST and proposes nothing.
    """
    device = next(net.parameters()).device
    inputs = _inputs(batch, device, cfg.dimension)
    logit_VK, proposals, lattice, ghost_V = net(*inputs)
    label_V = logit_VK.argmax(1)
    if cfg.infer.num_passes:
        score_VK, unsure_V = mean_and_disagreement(net.sample(inputs[1], lattice, cfg.infer.num_passes))
        label_V = score_VK.argmax(1)
    elif cfg.heads.evidential:
        score_VK, unsure_V = mean_and_vacuity(logit_VK)
    else:
        score_VK, unsure_V = torch.softmax(logit_VK, 1), torch.full_like(logit_VK[:, 0], math.nan)
    if ghost_V is None:
        ghost_score_V = torch.full_like(unsure_V, math.nan)
    else:
        ghost_score_V = torch.sigmoid(ghost_V)
        label_V = torch.where(ghost_score_V >= cfg.infer.ghost_threshold, GHOST, label_V)
    score_V = torch.sigmoid(proposals.masks[0])
    keep_V = (score_V >= cfg.infer.proposal_floor) & (label_V != GHOST)
    keep_V &= ppn.passes_masks(proposals, lattice, cfg.ppn.mask_threshold)
    coord_VD1 = lattice.coord_VD1[keep_V]
    position_PD = (coord_VD1[:, 1:] + 0.5 + proposals.offset_VD[keep_V]).clamp(0, lattice.shape[0])
    # Flat images are one layer thick, and everything is in its middle.
    position_PD = functional.pad(position_PD, (0, 3 - cfg.dimension), value=0.5)
    semantic = {
        "score": score_VK,
        "label": label_V,
        "uncertainty": unsure_V,
        "ghost_score": ghost_score_V,
    }
    proposal = {
        "position": position_PD,
        "score": score_V[keep_V],
        "class_score": torch.softmax(proposals.class_VK[keep_V], 1),
        "end_score": torch.sigmoid(proposals.end_V[keep_V]),
    }
    num_proposals = torch.bincount(coord_VD1[:, 0], minlength=len(batch)).tolist()
    semantics = _split("semantic", semantic, [event.num_voxels for event in batch])
    return [
        {"semantic": ours, "proposal": theirs}
        for ours, theirs in zip(semantics, _split("proposal", proposal, num_proposals), strict=True)
    ]


def metrics(pred: Event, truth: Event) -> dict[str, tuple[float, float]]:
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
    from scipy.spatial import cKDTree  # here, so that inference starts without scipy

    if not len(of) or not len(to):
        return 0.0
    return float((cKDTree(to).query(of)[0] < METRIC_DISTANCE).sum())


def _tensor(columns: list[NDArray[Any]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(columns)).to(device)


def _inputs(batch: list[Event], device: torch.device, dimension: int) -> tuple[Tensor, Tensor, int, int]:
    """Put the voxels of a batch one after another, with the number of their event in front."""
    if other := {event.box.dimension for event in batch} - {dimension}:
        raise ValueError(
            f"segment.dimension is {dimension}, and these images have {other.pop()} dimensions; set it to that"
        )
    sizes = {event.box.num_voxels for event in batch}
    if len(sizes) != 1:
        raise ValueError(f"the events of a batch must have one box size, got {sorted(sizes)} voxels per side")
    coord_VD = np.concatenate([event["voxel"]["coord"][:, :dimension] for event in batch])
    event_V = np.repeat(np.arange(len(batch)), [event.num_voxels for event in batch])
    coord_VD1 = np.concatenate([event_V[:, None], coord_VD], 1)
    energy_V = _tensor([event["voxel"]["energy"] for event in batch], device)
    return torch.from_numpy(coord_VD1).to(device), energy_V, len(batch), sizes.pop()


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
