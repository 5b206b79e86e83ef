// Rows of features in bf16 times a matrix, added to other rows in fp32, by the matrix unit (AMX).
//
// Rows and weights are as in rows_bf16.h. Pairs of a tile and offset are taken 64 at a time: their rows are gathered in
// blocks of 16 by 32 channels, multiplied with blocks of 32 by 16 weights, and the products added to the output rows.
// Where a row ends in half a block, the other half is zero. See amx.cpp for a convolution by itself.

#pragma once

#include "amx.h"

#ifdef HAS_AMX

namespace {

typedef uint32_t two; // a value and its neighbour

constexpr int64_t PAIRS_AT_ONCE = 64;

// What a thread needs: gathered rows, and their products. Begun anew for each width of rows.
struct Gathered {
    bf16 *rows;
    float *products;
    int64_t num_in = 0;

    Gathered(int64_t widest_in, int64_t widest_out) {
        rows = (bf16 *)_mm_malloc(PAIRS_AT_ONCE * chunks(widest_in) * CHUNK * sizeof(bf16), 64);
        products = (float *)_mm_malloc(PAIRS_AT_ONCE * widest_out * sizeof(float), 64);
    }
    ~Gathered() {
        _mm_free(rows);
        _mm_free(products);
    }
    void begin(int64_t width) {
        if (width != num_in) memset(rows, 0, PAIRS_AT_ONCE * chunks(width) * CHUNK * sizeof(bf16));
        num_in = width;
    }
};

// Gathered rows times N blocks of output channels of the weights, which lie as in rows_bf16.h.
template <int N>
INLINE void multiply_gathered(
    const bf16 *rows, const two *weight, float *products, int64_t num_rows, int64_t num_chunks, int64_t width
) {
    const bool one = num_chunks == 1;
    const bf16 *values = (const bf16 *)weight;
    const Blocks lie = {width * (int64_t)sizeof(two), 2 * SIDE * width, 2 * SIDE};
    if (one) {
        _tile_loadd(6, weight, width * sizeof(two));
        if (N > 1) _tile_loadd(7, weight + SIDE, width * sizeof(two));
    }
    for (int64_t r = 0; r < num_rows; r += 2 * SIDE) {
        const bf16 *from = rows + r * num_chunks * CHUNK;
        float *to = products + r * width;
        if (r + SIDE < num_rows) {
            if (one) multiply_blocks<2, N, true>(from, values, lie, to, 1, width);
            else multiply_blocks<2, N, false>(from, values, lie, to, num_chunks, width);
        } else {
            if (one) multiply_blocks<1, N, true>(from, values, lie, to, 1, width);
            else multiply_blocks<1, N, false>(from, values, lie, to, num_chunks, width);
        }
    }
}

// Rows of pairs, in blocks; what was there before stands in the place of rows that are missing.
INLINE void gather(const two *in, const Pair *pair, int64_t count, int64_t steps, bf16 *rows) {
    const int64_t num_chunks = (steps + SIDE - 1) / SIDE, whole = steps / SIDE;
    for (int64_t r = 0; r < count; ++r) {
        const two *from = in + pair[r].source * steps;
        bf16 *to = rows + r / SIDE * num_chunks * BLOCK + r % SIDE * CHUNK;
        int64_t c = 0;
        for (; c < whole; ++c) _mm512_store_si512(to + c * BLOCK, load(from + c * SIDE));
        if (c < num_chunks)
            _mm256_store_si256((__m256i *)(to + c * BLOCK), _mm256_loadu_si256((const __m256i *)(from + c * SIDE)));
    }
}

// out[target] += in[source] @ weight, for all pairs of a tile and an offset; `width` is in whole vectors.
void multiply_rows_amx(
    const two *in, const two *weight, float *out, const Pair *pair, const Pair *end, int64_t steps, int64_t width,
    const Gathered &given
) {
    const int64_t num_chunks = (steps + SIDE - 1) / SIDE;
    for (; pair < end; pair += PAIRS_AT_ONCE) {
        const int64_t count = end - pair < PAIRS_AT_ONCE ? end - pair : PAIRS_AT_ONCE;
        gather(in, pair, count, steps, given.rows);
        settle();
        int64_t c = 0;
        for (; c + 2 * SIDE <= width; c += 2 * SIDE)
            multiply_gathered<2>(given.rows, weight + c, given.products + c, count, num_chunks, width);
        if (c < width) multiply_gathered<1>(given.rows, weight + c, given.products + c, count, num_chunks, width);
        settle();
        for (int64_t r = 0; r < count; ++r) {
            float *to = out + pair[r].target * width;
            const float *from = given.products + r * width;
            for (c = 0; c < width; c += SIDE)
                _mm512_storeu_ps(to + c, _mm512_loadu_ps(to + c) + _mm512_load_ps(from + c));
        }
    }
}

} // namespace

#endif
