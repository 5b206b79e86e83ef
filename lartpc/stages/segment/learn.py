"""Training of `segment`: its network and its losses, and the network in inference by torch.

Tensor suffixes: V voxels, C channels, K classes, P points, D dimensions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc import config
from lartpc.event import Event
from lartpc.images import ENERGY_FULL_MEV, ENERGY_SCALE_MEV, Answer, Images
from lartpc.images import stack as stack_images
from lartpc.nets import ppn
from lartpc.nets.affinity import Affinities, affinity_term
from lartpc.nets.border import at_border
from lartpc.nets.dropout import sampled
from lartpc.nets.energies import energy_features
from lartpc.nets.inputs import as_tensors, column_of, stack
from lartpc.nets.losses import ghost_term, semantic_terms
from lartpc.nets.plane_hits import PlaneHits, Rivals, Seen, seen_by_planes
from lartpc.nets.portable import PortableSegmenter
from lartpc.nets.uncertainty import mean_and_disagreement
from lartpc.nets.unet import UResNet, levels
from lartpc.sparse import Lattice
from lartpc.stages.segment import is_target
from lartpc.truth import adopted
from lartpc.vocab import GHOST, NONE, Semantic


class Segmenter(nn.Module):
    """U-ResNet with a class per voxel, affinities of neighbours, and the PPN."""

    def __init__(self, cfg: config.Segment) -> None:
        super().__init__()
        self.dimension, self._cfg = cfg.dimension, cfg
        self.unet = UResNet(cfg.unet, 2, cfg.dimension, cfg.backend, cfg.heads.dropout)
        self.classes = nn.Linear(cfg.unet.filters, len(Semantic))
        self.ppn = ppn.Ppn(cfg.unet, cfg.dimension, backend=cfg.backend)
        self.ghost: nn.Linear | Rivals | None = None
        if cfg.heads.ghost:
            rivals = cfg.plane_hits
            self.ghost = (
                Rivals(cfg.unet.filters, cfg.unet.leakiness) if rivals else nn.Linear(cfg.unet.filters, 1)
            )
        self.affinity = self._affinities() if cfg.train.affinity_weight and cfg.dimension == 3 else None
        self.hits = PlaneHits(cfg.unet.filters, cfg.unet.leakiness) if cfg.plane_hits else None

    def _affinities(self) -> Affinities:
        return Affinities(self._cfg.unet, self._cfg.dimension, self._cfg.backend)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take over a state; the head of affinities is there if one that is to be whole (`strict`) has it."""
        if strict and (has_head := "affinity.head.weight" in state_dict) != (self.affinity is not None):
            self.affinity = self._affinities() if has_head else None
        return super().load_state_dict(state_dict, strict, assign)

    def forward(
        self,
        coord_VD1: Tensor,
        energy_V: Tensor,
        batch_size: int,
        num_cells: int,
        seen: Seen | None = None,
    ) -> tuple[Tensor, ppn.Proposals, Lattice, Tensor | None, Tensor | None]:
        """Return class logits (V, K), proposals, the lattice of the batch, logits of ghosts (V,) and sides (V, 26).

        The last two are None where the network has no such heads.

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
        sides = None if self.affinity is None else self.affinity(decoded[0], lattice)
        ghosts = self._ghosts(decoded[0], seen)
        return self.classes(decoded[0]), self.ppn(decoded, lattice), lattice, ghosts, sides

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

    @torch.inference_mode()
    def answer(self, batch: Sequence[Event], images: Images, num_passes: int) -> Answer:
        """Return what the network says of the images of a batch, as arrays; `num_passes` as of `sample`."""
        device = next(self.parameters()).device
        coord_VD1, energy_V, num_images, num_cells = as_tensors(images, device)
        seen = self._see(batch, images, device)
        outputs = self(coord_VD1, energy_V, num_images, num_cells, seen)
        logit_VK, proposals, lattice, ghost_V, side_VS = outputs
        drawn = None
        if num_passes:
            drawn = mean_and_disagreement(self.sample(energy_V, lattice, num_passes, seen))
        return Answer(
            as_array(logit_VK),
            [as_array(mask) for mask in proposals.masks],
            [as_array(one.coarser.parent_V) for one in levels(lattice, len(proposals.masks))[:-1]],
            as_array(proposals.offset_VD),
            as_array(proposals.class_VK),
            as_array(proposals.end_V),
            None if ghost_V is None else as_array(ghost_V),
            None if side_VS is None else as_array(side_VS),
            (as_array(drawn[0]), as_array(drawn[1])) if drawn else None,
        )

    def _see(self, batch: Sequence[Event], images: Images, device: torch.device) -> Seen | None:
        """Return what the planes see of the voxels of images, where the network takes it."""
        if self.hits is None:
            return None
        own = images if images.order_V is None else stack_images(batch, self.dimension, "segment")
        coord_VD1, energy_V, _, _ = as_tensors(own, device)
        seen = seen_by_planes(batch, coord_VD1, energy_V)
        return seen if images.order_V is None else seen.rows(torch.from_numpy(images.order_V).to(device))

    def _added(self, seen: Seen | None) -> Tensor | None:
        return None if self.hits is None or seen is None else cast(Tensor, self.hits(seen.feat_VC))


def as_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor of any device as an array."""
    found: NDArray[Any] = tensor.cpu().numpy()
    return found


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


def loss(net: nn.Module, batch: list[Event], cfg: config.Segment) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each term of the loss as its sum and the count that it is to be divided by.

    `semantic` is that of the voxel classes, see `losses.semantic_terms`; the `point_...` terms are per
    event, see `ppn.losses`, and carry `cfg.ppn.loss_weight` in their sums. `ghost` is there with
    `cfg.heads.ghost`, see `losses.ghost_term`; ghosts have no class and do not enter `semantic`. `affinity` is
    that of pairs of neighbours, see `affinity.affinity_term`, and carries `cfg.train.affinity_weight` in its sum.
    With `cfg.train.only_far_ghosts` the other ghosts are not asked for in `ghost`, and belong to what the real voxels
    beside them do in all other terms.
    """
    device = next(net.parameters()).device
    logit_VK, proposals, lattice, ghost_V, side_VS = net(*_inputs(batch, device, cfg))
    asked_V = label_V = _classes(batch, device)
    if cfg.train.only_far_ghosts:
        batch = [adopted(event) for event in batch]
        label_V = _classes(batch, device)
    border_V = at_border(label_V, lattice) if cfg.train.loss == "border" else None
    known_V, event_V, class_V = label_V >= 0, lattice.coord_VD1[:, 0], label_V
    if not known_V.all():
        logit_VK, class_V, event_V = logit_VK[known_V], label_V[known_V], event_V[known_V]
        border_V = None if border_V is None else border_V[known_V]
    terms = semantic_terms(
        logit_VK,
        class_V,
        event_V,
        len(batch),
        cfg.train,
        border_V,
        evidential=cfg.heads.evidential,
    )
    if ghost_V is not None:
        terms["ghost"] = ghost_term(
            ghost_V, torch.where((asked_V == GHOST) & (label_V != GHOST), NONE, asked_V)
        )
    if side_VS is not None:
        total, count = affinity_term(side_VS, batch)
        terms["affinity"] = (total * cfg.train.affinity_weight, count)
    targets = ppn.stack([_targets(event, cfg) for event in batch], device)
    for name, (total, count) in ppn.losses(proposals, targets, lattice, cfg.ppn.offset_scale).items():
        terms[name] = (total * cfg.ppn.loss_weight, count)
    return terms


def _inputs(
    batch: list[Event], device: torch.device, cfg: config.Segment
) -> tuple[Tensor, Tensor, int, int, Seen | None]:
    """Return what the network takes (`Segmenter.forward`)."""
    coord_VD1, energy_V, batch_size, num_cells = stack(batch, device, cfg.dimension, "segment")
    seen = seen_by_planes(batch, coord_VD1, energy_V) if cfg.plane_hits else None
    return coord_VD1, energy_V, batch_size, num_cells, seen


def _classes(batch: Sequence[Event], device: torch.device) -> Tensor:
    return column_of([event["truth_voxel"]["semantic"] for event in batch], device).long()


def _targets(event: Event, cfg: config.Segment) -> ppn.Targets:
    target = is_target(event)
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
