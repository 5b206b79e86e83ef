"""Convolution by our compiled kernel on CPUs: multiply and sum at once, nothing gathered or scattered.

A kernel map comes in tiles: runs of output rows, and for each tile and offset the pairs (input row,
output row). A tile's sums stay in registers and in the cache. Sums run in a fixed order, so results are
bitwise the same whenever repeated, on any number of threads.

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets, P pairs, T tiles.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc.sparse import build
from lartpc.sparse.build import call
from lartpc.sparse.tiles import ROWS_PER_TILE, Tiles, alone

ROWS_PER_BLOCK = 64
"""Rows summed by themselves in a normalisation; `rows_per_block` of the library."""

SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
"""Endings of the library's functions."""


def can_compute(feat: Tensor, weight: Tensor) -> bool:
    """Tell whether the kernel takes these tensors; half precisions and GPUs are for others."""
    return feat.device.type == "cpu" and feat.dtype == weight.dtype and feat.dtype in SUFFIXES


class FusedConvolution(torch.autograd.Function):
    """out[target] += feat[source] @ weight[offset] over all pairs of a kernel map."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, weight: Tensor, kernel_map: Any) -> Tensor:
        """Convolve."""
        ctx.save_for_backward(feat, weight)
        ctx.kernel_map = kernel_map
        return convolve(feat, weight.contiguous(), kernel_map.tiles)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients that are wanted."""
        feat, weight = ctx.saved_tensors
        grad, kernel_map = grads[0].contiguous(), ctx.kernel_map
        grad_feat = grad_weight = None
        if ctx.needs_input_grad[0]:
            # Turned round, a symmetric map is itself with its offsets in reverse.
            symmetric = kernel_map.symmetric
            tiles = kernel_map.tiles if symmetric else kernel_map.transposed.tiles
            grad_feat = convolve(grad, turn(weight.contiguous(), reverse=symmetric), tiles)
        if ctx.needs_input_grad[1]:
            grad_weight = convolve_weight(feat, grad, weight, kernel_map.tiles)
        return grad_feat, grad_weight, None


def normalise_by_running(feat_VC: Tensor, norm: nn.BatchNorm1d, leakiness: float) -> Tensor:
    """Normalise features by running statistics and activate them."""
    out_VC = torch.empty_like(feat_VC)
    call(
        f"normalise_by_running_{SUFFIXES[feat_VC.dtype]}",
        *(feat_VC, out_VC, feat_VC.new_empty(2, feat_VC.shape[1]), norm.weight, norm.bias),
        *(norm.running_mean, norm.running_var, norm.eps, leakiness, *feat_VC.shape, torch.get_num_threads()),
    )
    return out_VC


def normalise_by_own(feat_VC: Tensor, norm: nn.BatchNorm1d, leakiness: float) -> tuple[Tensor, Tensor]:
    """Normalise by the features' own statistics, move the running ones towards them, and activate.

    Returns
    -------
    Features (V, C), and what their gradient needs of the statistics.
    """
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    out_VC = torch.empty_like(feat_VC)
    stats_SC = feat_VC.new_empty(4, feat_VC.shape[1])
    call(
        f"normalise_by_own_{SUFFIXES[feat_VC.dtype]}",
        *(feat_VC, out_VC, stats_SC, _partial_sums(feat_VC), norm.weight, norm.bias),
        *(norm.running_mean, norm.running_var, norm.momentum, norm.eps, leakiness),
        *(*feat_VC.shape, torch.get_num_threads()),
    )
    return out_VC, stats_SC


def normalise_backward(
    feat_VC: Tensor, grad_VC: Tensor, stats_SC: Tensor, leakiness: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the features, the weights and the biases."""
    grad_feat_VC = torch.empty_like(feat_VC)
    grad_weight_C, grad_bias_C = feat_VC.new_empty(2, feat_VC.shape[1]).unbind()
    call(
        f"normalise_backward_{SUFFIXES[feat_VC.dtype]}",
        *(feat_VC, grad_VC, grad_feat_VC, grad_weight_C, grad_bias_C, stats_SC, _partial_sums(feat_VC)),
        *(leakiness, *feat_VC.shape, torch.get_num_threads()),
    )
    return grad_feat_VC, grad_weight_C, grad_bias_C


def _partial_sums(feat_VC: Tensor) -> Tensor:
    """Return space for two sums per channel, of each block of rows and of all."""
    num_rows, num_channels = feat_VC.shape
    return torch.empty((-(-num_rows // ROWS_PER_BLOCK) + 1, 2 * num_channels), dtype=torch.float64)


def multiply(feat_VC: Tensor, weight_CC: Tensor) -> Tensor:
    """Multiply rows by a matrix, each by itself in the same order: a convolution over the voxel alone."""
    num_rows = len(feat_VC)
    return convolve(feat_VC.contiguous(), weight_CC.contiguous()[None], alone(num_rows))


def convolve(feat_VC: Tensor, weight_KCC: Tensor, tiles: Tiles) -> Tensor:
    """Convolve without gradients; all that is given is contiguous."""
    num_offsets, num_in, num_out = weight_KCC.shape
    weight_KCC = _pad(weight_KCC)
    width = weight_KCC.shape[2]
    out_VC = feat_VC.new_empty(tiles.num_target, width)
    call(
        f"convolve_{SUFFIXES[feat_VC.dtype]}",
        *(feat_VC, weight_KCC, out_VC, tiles.pairs_P2, tiles.starts_TK1, tiles.rows_V),
        *(tiles.num_target, ROWS_PER_TILE, num_offsets, num_in, width, torch.get_num_threads()),
    )
    return cut(out_VC, num_out)


def convolve_weight(feat_VC: Tensor, grad_VC: Tensor, weight_KCC: Tensor, tiles: Tiles) -> Tensor:
    """Return the gradient of the weights; all that is given is contiguous."""
    num_offsets, num_in, num_out = weight_KCC.shape
    grad_VC = _pad(grad_VC)
    width = grad_VC.shape[1]
    out_KCC = feat_VC.new_zeros(num_offsets, num_in, width)
    call(
        f"convolve_weight_{SUFFIXES[feat_VC.dtype]}",
        *(feat_VC, grad_VC, out_KCC, tiles.pairs_P2, tiles.starts_TK1),
        *(len(tiles.starts_TK1), num_offsets, num_in, width, torch.get_num_threads()),
    )
    return cut(out_KCC, num_out)


def turn(weight_KCC: Tensor, *, reverse: bool) -> Tensor:
    """Transpose the matrix of each offset, and put the offsets in reverse order if asked."""
    num_offsets, num_in, num_out = weight_KCC.shape
    turned_KCC = weight_KCC.new_empty(num_offsets, num_out, num_in)
    name = f"turn_{SUFFIXES[weight_KCC.dtype]}"
    call(name, weight_KCC, turned_KCC, num_offsets, num_in, num_out, int(reverse), torch.get_num_threads())
    return turned_KCC


def _pad(tensor: Tensor) -> Tensor:
    """Fill the last axis with zeros up to whole vectors of the processor."""
    lanes = build.load().vector_bytes() // tensor.element_size()
    missing = -tensor.shape[-1] % lanes
    return functional.pad(tensor, (0, missing)) if missing else tensor


def cut(tensor: Tensor, width: int) -> Tensor:
    """Return the first `width` values of the last axis."""
    if tensor.shape[-1] == width:
        return tensor
    # A copy even of a single row: autograd lets nobody write into a view that a function gave.
    return tensor[..., :width].clone(memory_format=torch.contiguous_format)
