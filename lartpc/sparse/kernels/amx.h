// What the kernels for processors with AMX share: blocks of the matrix unit, and who may use it.

#pragma once

#include "simd.h"
#include "tiles.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__AVX512BW__) && \
    defined(__linux__)

#define HAS_AMX

#include <immintrin.h>

namespace {

typedef uint16_t bf16;

constexpr int64_t SIDE = 16, CHUNK = 32;
constexpr int64_t BLOCK = SIDE * CHUNK; // values in a block of the matrix unit's operands

INLINE int64_t chunks(int64_t width) { return (width + CHUNK - 1) / CHUNK; }
INLINE int64_t blocks(int64_t width) { return (width + SIDE - 1) / SIDE; }

// The intrinsics of tiles tell the compiler nothing of the memory that they read.
INLINE void settle() { asm volatile("" ::: "memory"); }

INLINE void configure_tiles() {
    struct {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t bytes_per_row[16] = {};
        uint8_t rows[16] = {};
    } form;
    for (int i = 0; i < 8; ++i) {
        form.bytes_per_row[i] = 64;
        form.rows[i] = SIDE;
    }
    settle();
    _tile_loadconfig(&form);
}

struct Tiled {
    Tiled() { configure_tiles(); }
    ~Tiled() { _tile_release(); }
};

INLINE __m512i load(const void *from) { return _mm512_loadu_si512(from); }

INLINE __mmask16 up_to(int64_t count) { return count >= SIDE ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }

// How the blocks of a matrix of weights lie: bytes from one row of a block to the next, and values from one block to that
// of the next chunk of input channels, and to that of the next output channels.
struct Blocks {
    int64_t row_bytes, chunk, side;
};

// M blocks of gathered rows times N blocks of output channels, into `products` of `width` a row. `ONE`: there is one chunk,
// and its weights are in tiles 6 and 7 already.
template <int M, int N, bool ONE>
INLINE void multiply_blocks(
    const bf16 *rows, const bf16 *weight, const Blocks &lie, float *products, int64_t num_chunks, int64_t width
) {
    _tile_zero(0);
    if (N > 1) _tile_zero(1);
    if (M > 1) _tile_zero(2);
    if (M > 1 && N > 1) _tile_zero(3);
    for (int64_t c = 0; c < num_chunks; ++c) {
        _tile_loadd(4, rows + c * BLOCK, 64);
        if (!ONE) _tile_loadd(6, weight + c * lie.chunk, lie.row_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (N > 1) {
            if (!ONE) _tile_loadd(7, weight + c * lie.chunk + lie.side, lie.row_bytes);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (M > 1) {
            _tile_loadd(5, rows + (num_chunks + c) * BLOCK, 64);
            _tile_dpbf16ps(2, 5, 6);
            if (N > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    const int64_t stride = width * sizeof(float);
    _tile_stored(0, products, stride);
    if (N > 1) _tile_stored(1, products + SIDE, stride);
    if (M > 1) _tile_stored(2, products + SIDE * width, stride);
    if (M > 1 && N > 1) _tile_stored(3, products + SIDE * width + SIDE, stride);
}

} // namespace

#endif
