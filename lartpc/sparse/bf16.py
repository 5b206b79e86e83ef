"""Convolution with products in bf16 and sums in fp32, on CPUs whose matrix unit (AMX) does that.

Rows come and go in fp32. They are rounded once for each convolution, and kept so for the gradient of the
weights, in half the memory. The maps are those of `fused`, and results are as repeatable as there.

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from lartpc.sparse import build, fused

SIDE, CHUNK = 16, 32
"""Output channels of a block of weights and its input channels; `kernels/bf16.cpp` has the same."""


FEWEST_WEIGHTS = 10_000
"""Convolutions with fewer weights are bound by memory: rounding their rows takes what bf16 saves."""


@cache
def is_available() -> bool:
    """Tell whether this machine computes in bf16. The compiled kernel must be there."""
    return bool(build.load().has_bf16())


class Bf16Convolution(torch.autograd.Function):
    """out[target] += feat[source] @ weight[offset] over all pairs of a kernel map."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, weight: Tensor, kernel_map: Any) -> Tensor:
        """Convolve features and weights in fp32, rounded to bf16."""
        rounded = _round(feat)
        ctx.save_for_backward(rounded, weight)
        ctx.kernel_map = kernel_map
        return _convolve(rounded, weight.contiguous(), kernel_map.tiles)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients that are wanted; that of the output is rounded as well."""
        rounded, weight = ctx.saved_tensors
        grad, kernel_map = _round(grads[0].contiguous()), ctx.kernel_map
        grad_feat = grad_weight = None
        if ctx.needs_input_grad[0]:
            # Turned round, a symmetric map is itself with its offsets in reverse.
            symmetric = kernel_map.symmetric
            tiles = kernel_map.tiles if symmetric else kernel_map.transposed.tiles
            grad_feat = _convolve(grad, fused.turn(weight.contiguous(), reverse=symmetric), tiles)
        if ctx.needs_input_grad[1]:
            grad_weight = _convolve_weight(rounded, grad, weight, kernel_map.tiles)
        return grad_feat, grad_weight, None


def _round(feat_VC: Tensor) -> Tensor:
    """Return the rows in the library's order of channels, and a row of zeros after them."""
    num_rows, num_channels = feat_VC.shape
    width = -(-num_channels // CHUNK) * CHUNK
    rounded = torch.empty((num_rows + 1, width), dtype=torch.bfloat16)
    fused.call("round_bf16", feat_VC, rounded, num_rows, num_channels, torch.get_num_threads())
    return rounded


def _convolve(rounded: Tensor, weight_KCC: Tensor, tiles: fused.Tiles) -> Tensor:
    num_offsets, num_in, num_out = weight_KCC.shape
    num_blocks, num_chunks = -(-num_out // SIDE), -(-num_in // CHUNK)
    packed = torch.empty((num_offsets, num_blocks, num_chunks, SIDE, CHUNK), dtype=torch.bfloat16)
    threads = torch.get_num_threads()
    fused.call("pack_bf16", weight_KCC, packed, num_offsets, num_in, num_out, threads)
    out_VC = torch.empty((tiles.num_target, num_out))
    fused.call(
        "convolve_bf16",
        *(rounded, packed, out_VC, tiles.pairs_P2, tiles.starts_TK1, tiles.rows_V),
        *(len(rounded) - 1, tiles.num_target, fused.ROWS_PER_TILE, num_offsets, num_in, num_out, threads),
    )
    return out_VC


def _convolve_weight(rounded: Tensor, grad: Tensor, weight_KCC: Tensor, tiles: fused.Tiles) -> Tensor:
    grad_KCC = torch.empty_like(weight_KCC, memory_format=torch.contiguous_format)
    fused.call(
        "convolve_weight_bf16",
        *(rounded, grad, grad_KCC, tiles.pairs_P2, tiles.starts_TK1, len(rounded) - 1, len(grad) - 1),
        *(len(tiles.starts_TK1), *weight_KCC.shape, torch.get_num_threads()),
    )
    return grad_KCC
