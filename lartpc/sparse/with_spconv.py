"""Convolutions over our kernel maps by the operations of spconv."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from lartpc.sparse.lattice import KernelMap


class SpconvConvolution(torch.autograd.Function):
    """spconv's gather-GEMM-scatter on our maps; weights are brought into its layout (C, K, C)."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
        """Convolve, and keep what the gradients need."""
        filters = weight.permute(2, 0, 1).contiguous()
        ctx.save_for_backward(feat, filters)
        ctx.kernel_map = kernel_map
        pairs, counts = kernel_map.indice_pairs
        ops, native = load()
        with _single_thread(feat.device):
            return cast(
                Tensor,
                ops.indice_conv(
                    feat, filters, pairs, counts, kernel_map.num_target, False, kernel_map.symmetric, native
                ),
            )

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        """Return the gradients of the features and of the weights."""
        feat, filters = ctx.saved_tensors
        pairs, counts = ctx.kernel_map.indice_pairs
        ops, native = load()
        with _single_thread(feat.device):
            grad_feat, grad_filters = ops.indice_conv_backward(
                feat, filters, grads[0], pairs, counts, False, ctx.kernel_map.symmetric, native
            )
        return grad_feat, grad_filters.view(filters.shape).permute(1, 2, 0).contiguous(), None


@contextmanager
def _single_thread(device: torch.device) -> Iterator[None]:
    """Keep spconv's CPU scatter on one thread: on more it silently loses sums (spconv 2.3.8, #679)."""
    num_threads = torch.get_num_threads()
    if device.type != "cpu" or num_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@cache
def load() -> tuple[Any, Any]:
    """Import spconv's operations and its native algorithm. torch comes first: its OpenMP then serves both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its imports use locale calls on their way out
        from spconv.core import ConvAlgo
        from spconv.pytorch import ops

    if not torch.cuda.is_available():
        # The CPU backward asks for a CUDA stream, which it then does not use.
        ops.get_current_stream = lambda: 0
    return ops, ConvAlgo.Native
