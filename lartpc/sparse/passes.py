"""Passes over the rows of a residual block in training, by our compiled kernels (`block`).

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets, S statistics.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lartpc.sparse import bf16, fused
from lartpc.sparse.build import call
from lartpc.sparse.lattice import KernelMap
from lartpc.sparse.tiles import ROWS_PER_TILE, Tiles

Parts = Sequence[Tensor]
"""Features in one part or two, whose channels follow one another."""


class Form(NamedTuple):
    """How a block computes: the ending of the kernels' names, and whether rows are rounded to bf16."""

    suffix: str
    rounds: bool


AVX512 = Form("avx512", rounds=True)


class Sums:
    """Space for two sums per channel, of all rows and of each block of rows, in double."""

    def __init__(self, num_rows: int, num_channels: int) -> None:
        num_blocks = -(-num_rows // fused.ROWS_PER_BLOCK)
        self.whole = torch.empty((num_blocks + 1, 2 * num_channels), dtype=torch.float64)
        self.blocks = self.whole[1:]


def _sources(parts: Parts) -> tuple[Any, ...]:
    first, *others = parts
    return (first, first.shape[1], *((others[0], others[0].shape[1]) if others else (None, 0)))


def settle(sums: Sums, parts: Parts, norm: nn.BatchNorm1d, *, is_measured: bool = False) -> Tensor:
    """Return the statistics of rows (4, C), and move the running ones towards them."""
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    stats_SC = norm.weight.new_empty(4, norm.num_features)
    call(
        f"measure_{fused.SUFFIXES[stats_SC.dtype]}",
        *(
            *_sources(parts),
            sums.whole,
            stats_SC,
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
        ),
        *(norm.momentum, norm.eps, len(parts[0]), int(is_measured), torch.get_num_threads()),
    )
    return stats_SC


def activate(parts: Parts, stats_SC: Tensor, slope: float, form: Form) -> Tensor:
    """Return the normalised and activated rows as products take them."""
    num_rows, out = len(parts[0]), _new_rows(len(parts[0]), stats_SC.shape[1], parts[0], form)
    threads = torch.get_num_threads()
    call(f"activate_{form.suffix}", *_sources(parts), stats_SC, slope, out, num_rows, threads)
    return out


def _new_rows(num_rows: int, num_channels: int, like: Tensor, form: Form) -> Tensor:
    if form.rounds:  # with one of zeros after them
        return torch.empty((num_rows + 1, num_channels), dtype=torch.bfloat16)
    return like.new_empty(num_rows, num_channels)


def rounded(parts: Parts, form: Form) -> Tensor:
    """Return rows as products take them."""
    if not form.rounds:
        (rows,) = parts
        return rows
    num_channels = sum(part.shape[1] for part in parts)
    out = _new_rows(len(parts[0]), num_channels, parts[0], form)
    call("round_sources_avx512", *_sources(parts), out, len(parts[0]), torch.get_num_threads())
    return out


def convolve(
    rows: Tensor,
    weight_KCC: Tensor,
    tiles: Tiles,
    form: Form,
    *,
    moments: Sums | None = None,
    start: Tensor | None = None,
    own: Tensor | None = None,
    own_weight: Tensor | None = None,
) -> Tensor:
    """Convolve rows; `own_weight` (C_out, C) is of the layer that takes the rows `own`."""
    packed = _pack(weight_KCC, form)
    own_packed = None if own_weight is None else _pack(own_weight.t()[None], form)
    return _sweep(
        *(rows, packed, weight_KCC.shape, own, own_packed, start, tiles, form),
        moments=moments,
    )


def turned_convolve(
    grad: Tensor,
    weight_KCC: Tensor,
    kernel_map: KernelMap,
    form: Form,
    sums: Sums,
    parts: Parts,
    stats_SC: Tensor,
    slope: float,
) -> Tensor:
    """Return the gradient of a convolution's rows, and what it adds up to in the normalisation before it."""
    symmetric = kernel_map.symmetric
    tiles = kernel_map.tiles if symmetric else kernel_map.transposed.tiles
    num_offsets, num_in, num_out = weight_KCC.shape
    packed = _pack_turned(weight_KCC, form, reverse=symmetric)
    shape = (num_offsets, num_out, num_in)
    ending = (*_sources(parts), stats_SC, slope)
    return _sweep(grad, packed, shape, None, None, None, tiles, form, sums=sums, ending=ending)


def own_only(rows: Tensor, weight_CC: Tensor, tiles: Tiles, form: Form) -> Tensor:
    """Multiply each row by a matrix (C, C_in) turned round."""
    num_in, num_out = weight_CC.shape
    packed = _pack_turned(weight_CC[None], form, reverse=False)
    shape = (len(tiles.starts_TK1[0]) - 1, 0, num_in)
    assert rows.shape[1] == num_out
    return _sweep(None, None, shape, rows, packed, None, tiles, form)


def _sweep(
    rows: Tensor | None,
    packed: Tensor | None,
    shape: Sequence[int],
    own: Tensor | None,
    own_packed: Tensor | None,
    start: Tensor | None,
    tiles: Tiles,
    form: Form,
    *,
    moments: Sums | None = None,
    sums: Sums | None = None,
    ending: tuple[Any, ...] = (None, 0, None, 0, None, 0.0),
) -> Tensor:
    num_offsets, num_in, width = shape
    given = rows if rows is not None else own
    assert given is not None
    out_VC = torch.empty((tiles.num_target, width), dtype=torch.float32 if form.rounds else given.dtype)
    call(
        f"sweep_{form.suffix}",
        *(rows, packed, num_in, own, own_packed, 0 if own is None else own.shape[1], start, out_VC, width),
        *(tiles.pairs_P2, tiles.starts_TK1, tiles.rows_V, tiles.num_target, ROWS_PER_TILE, num_offsets),
        *(moments.blocks if moments else None, sums.blocks if sums else None, *ending),
        torch.get_num_threads(),
    )
    return out_VC


def _pack(weight_KCC: Tensor, form: Form) -> Tensor:
    weight_KCC = weight_KCC.contiguous()
    if not form.rounds:
        return weight_KCC
    packed = torch.empty(weight_KCC.numel(), dtype=torch.bfloat16)
    call("pack_avx512", weight_KCC, packed, *weight_KCC.shape, torch.get_num_threads())
    return packed


def _pack_turned(weight_KCC: Tensor, form: Form, *, reverse: bool) -> Tensor:
    weight_KCC = weight_KCC.contiguous()
    if not form.rounds:
        return fused.turn(weight_KCC, reverse=reverse)
    packed = torch.empty(weight_KCC.numel(), dtype=torch.bfloat16)
    threads = torch.get_num_threads()
    call("pack_turned_avx512", weight_KCC, packed, *weight_KCC.shape, int(reverse), threads)
    return packed


def own_tiles(tiles: Tiles) -> Tiles:
    """Return the map of each row to itself, which is the middle offset of a symmetric one."""
    middle = (tiles.starts_TK1.shape[1] - 1) // 2
    return tiles._replace(starts_TK1=np.ascontiguousarray(tiles.starts_TK1[:, middle : middle + 2]))


def grad_weight(rows: Tensor, grad: Tensor, weight: Tensor, tiles: Tiles, form: Form) -> Tensor:
    """Return the gradient of a convolution's weights (K, C_in, C_out)."""
    if form.rounds:
        return bf16.convolve_weight(rows, grad, weight, tiles)
    return fused.convolve_weight(rows, grad, weight, tiles)


def spread(
    parts: Parts,
    grad_VC: Tensor,
    stats_SC: Tensor,
    sums: Sums,
    slope: float,
    more_VC: Tensor | None,
    form: Form | None = None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the gradients of a normalisation's rows, in their parts, of its weight and of its bias.

    With a form the rows are those of a single part, as products take them.
    """
    num_rows, num_channels = grad_VC.shape
    rounds = form is not None and form.rounds
    if form is not None:
        out = [_new_rows(num_rows, num_channels, grad_VC, form)]
    else:
        out = [torch.empty_like(part) for part in parts]
    grad_weight_C, grad_bias_C = grad_VC.new_empty(2, num_channels).unbind()
    call(
        f"spread_{'avx512' if rounds else fused.SUFFIXES[grad_VC.dtype]}",
        *(*_sources(parts), grad_VC, stats_SC, sums.blocks, grad_weight_C, grad_bias_C, more_VC, slope),
        *(out if rounds else (out[0], out[1] if len(out) > 1 else None)),
        *(num_rows, torch.get_num_threads()),
    )
    return out, grad_weight_C, grad_bias_C
