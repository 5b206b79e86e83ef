"""Batch normalisation over voxels, alone and with LeakyReLU.

Tensor suffixes: V voxels (rows of a lattice), C channels, S statistics.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc.sparse import fused
from lartpc.sparse.convolution import Backend, resolve


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over voxels (V, C); fewer than two rows use the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features (V, C)."""
        if self.training and len(input) < 2:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class NormActivation(nn.Module):
    """Batch normalisation and LeakyReLU of features (V, C), by the compiled kernel where that is in use."""

    def __init__(
        self, num_channels: int, leakiness: float, eps: float, momentum: float, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        self.norm: nn.BatchNorm1d = BatchNorm(num_channels, eps=eps, momentum=momentum)
        self.leakiness = leakiness
        self.backend = backend

    def forward(self, feat_VC: Tensor) -> Tensor:
        """Normalise and activate."""
        norm = self.norm
        train = takes_statistics(self, feat_VC)
        if (
            isinstance(norm, BatchNorm)
            and (train or not torch.is_grad_enabled())
            and fused.can_compute(feat_VC, norm.weight)
            and resolve(self.backend) == "fused"
        ):
            if not train:
                return fused.normalise_by_running(feat_VC.contiguous(), norm, self.leakiness)
            function: Any = _NormActivation
            return cast(
                Tensor, function.apply(feat_VC.contiguous(), norm.weight, norm.bias, norm, self.leakiness)
            )
        # In place is safe: the gradient of the norm needs its input only.
        return functional.leaky_relu(norm(feat_VC), self.leakiness, inplace=True)


def takes_statistics(act: NormActivation, feat_VC: Tensor) -> bool:
    """Tell whether features are normalised by their own statistics, and by no norm that others put in its place."""
    return isinstance(act.norm, BatchNorm) and act.norm.training and len(feat_VC) > 1


class _NormActivation(torch.autograd.Function):
    """Normalise by the features' own statistics, let them into the running ones, and activate."""

    @staticmethod
    def forward(
        ctx: Any, feat_VC: Tensor, weight_C: Tensor, bias_C: Tensor, norm: BatchNorm, leakiness: float
    ) -> Tensor:
        out_VC, stats_SC = fused.normalise_by_own(feat_VC, norm, leakiness)
        ctx.save_for_backward(feat_VC, stats_SC)
        ctx.leakiness = leakiness
        return out_VC

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        feat_VC, stats_SC = ctx.saved_tensors
        return (
            *fused.normalise_backward(feat_VC, grads[0].contiguous(), stats_SC, ctx.leakiness),
            None,
            None,
        )
