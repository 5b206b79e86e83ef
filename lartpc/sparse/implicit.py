"""Convolution on GPUs by implicit GEMM: rows are gathered as the product of matrices needs them (Triton).

The product of an offset's rows with its matrix goes straight into the sum of a block of output rows, which
stays on the chip: nothing gathered is written, and no sum is scattered. Sums run in a fixed order, so
results are bitwise the same whenever repeated. Output rows are taken in the order of which of their
neighbours exist, so that the rows of a block need few offsets between them; the blocks' offsets without
any pair are left out (both as in spconv 2's masked implicit GEMM, github.com/traveller59/spconv).

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets, P pairs, B blocks of rows.
"""

import importlib.util
import os
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROWS_PER_BLOCK = 64
"""Output rows that one program sums."""

PAIRS_PER_CHUNK = 4096
"""Fewest pairs of an offset that one program sums for the gradient of the weights."""

MAX_CHUNKS = 512
"""About so many programs share the pairs of a map: enough for a GPU, few sums to keep."""

MAX_MASK_BITS = 62
"""Offsets that the order of the rows looks at; larger kernels have more, which matters to speed alone."""

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""What the kernels take; they sum in fp32, and fp64 in fp64."""


class Rows(NamedTuple):
    """A kernel map by output rows.

    Attributes
    ----------
    source_KV
        Input row of an offset and output row, in the order of `rows_V`; -1: none. int32.
    rows_V
        The output row at each place. int32.
    offsets_BK
        Offsets with pairs, of each block of `ROWS_PER_BLOCK` places. int32.
    counts_B
        Their number. int32.
    """

    source_KV: Tensor
    rows_V: Tensor
    offsets_BK: Tensor
    counts_B: Tensor


class Chunks(NamedTuple):
    """The pairs of a kernel map in chunks, none of which has pairs of two offsets.

    Attributes
    ----------
    source_P, target_P
        Input and output row of each pair, sorted by offset. int32.
    bounds_N2
        First pair of each chunk, and its end. int32.
    firsts_K1
        First chunk of each offset, and the end of the last one's. int32.
    """

    source_P: Tensor
    target_P: Tensor
    bounds_N2: Tensor
    firsts_K1: Tensor


def fault(device_type: str) -> str | None:
    """Return why the backend cannot be used on a kind of device, or None."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; it comes with the builds of torch for CUDA"
    if device_type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return "triton computes on GPUs (or, to be tested, in its interpreter: TRITON_INTERPRET=1)"
    return None


def can_compute(feat: Tensor, weight: Tensor) -> bool:
    """Tell whether the kernels take these tensors."""
    return feat.dtype == weight.dtype and feat.dtype in DTYPES


class ImplicitConvolution(torch.autograd.Function):
    """out[target] += feat[source] @ weight[offset] over all pairs of a kernel map."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, weight: Tensor, kernel_map: Any) -> Tensor:
        """Convolve."""
        ctx.save_for_backward(feat, weight)
        ctx.kernel_map = kernel_map
        return _convolve(feat, weight, kernel_map.rows)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients that are wanted."""
        feat, weight = ctx.saved_tensors
        grad, kernel_map = grads[0].contiguous(), ctx.kernel_map
        grad_feat = grad_weight = None
        if ctx.needs_input_grad[0]:
            # Turned round, a symmetric map is itself with its offsets in reverse.
            turned = weight.transpose(1, 2)
            if kernel_map.symmetric:
                grad_feat = _convolve(grad, turned.flip(0), kernel_map.rows)
            else:
                grad_feat = _convolve(grad, turned, kernel_map.transposed.rows)
        if ctx.needs_input_grad[1]:
            grad_weight = _convolve_weight(feat, grad, kernel_map.chunks)
        return grad_feat, grad_weight, None


def arrange(source_P: Tensor, target_P: Tensor, counts: list[int], num_target: int) -> Rows:
    """Bring pairs, sorted by offset, into rows; all on the pairs' device."""
    device, num_offsets = source_P.device, len(counts)
    offset_P = torch.repeat_interleave(torch.tensor(counts, device=device), output_size=len(source_P))
    source_KV = torch.full((num_offsets, num_target), -1, dtype=torch.int32, device=device)
    source_KV[offset_P, target_P] = source_P.int()
    found_KV = source_KV >= 0
    mask_V = torch.zeros(num_target, dtype=torch.int64, device=device)
    for offset in range(min(num_offsets, MAX_MASK_BITS)):
        mask_V |= found_KV[offset].long() << offset
    rows_V = torch.sort(mask_V, stable=True).indices
    num_blocks = -(-num_target // ROWS_PER_BLOCK)
    padded_KV = found_KV.new_zeros(num_offsets, num_blocks * ROWS_PER_BLOCK)
    padded_KV[:, :num_target] = found_KV[:, rows_V]
    used_BK = padded_KV.view(num_offsets, num_blocks, ROWS_PER_BLOCK).any(2).t()
    # Those in use come first, in their order.
    offsets_BK = torch.sort((~used_BK).to(torch.int8), dim=1, stable=True).indices
    return Rows(
        source_KV[:, rows_V].contiguous(),
        rows_V.int(),
        offsets_BK.int().contiguous(),
        used_BK.sum(1).int(),
    )


def split(source_P: Tensor, target_P: Tensor, counts: list[int]) -> Chunks:
    """Split pairs, sorted by offset, into chunks."""
    size = max(PAIRS_PER_CHUNK, -(-len(source_P) // MAX_CHUNKS))
    bounds: list[tuple[int, int]] = []
    firsts, start = [0], 0
    for count in counts:
        stop = start + count
        bounds += [(first, min(first + size, stop)) for first in range(start, stop, size)]
        firsts.append(len(bounds))
        start = stop

    def int32(values: list[Any], *shape: int) -> Tensor:
        return torch.tensor(values, dtype=torch.int32).view(shape).to(source_P.device)

    return Chunks(
        *(source_P.int().contiguous(), target_P.int().contiguous()),
        *(int32(bounds, len(bounds), 2), int32(firsts, len(firsts))),
    )


def _convolve(feat_VC: Tensor, weight_KCC: Tensor, rows: Rows) -> Tensor:
    num_offsets, num_in, num_out = weight_KCC.shape
    num_target = len(rows.rows_V)
    out_VC = feat_VC.new_empty(num_target, num_out)
    if num_target == 0 or num_out == 0:
        return out_VC
    tile_in, tile_out = _tile(num_in, 64), _tile(num_out, 64)
    grid = (-(-num_target // ROWS_PER_BLOCK), -(-num_out // tile_out))
    _kernels().convolve[grid](
        *(feat_VC, weight_KCC.contiguous(), out_VC, *rows),
        *(num_target, num_offsets, num_in, num_out),
        WIDE=feat_VC.dtype == torch.float64,
        FACTOR=_factor(feat_VC),
        PRECISION=_precision(feat_VC),
        ROWS=ROWS_PER_BLOCK,
        TILE_IN=tile_in,
        TILE_OUT=tile_out,
    )
    return out_VC


def _convolve_weight(feat_VC: Tensor, grad_VC: Tensor, chunks: Chunks) -> Tensor:
    num_offsets, num_in, num_out = len(chunks.firsts_K1) - 1, feat_VC.shape[1], grad_VC.shape[1]
    wide = feat_VC.dtype == torch.float64
    out_KCC = feat_VC.new_zeros(num_offsets, num_in, num_out)
    num_chunks = len(chunks.bounds_N2)
    if num_chunks == 0 or out_KCC.numel() == 0:
        return out_KCC
    sums_NCC = torch.empty(
        num_chunks, num_in, num_out, dtype=torch.float64 if wide else torch.float32, device=feat_VC.device
    )
    tile_in, tile_out = _tile(num_in, 64), _tile(num_out, 64)
    _kernels().convolve_weight[(num_chunks, -(-num_in // tile_in), -(-num_out // tile_out))](
        *(feat_VC, grad_VC, sums_NCC, chunks.source_P, chunks.target_P, chunks.bounds_N2),
        *(num_in, num_out),
        WIDE=wide,
        FACTOR=_factor(feat_VC),
        PRECISION=_precision(feat_VC),
        PAIRS=32,
        TILE_IN=tile_in,
        TILE_OUT=tile_out,
    )
    size = 1024
    _kernels().add_chunks[(num_offsets, -(-num_in * num_out // size))](
        *(sums_NCC, out_KCC, chunks.firsts_K1, num_in * num_out), WIDE=wide, SIZE=size
    )
    return out_KCC


def _tile(num_channels: int, largest: int) -> int:
    """Return the width of a tile: a power of two, of 16 at least, as the units for matrices need."""
    return min(largest, max(16, 1 << (num_channels - 1).bit_length()))


def _precision(feat: Tensor) -> str:
    """Return how fp32 is multiplied: in tf32 where torch's own matrix products may be."""
    return "tf32" if feat.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32 else "ieee"


def _factor(feat: Tensor) -> Any:
    """Return Triton's type of the factors of a product."""
    from triton import language

    if feat.device.type == "cpu" and feat.dtype == torch.bfloat16:
        # Triton's interpreter takes the bits of bf16 for integers there.
        return language.float32
    return getattr(language, str(feat.dtype).removeprefix("torch."))


@cache
def _kernels() -> ModuleType:
    from lartpc.sparse import implicit_kernels

    return implicit_kernels
