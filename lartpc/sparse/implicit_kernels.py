"""The kernels of `lartpc.sparse.implicit`, in Triton."""

# The arguments are pointers and sizes that Triton gives its own types.
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def convolve(
    feat,
    weight,
    out,
    sources,
    rows,
    offsets,
    counts,
    num_target,
    num_offsets,
    num_in,
    num_out,
    WIDE: tl.constexpr,
    FACTOR: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    TILE_IN: tl.constexpr,
    TILE_OUT: tl.constexpr,
):
    """Sum the products of one block of output rows, for one tile of output channels."""
    block = tl.program_id(0)
    place = block * ROWS + tl.arange(0, ROWS)
    real = place < num_target
    channel = tl.program_id(1) * TILE_OUT + tl.arange(0, TILE_OUT)
    inner = tl.arange(0, TILE_IN)
    total = tl.zeros((ROWS, TILE_OUT), dtype=tl.float64 if WIDE else tl.float32)
    for number in range(tl.load(counts + block)):
        offset = tl.load(offsets + block * num_offsets + number).to(tl.int64)
        source = tl.load(sources + offset * num_target + place, mask=real, other=-1).to(tl.int64)
        for first in range(0, num_in, TILE_IN):
            among = first + inner
            gathered = tl.load(
                feat + source[:, None] * num_in + among[None, :],
                mask=(source >= 0)[:, None] & (among < num_in)[None, :],
                other=0.0,
            )
            matrix = tl.load(
                weight + (offset * num_in + among)[:, None] * num_out + channel[None, :],
                mask=(among < num_in)[:, None] & (channel < num_out)[None, :],
                other=0.0,
            )
            total = tl.dot(
                gathered.to(FACTOR),
                matrix.to(FACTOR),
                total,
                input_precision=PRECISION,
                out_dtype=total.dtype,
            )
    row = tl.load(rows + place, mask=real, other=0).to(tl.int64)
    tl.store(
        out + row[:, None] * num_out + channel[None, :],
        total.to(out.dtype.element_ty),
        mask=real[:, None] & (channel < num_out)[None, :],
    )


@triton.jit
def convolve_weight(
    feat,
    grad,
    sums,
    sources,
    targets,
    bounds,
    num_in,
    num_out,
    WIDE: tl.constexpr,
    FACTOR: tl.constexpr,
    PRECISION: tl.constexpr,
    PAIRS: tl.constexpr,
    TILE_IN: tl.constexpr,
    TILE_OUT: tl.constexpr,
):
    """Sum the outer products of the pairs of one chunk, for one tile of channels."""
    chunk = tl.program_id(0).to(tl.int64)
    start, stop = tl.load(bounds + 2 * chunk), tl.load(bounds + 2 * chunk + 1)
    among = tl.program_id(1) * TILE_IN + tl.arange(0, TILE_IN)
    channel = tl.program_id(2) * TILE_OUT + tl.arange(0, TILE_OUT)
    total = tl.zeros((TILE_IN, TILE_OUT), dtype=tl.float64 if WIDE else tl.float32)
    for first in range(start, stop, PAIRS):
        pair = first + tl.arange(0, PAIRS)
        source = tl.load(sources + pair, mask=pair < stop, other=0).to(tl.int64)
        target = tl.load(targets + pair, mask=pair < stop, other=0).to(tl.int64)
        turned = tl.load(
            feat + source[None, :] * num_in + among[:, None],
            mask=(pair < stop)[None, :] & (among < num_in)[:, None],
            other=0.0,
        )
        gathered = tl.load(
            grad + target[:, None] * num_out + channel[None, :],
            mask=(pair < stop)[:, None] & (channel < num_out)[None, :],
            other=0.0,
        )
        total = tl.dot(
            turned.to(FACTOR),
            gathered.to(FACTOR),
            total,
            input_precision=PRECISION,
            out_dtype=total.dtype,
        )
    tl.store(
        sums + (chunk * num_in + among)[:, None] * num_out + channel[None, :],
        total,
        mask=(among < num_in)[:, None] & (channel < num_out)[None, :],
    )


@triton.jit
def add_chunks(sums, out, firsts, num_values, WIDE: tl.constexpr, SIZE: tl.constexpr):
    """Add the sums of an offset's chunks, in their order."""
    offset = tl.program_id(0).to(tl.int64)
    value = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    stride = tl.zeros((SIZE,), dtype=tl.int64) + num_values
    total = tl.zeros((SIZE,), dtype=tl.float64 if WIDE else tl.float32)
    for chunk in range(tl.load(firsts + offset), tl.load(firsts + offset + 1)):
        total += tl.load(sums + chunk * stride + value, mask=value < num_values, other=0.0)
    tl.store(out + offset * num_values + value, total.to(out.dtype.element_ty), mask=value < num_values)
