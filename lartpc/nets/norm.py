"""Batch normalisation over the voxels of all ranks.

torch has one for GPUs only. This one takes its sums by whatever the ranks are joined by.

Tensor suffixes: V voxels, C channels.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc.dist import Ranks


class _Normalise(torch.autograd.Function):
    """Normalise rows by the mean and variance over all ranks (Ioffe and Szegedy, arXiv:1502.03167)."""

    @staticmethod
    def forward(
        ctx: Any, input_VC: Tensor, weight: Tensor, bias: Tensor, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        value_VC = input_VC.double()
        sums = torch.cat(
            [value_VC.sum(0), (value_VC * value_VC).sum(0), value_VC.new_tensor([len(value_VC)])]
        )
        sums = ranks.sum(sums)
        count = sums[-1]
        mean_C, square_C = (sums[:-1] / count.clamp(min=1)).chunk(2)
        # In double precision the difference of the squares loses nothing that matters.
        variance_C = (square_C - mean_C**2).clamp(min=0)
        scale_C = torch.rsqrt(variance_C + eps)
        normal_VC = ((value_VC - mean_C) * scale_C).to(weight.dtype)
        ctx.save_for_backward(normal_VC, weight, scale_C.to(weight.dtype), count)
        ctx.ranks, ctx.dtype = ranks, input_VC.dtype
        ctx.mark_non_differentiable(mean_C, variance_C, count)
        return (normal_VC * weight + bias).to(input_VC.dtype), mean_C, variance_C, count

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor, None, None]:
        normal_VC, weight, scale_C, count = ctx.saved_tensors
        grad_VC = grads[0].to(weight.dtype)
        bias_C, weight_C = grad_VC.double().sum(0), (grad_VC * normal_VC).double().sum(0)
        # What the mean and the variance pass on comes from the rows of all ranks.
        means = ctx.ranks.sum(torch.cat([bias_C, weight_C])) / count.clamp(min=1)
        mean_C, slope_C = means.to(weight.dtype).chunk(2)
        input_VC = weight * scale_C * (grad_VC - mean_C - normal_VC * slope_C)
        return input_VC.to(ctx.dtype), weight_C.to(weight.dtype), bias_C.to(weight.dtype), None, None


class SyncBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (V, C) whose batch is that of all ranks together; all ranks must call it.

    It takes over parameters and buffers of another. Fewer than two rows in all use the running statistics.
    """

    def __init__(self, other: nn.BatchNorm1d, ranks: Ranks) -> None:
        super().__init__(other.num_features, other.eps, other.momentum)
        self.weight, self.bias = other.weight, other.bias
        self.running_mean, self.running_var = other.running_mean, other.running_var
        self.num_batches_tracked = other.num_batches_tracked
        self._ranks = ranks

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features (V, C)."""
        if not self.training:
            return super().forward(input)
        found = _Normalise.apply(input, self.weight, self.bias, self.eps, self._ranks)  # type: ignore[no-untyped-call]
        output, mean_C, variance_C, count = cast(tuple[Tensor, ...], found)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        if count < 2:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        with torch.no_grad():
            # As torch does: the biased variance normalises, the unbiased one is kept.
            unbiased_C = variance_C * (count / (count - 1))
            self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased_C.to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked += 1
        return output


def synchronise(net: nn.Module, ranks: Ranks) -> None:
    """Let the batch norms of a network take their statistics over all ranks; names and values stay."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(module, name, SyncBatchNorm(child, ranks))
