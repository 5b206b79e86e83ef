"""Whether the compiled kernel can run networks on images: it is there and computes right, and there is no GPU."""

import logging
import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.images.batch import Images
from lartpc.images.levels import Level, find_levels, sorted_rows
from lartpc.images.program import DOWN, SAME, UNITS, UP, Output, Program, whole
from lartpc.scores import sigmoid
from lartpc.sparse import build
from lartpc.sparse.tiles import Tiles

Array = NDArray[Any]

GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA, of AMD, and of either under Windows: without one of these, torch finds no GPU."""

BF16_UNITS = UNITS[:0:-1]
"""What multiplies in bf16, the fastest first."""

ARITHMETIC = {"fp32": "fp32", "amx": "bf16 (AMX)", "avx512": "bf16 (AVX512)"}
"""What event files and `lartpc doctor` say of what multiplies."""

TOLERANCE = {"fp32": 1e-5, **dict.fromkeys(UNITS[1:], 2e-2)}
"""Relative error: rows and weights in bf16 have 8 bits."""


@cache
def has_gpu() -> bool:
    """Tell whether torch finds a GPU; without one torch is not imported."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not any(map(os.path.exists, GPU_FILES)):
        return False
    import torch

    return torch.cuda.is_available()


def has_kernel() -> bool:
    """Tell whether the compiled kernel can be had and computes right; where not, the log says why."""
    return _fault("fp32") is None


def arithmetic(precision: str) -> str:
    """Return what multiplies (of `UNITS`) where the compiled kernel is there.

    Parameters
    ----------
    precision
        "fp32"; "bf16", where the processor can and computes right, or else the log says why not; "auto": the same
        without a word.
    """
    if precision == "fp32":
        return "fp32"
    faults = {unit: _fault(unit) for unit in BF16_UNITS}
    found = next((unit for unit, fault in faults.items() if fault is None), "fp32")
    if found == "fp32" and precision == "bf16":
        said = "; ".join(dict.fromkeys(filter(None, faults.values())))
        logging.getLogger(__name__).warning("segment computes in fp32 instead of bf16: %s", said)
    return found


@cache
def _fault(unit: str) -> str | None:
    """Return why a unit is not to be used, or None; `has_amx` also asks the system for the matrix unit."""
    try:
        library = build.load()
    except RuntimeError as error:
        return str(error)  # torch takes its place, and says so
    if unit == "amx" and not library.has_amx():
        return "the processor has no AMX-BF16"
    if unit == "avx512" and not library.has_avx512_bf16():
        return "the processor has no AVX512-BF16"
    wrong_by = _error(unit)
    if wrong_by <= TOLERANCE[unit]:
        return None
    fault = f"the kernel of the layers is wrong by {wrong_by:.1e} (relative)"
    if unit == "fp32":
        logging.getLogger(__name__).warning("%s: torch takes its place", fault)
    return fault


def _error(unit: str) -> float:
    """Compare all kinds of layers with plain products of arrays, and return the relative error."""
    rng = np.random.default_rng(1)
    slope, tile, num_channels = 0.25, 64, whole(20)
    cells = np.sort(rng.permutation(2 * 12**3)[:700])
    coord_VD1 = np.stack([cells // 12**3, cells // 144 % 12, cells // 12 % 12, cells % 12], axis=1)
    images = Images(coord_VD1, np.zeros(len(cells)), 2, 12)
    keys_V, coord_VD1, _ = sorted_rows(images)
    fine, coarse = levels = [*find_levels(keys_V, coord_VD1, images.shape, 2, 3, tile)]

    def draw(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    given_V2 = draw(len(cells), 2)
    first, down, up, more = (
        draw(*size, num_channels) for size in ((27, 2), (8, num_channels), (8, num_channels), (2,))
    )
    more = np.concatenate([more, np.zeros((num_channels - 2, num_channels), np.float32)])
    last, bias_C, scale_C, shift_C = draw(num_channels, num_channels), *draw(3, num_channels)
    program = Program(slope, unit)
    source = program.rows(0, 2, exact=True)
    one = [program.rows(level, num_channels) for level in (0, 1, 0)]
    active = [program.rows(level, num_channels, is_active=True) for level in (0, 1)]
    program.convolve(SAME, 0, source, first, sums=one[0], outputs=[Output(active[0], scale_C, shift_C)])
    program.convolve(DOWN, 0, active[0], down, sums=one[1], outputs=[Output(active[1], scale_C, shift_C)])
    program.convolve(UP, 0, active[1], up, sums=one[2], terms=[(one[0], more)])
    logits = program.linear(one[2], last, bias_C)
    gated = program.gate(one[2], logits)
    program.convolve(DOWN, 0, gated, down, sums=one[1], keep=True)
    found = program.run(levels, {source: given_V2}, [one[1], logits], tile)

    def activate(sums_VC: Array) -> Array:
        value_VC = sums_VC * scale_C + shift_C
        active_VC: Array = np.where(value_VC > 0, value_VC, value_VC * slope)
        return active_VC

    zero_VC = _product(fine.neighbours, given_V2, first)
    low_VC = _product(_there(fine, "down"), activate(zero_VC), down)
    high_VC = _product(_there(fine, "up"), activate(low_VC), up) + zero_VC @ more
    logit_VC = high_VC @ last + bias_C
    gated_VC = high_VC * sigmoid(logit_VC[:, :1])
    wanted = [low_VC + _product(_there(fine, "down"), gated_VC, down), logit_VC]
    assert len(wanted[0]) == coarse.num_voxels
    pairs = zip(found, wanted, strict=True)
    return max(float(np.abs(ours - theirs).max() / np.abs(theirs).max()) for ours, theirs in pairs)


def _there(level: Level, name: str) -> Tiles:
    found = getattr(level, name)
    assert isinstance(found, Tiles)
    return found


def _product(tiles: Tiles, feat_VC: Array, weight_KCC: Array) -> Array:
    """Return a convolution by plain products."""
    out_VC = np.zeros((tiles.num_target, weight_KCC.shape[2]))
    for starts in tiles.starts_TK1:
        for k, weight_CC in enumerate(weight_KCC):
            source_P, target_P = tiles.pairs_P2[starts[k] : starts[k + 1]].T
            out_VC[target_P] += feat_VC[source_P] @ weight_CC
    return out_VC
