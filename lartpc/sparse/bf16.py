"""Convolution with products in bf16 and sums in fp32, on CPUs with AMX-BF16 or AVX512-BF16.

Rows come and go in fp32. They are rounded once for each convolution, and kept so for the gradient of the
weights, in half the memory. The maps are those of `fused`, and results are as repeatable as there.

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lartpc.sparse import build, fused
from lartpc.sparse.tiles import ROWS_PER_TILE, Tiles

SIDE = 16
"""Output channels of a block of weights in the library."""


class Unit(NamedTuple):
    """What multiplies in bf16, and in which form it wants rows.

    Attributes
    ----------
    name
        Ending of the library's functions.
    chunk
        Rounded rows and packed weights have input channels in whole chunks of so many.
    whole
        Output rows and gradients of weights have output channels in whole multiples of this.
    fewest_weights
        Convolutions with fewer weights are bound by memory: rounding their rows takes what bf16 saves.
    """

    name: str
    chunk: int
    whole: int
    fewest_weights: int


AMX = Unit("amx", chunk=32, whole=1, fewest_weights=10_000)
AVX512 = Unit("avx512", chunk=2, whole=SIDE, fewest_weights=5_000)


@cache
def unit() -> Unit | None:
    """Return what multiplies in bf16 on this machine, if anything does. The compiled kernel must be there."""
    library = build.load()
    if library.has_amx():
        return AMX
    return AVX512 if library.has_avx512_bf16() else None


def takes(weight_KCC: Tensor) -> bool:
    """Tell whether a convolution is large enough to gain by bf16 on this machine."""
    found = unit()
    return found is not None and weight_KCC.numel() >= found.fewest_weights


class Bf16Convolution(torch.autograd.Function):
    """out[target] += feat[source] @ weight[offset] over all pairs of a kernel map."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, weight: Tensor, kernel_map: Any) -> Tensor:
        """Convolve features and weights in fp32, rounded to bf16."""
        rounded = _round(feat)
        ctx.save_for_backward(rounded, weight)
        ctx.kernel_map = kernel_map
        return convolve(rounded, weight.contiguous(), kernel_map.tiles)

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
            grad_feat = convolve(grad, fused.turn(weight.contiguous(), reverse=symmetric), tiles)
        if ctx.needs_input_grad[1]:
            grad_weight = convolve_weight(rounded, grad, weight, kernel_map.tiles)
        return grad_feat, grad_weight, None


def _unit() -> Unit:
    found = unit()
    assert found is not None, "bf16 is asked for on a machine without it"
    return found


def _round(feat_VC: Tensor) -> Tensor:
    """Return the rows in the library's order of channels, and a row of zeros after them."""
    num_rows, num_channels = feat_VC.shape
    rounded = torch.empty((num_rows + 1, _padded(num_channels, _unit().chunk)), dtype=torch.bfloat16)
    build.call(f"round_{_unit().name}", feat_VC, rounded, num_rows, num_channels, torch.get_num_threads())
    return rounded


def convolve(rounded: Tensor, weight_KCC: Tensor, tiles: Tiles) -> Tensor:
    """Convolve rounded rows without gradients."""
    num_offsets, num_in, num_out = weight_KCC.shape
    threads, (name, chunk, whole, _) = torch.get_num_threads(), _unit()
    packed_size = num_offsets * _padded(num_in, chunk) * _padded(num_out, SIDE)
    packed = torch.empty(packed_size, dtype=torch.bfloat16)
    build.call(f"pack_{name}", weight_KCC, packed, num_offsets, num_in, num_out, threads)
    out_VC = torch.empty((tiles.num_target, _padded(num_out, whole)))
    build.call(
        f"convolve_{name}",
        *(rounded, packed, out_VC, tiles.pairs_P2, tiles.starts_TK1, tiles.rows_V),
        *(len(rounded) - 1, tiles.num_target, ROWS_PER_TILE, num_offsets, num_in, num_out, threads),
    )
    return fused.cut(out_VC, num_out)


def convolve_weight(rounded: Tensor, grad: Tensor, weight_KCC: Tensor, tiles: Tiles) -> Tensor:
    """Return the gradient of the weights, from rounded rows and rounded gradients of the output."""
    num_offsets, num_in, num_out = weight_KCC.shape
    grad_KCC = torch.zeros((num_offsets, num_in, _padded(num_out, _unit().whole)))
    build.call(
        f"convolve_weight_{_unit().name}",
        *(rounded, grad, grad_KCC, tiles.pairs_P2, tiles.starts_TK1, len(rounded) - 1, len(grad) - 1),
        *(len(tiles.starts_TK1), num_offsets, num_in, num_out, torch.get_num_threads()),
    )
    return fused.cut(grad_KCC, num_out)


def _padded(width: int, multiple: int) -> int:
    return -(-width // multiple) * multiple
