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

} // namespace

#endif
