"""Convolution by our compiled kernel on CPUs: multiply and sum at once, nothing gathered or scattered.

A kernel map comes in tiles: runs of output rows, and for each tile and offset the pairs (input row,
output row). A tile's sums stay in registers and in the cache. Sums run in a fixed order, so results are
bitwise the same whenever repeated, on any number of threads.

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets, P pairs, T tiles.
"""

from ctypes import c_int64, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lartpc.sparse import build

ROWS_PER_TILE = 512
"""So many rows of output, and those of input that they need, stay in the cache of a core."""

SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
"""Endings of the library's functions."""


class Tiles(NamedTuple):
    """A kernel map in tiles.

    Attributes
    ----------
    pairs_P2
        Input and output row of each pair, int32.
    starts_TK1
        Where the pairs of a tile and offset begin in `pairs_P2`, and after the last offset their end.
    rows_V
        Output rows in the order of the tiles; None: as numbered.
    num_target
        Number of output rows.
    """

    pairs_P2: Tensor
    starts_TK1: Tensor
    rows_V: Tensor | None
    num_target: int


def can_convolve(feat: Tensor, weight: Tensor) -> bool:
    """Tell whether the kernel takes these tensors; half precisions and GPUs are for others."""
    return feat.device.type == "cpu" and feat.dtype == weight.dtype and feat.dtype in SUFFIXES


class FusedConvolution(torch.autograd.Function):
    """out[target] += feat[source] @ weight[offset] over all pairs of a kernel map."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, weight: Tensor, kernel_map: Any) -> Tensor:
        """Convolve."""
        ctx.save_for_backward(feat, weight)
        ctx.kernel_map = kernel_map
        return _convolve(feat, weight.contiguous(), kernel_map.tiles)

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
            grad_feat = _convolve(grad, _turn(weight.contiguous(), reverse=symmetric), tiles)
        if ctx.needs_input_grad[1]:
            grad_weight = _convolve_weight(feat, grad, weight, kernel_map.tiles)
        return grad_feat, grad_weight, None


def find_neighbours(keys_V: Tensor, rows_V: Tensor | None, shifts: list[int], kernel: int) -> Tiles:
    """Find the neighbours of voxels in tiles.

    Parameters
    ----------
    keys_V
        Sorted keys.
    rows_V
        Row of each key; None: the same order.
    shifts
        Steps in the key from a voxel to the first of each run of `kernel` neighbours.
    kernel
        Side of the kernel.
    """
    num_voxels, num_offsets = len(keys_V), len(shifts) * kernel
    pairs = torch.empty((num_voxels * num_offsets, 2), dtype=torch.int32)
    starts = torch.empty((_num_tiles(num_voxels), num_offsets + 1), dtype=torch.int64)
    _call(
        "neighbours",
        *(keys_V, rows_V, num_voxels, torch.tensor(shifts), len(shifts), kernel),
        *(ROWS_PER_TILE, pairs, starts, torch.get_num_threads()),
    )
    return Tiles(pairs, starts, rows_V, num_voxels)


def arrange(source_P: Tensor, target_P: Tensor, offset_P: Tensor, num_offsets: int, num_target: int) -> Tiles:
    """Bring pairs into tiles; an output row has at most one pair per offset."""
    num_tiles = _num_tiles(num_target)
    pairs = torch.empty((len(source_P), 2), dtype=torch.int32)
    starts = torch.empty((num_tiles, num_offsets + 1), dtype=torch.int64)
    _call(
        "arrange",
        *(source_P.contiguous(), target_P.contiguous(), offset_P.contiguous(), len(source_P)),
        *(num_target, num_offsets, ROWS_PER_TILE, pairs, starts),
        torch.empty(num_tiles * num_offsets, dtype=torch.int64),
    )
    return Tiles(pairs, starts, None, num_target)


def _num_tiles(num_rows: int) -> int:
    return -(-num_rows // ROWS_PER_TILE)


def _convolve(feat_VC: Tensor, weight_KCC: Tensor, tiles: Tiles) -> Tensor:
    num_offsets, num_in, num_out = weight_KCC.shape
    weight_KCC = _pad(weight_KCC)
    width = weight_KCC.shape[2]
    out_VC = feat_VC.new_empty(tiles.num_target, width)
    _call(
        f"convolve_{SUFFIXES[feat_VC.dtype]}",
        *(feat_VC, weight_KCC, out_VC, tiles.pairs_P2, tiles.starts_TK1, tiles.rows_V),
        *(tiles.num_target, ROWS_PER_TILE, num_offsets, num_in, width, torch.get_num_threads()),
    )
    return out_VC if width == num_out else out_VC[:, :num_out].contiguous()


def _convolve_weight(feat_VC: Tensor, grad_VC: Tensor, weight_KCC: Tensor, tiles: Tiles) -> Tensor:
    num_offsets, num_in, num_out = weight_KCC.shape
    grad_VC = _pad(grad_VC)
    width = grad_VC.shape[1]
    out_KCC = feat_VC.new_zeros(num_offsets, num_in, width)
    _call(
        f"convolve_weight_{SUFFIXES[feat_VC.dtype]}",
        *(feat_VC, grad_VC, out_KCC, tiles.pairs_P2, tiles.starts_TK1),
        *(len(tiles.starts_TK1), num_offsets, num_in, width, torch.get_num_threads()),
    )
    return out_KCC if width == num_out else out_KCC[:, :, :num_out].contiguous()


def _turn(weight_KCC: Tensor, *, reverse: bool) -> Tensor:
    """Transpose the matrix of each offset, and put the offsets in reverse order if asked."""
    num_offsets, num_in, num_out = weight_KCC.shape
    turned_KCC = weight_KCC.new_empty(num_offsets, num_out, num_in)
    name = f"turn_{SUFFIXES[weight_KCC.dtype]}"
    _call(name, weight_KCC, turned_KCC, num_offsets, num_in, num_out, int(reverse))
    return turned_KCC


def _pad(tensor: Tensor) -> Tensor:
    """Fill the last axis with zeros up to whole vectors of the processor."""
    lanes = build.load().vector_bytes() // tensor.element_size()
    missing = -tensor.shape[-1] % lanes
    return functional.pad(tensor, (0, missing)) if missing else tensor


def _call(name: str, *arguments: Tensor | int | None) -> None:
    """Call a function of the library with the addresses of tensors, and integers as int64."""
    getattr(build.load(), name)(
        *(
            c_int64(argument)
            if isinstance(argument, int)
            else c_void_p(None if argument is None else argument.data_ptr())
            for argument in arguments
        )
    )
