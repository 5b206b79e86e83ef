"""Losses of voxel classes, each as a sum and the count that it is to be divided by.

A sum over the voxels of several events, or over the events, is the sum of those of its events, so that a
training does not depend on which events share a batch or a rank.

Tensor suffixes: V voxels, K classes, B events, N (voxel, class) pairs.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from lartpc.config import SegmentTraining
from lartpc.nets.uncertainty import evidential_loss
from lartpc.sparse import fused, resolve
from lartpc.sparse.build import call
from lartpc.vocab import GHOST, NONE, Semantic

Terms = dict[str, tuple[Tensor, Tensor]]
"""Each term as its sum and the count that it is to be divided by."""


def semantic_terms(
    logit_VK: Tensor,
    label_V: Tensor,
    event_V: Tensor,
    num_events: int,
    cfg: SegmentTraining,
    border_V: Tensor | None = None,
    *,
    evidential: bool = False,
) -> Terms:
    """Return the terms of the loss of the voxel classes, as `cfg.loss` says.

    Parameters
    ----------
    logit_VK
        Logits of the classes.
    label_V
        True class, 0 to K - 1; voxels without one are left out before.
    event_V
        Event of each voxel in the batch.
    num_events
        Events in the batch; those without voxels count nowhere.
    border_V
        Whether a voxel is at a border between classes, for `border`; see `border.at_border`.
    evidential
        The logits are of evidence, and have the loss of `uncertainty.evidential_loss`.
    """
    if cfg.loss == "lovasz":
        return {"semantic": lovasz_softmax(logit_VK, label_V, event_V, num_events)}
    terms = {}
    if cfg.loss == "ce_lovasz":
        total, count = lovasz_softmax(logit_VK, label_V, event_V, num_events)
        terms["lovasz"] = (cfg.lovasz_share * total, count)
    if evidential:
        loss_V = evidential_loss(logit_VK, label_V)
    elif cfg.loss == "focal":
        loss_V = focal(logit_VK, label_V, cfg.focal_gamma)
    else:
        loss_V = functional.cross_entropy(logit_VK, label_V, reduction="none")
    weight_V = voxel_weights(label_V, event_V, num_events, cfg, border_V).to(loss_V.dtype)
    return {"semantic": ((weight_V * loss_V).sum(), weight_V.sum()), **terms}


def voxel_weights(
    label_V: Tensor,
    event_V: Tensor,
    num_events: int,
    cfg: SegmentTraining,
    border_V: Tensor | None = None,
) -> Tensor:
    """Return what each voxel weighs (V,): 1, by its class, or as the inverse of its class's number.

    `inverse` follows MicroBooNE's pixel weights (arXiv:1808.07269): a voxel weighs as the inverse of the
    number of voxels of its class in its event. They are scaled such that those of an event add up to 1,
    so that the classes that occur in it count alike, and so do events. With `border`, the voxels at a
    border are, as in the paper, a class of their own instead of being of theirs.
    """
    if cfg.loss == "weighted":
        return torch.tensor(cfg.class_weights, dtype=torch.float64, device=label_V.device)[label_V]
    if cfg.loss not in ("inverse", "border"):
        return torch.ones_like(label_V, dtype=torch.float64)
    num_classes = len(Semantic) + 1
    class_V = label_V if border_V is None else torch.where(border_V, len(Semantic), label_V)
    cell_V = event_V * num_classes + class_V
    count_BK = torch.bincount(cell_V, minlength=num_events * num_classes).view(num_events, num_classes)
    occurring_B = (count_BK > 0).sum(1)
    return 1 / (count_BK.flatten()[cell_V] * occurring_B[event_V]).double()


def focal(logit_VK: Tensor, label_V: Tensor, gamma: float) -> Tensor:
    """Return the focal loss of each voxel (V,): (1 - p)^γ times -log p of its true class (arXiv:1708.02002).

    With γ = 0 it is the cross entropy.
    """
    log_V = functional.log_softmax(logit_VK, 1).gather(1, label_V[:, None])[:, 0]
    # Clamped, as the gradient of a power below 1 is infinite at 0.
    doubt_V = (-torch.expm1(log_V)).clamp(min=1e-12)
    return -(doubt_V**gamma) * log_V


def lovasz_softmax(
    logit_VK: Tensor, label_V: Tensor, event_V: Tensor, num_events: int
) -> tuple[Tensor, Tensor]:
    """Return the sum over events of the Lovász-softmax loss (arXiv:1705.08790), and the number of events.

    In each event by itself: for each class that occurs, the Lovász extension of the Jaccard loss of its
    voxels' errors (equations 8 and 9 of the paper), then the mean over these classes. An event without
    voxels has no loss and is not counted.
    """
    probability_VK = torch.softmax(logit_VK, 1)
    num_with_voxels = (torch.bincount(event_V, minlength=num_events) > 0).sum().to(logit_VK.dtype)
    if fused.can_compute(probability_VK, probability_VK) and resolve("auto") == "fused":
        function: Any = _CompiledLovasz
        total = function.apply(probability_VK, label_V.contiguous(), event_V.contiguous(), num_events)
        return cast(Tensor, total), num_with_voxels
    return _lovasz(probability_VK, label_V, event_V, num_events), num_with_voxels


class _CompiledLovasz(torch.autograd.Function):
    """`_lovasz` by our compiled kernel, which finds the gradient with the loss."""

    @staticmethod
    def forward(
        ctx: Any, probability_VK: Tensor, label_V: Tensor, event_V: Tensor, num_events: int
    ) -> Tensor:
        loss_B = torch.empty(num_events, dtype=torch.float64)
        grad_VK = torch.zeros_like(probability_VK, memory_format=torch.contiguous_format)
        call(
            f"lovasz_{fused.SUFFIXES[probability_VK.dtype]}",
            *(probability_VK.contiguous(), label_V, event_V, loss_B, grad_VK, *grad_VK.shape, num_events),
            torch.get_num_threads(),
        )
        ctx.save_for_backward(grad_VK)
        return loss_B.sum().to(probability_VK.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (grad_VK,) = ctx.saved_tensors
        return grads[0] * grad_VK, None, None, None


def _lovasz(probability_VK: Tensor, label_V: Tensor, event_V: Tensor, num_events: int) -> Tensor:
    """Return the sum over events of the loss."""
    num_classes = probability_VK.shape[1]
    is_class_VK = label_V[:, None] == torch.arange(num_classes, device=label_V.device)
    error_VK = (is_class_VK.to(probability_VK.dtype) - probability_VK).abs()
    cell_VK = event_V[:, None] * num_classes + torch.arange(num_classes, device=label_V.device)
    num_cells = num_events * num_classes
    # Each class of each event is a run of rows, the largest error first.
    order_N = error_VK.detach().flatten().argsort(descending=True, stable=True)
    order_N = order_N[cell_VK.flatten()[order_N].argsort(stable=True)]
    cell_N, error_N = cell_VK.flatten()[order_N], error_VK.flatten()[order_N]
    is_class_N = is_class_VK.flatten()[order_N].long()
    size_C = torch.bincount(cell_N, minlength=num_cells)
    wanted_C = torch.bincount(cell_N[is_class_N > 0], minlength=num_cells)
    first_C = size_C.cumsum(0) - size_C
    rank_N = torch.arange(1, len(cell_N) + 1, device=cell_N.device) - first_C[cell_N]
    before_C = wanted_C.cumsum(0) - wanted_C
    found_N = is_class_N.cumsum(0) - before_C[cell_N]
    # Jaccard loss if this many of the largest errors were mistakes; all its parts are whole numbers.
    union_N = wanted_C[cell_N] + rank_N - found_N
    jaccard_N = 1 - (wanted_C[cell_N] - found_N).double() / union_N
    step_N = jaccard_N.diff(prepend=jaccard_N.new_zeros(1))
    step_N = torch.where(rank_N == 1, jaccard_N, step_N).to(error_N.dtype)
    occurs_BK = (wanted_C > 0).view(num_events, num_classes)
    classes_B = occurs_BK.sum(1)
    loss_C = error_N.new_zeros(num_cells).index_add(0, cell_N, error_N * step_N)
    loss_B = (loss_C.view(num_events, num_classes) * occurs_BK).sum(1) / classes_B.clamp(min=1)
    return loss_B.sum()


def ghost_term(logit_V: Tensor, label_V: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the cross entropies of ghost against real, and the number of voxels that are either.

    Parameters
    ----------
    logit_V
        Logit of being a ghost.
    label_V
        True class, GHOST, or NONE where it is not known.
    """
    known_V = label_V != NONE
    ghost_V = (label_V[known_V] == GHOST).to(logit_V.dtype)
    total = functional.binary_cross_entropy_with_logits(logit_V[known_V], ghost_V, reduction="sum")
    return total, known_V.sum().to(logit_V.dtype)
