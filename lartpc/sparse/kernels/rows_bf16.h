// Rows of features in bf16 times a matrix, added to other rows in fp32, on processors with AVX512-BF16 (Zen 4, Cooper
// Lake). See avx512_bf16.cpp for how weights are packed.

#pragma once

#include "simd.h"
#include "tiles.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#define HAS_BF16

#include <immintrin.h>

namespace {

typedef uint16_t bf16;
typedef uint32_t two; // a value and its neighbour

constexpr int64_t LANES = 16;

INLINE __m512 add_products(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

INLINE void store_rounded(bf16 *to, __m512 value) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(value));
}

// What two input channels of R rows add to their sums.
template <int N, int R>
INLINE void add_two_channels(const two *const *row, int64_t s, const two *weight, __m512 (*sum)[N]) {
    __m512i w[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) w[v] = _mm512_loadu_si512(weight + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        const __m512i x = _mm512_set1_epi32((int)row[r][s]);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[r][v] = add_products(sum[r][v], w[v], x);
    }
}

// R pairs, N vectors of output channels: out[target] += in[source] @ weight.
template <int N, int R>
INLINE void multiply_bf16(const two *in, const two *weight, float *out, const Pair *pair, int64_t steps, int64_t width) {
    const two *row[R];
    __m512 sum[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        row[r] = in + pair[r].source * steps;
        const float *to = out + pair[r].target * width;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[r][v] = _mm512_loadu_ps(to + v * LANES);
    }
    int64_t s = 0;
    constexpr int at_once = N <= 2 ? 4 : 1; // as in multiply.h
    for (; s + at_once <= steps; s += at_once)
#pragma GCC unroll 4
        for (int i = 0; i < at_once; ++i, weight += width) add_two_channels<N, R>(row, s + i, weight, sum);
    for (; s < steps; ++s, weight += width) add_two_channels<N, R>(row, s, weight, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        float *to = out + pair[r].target * width;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) _mm512_storeu_ps(to + v * LANES, sum[r][v]);
    }
}

// All pairs of a tile and an offset, for N vectors of output channels.
template <int N>
void multiply_all_bf16(
    const two *in, const two *weight, float *out, const Pair *pair, const Pair *end, int64_t steps, int64_t width
) {
    constexpr int R = rows_at_once(N);
    for (; end - pair >= R; pair += R) multiply_bf16<N, R>(in, weight, out, pair, steps, width);
    switch (end - pair) {
    case 7: return multiply_bf16<N, 7>(in, weight, out, pair, steps, width);
    case 6: return multiply_bf16<N, 6>(in, weight, out, pair, steps, width);
    case 5: return multiply_bf16<N, 5>(in, weight, out, pair, steps, width);
    case 4: return multiply_bf16<N, 4>(in, weight, out, pair, steps, width);
    case 3: return multiply_bf16<N, 3>(in, weight, out, pair, steps, width);
    case 2: return multiply_bf16<N, 2>(in, weight, out, pair, steps, width);
    case 1: return multiply_bf16<N, 1>(in, weight, out, pair, steps, width);
    default: return;
    }
}

void multiply_rows_bf16(
    const two *in, const two *weight, float *out, const Pair *begin, const Pair *end, int64_t steps, int64_t width
) {
    for (int64_t c = 0; c < width;) {
        const int n = together((width - c) / LANES);
        if (n == 1) multiply_all_bf16<1>(in, weight + c, out + c, begin, end, steps, width);
        if (n == 2) multiply_all_bf16<2>(in, weight + c, out + c, begin, end, steps, width);
        if (n == 3) multiply_all_bf16<3>(in, weight + c, out + c, begin, end, steps, width);
        if (n == 4) multiply_all_bf16<4>(in, weight + c, out + c, begin, end, steps, width);
        c += n * LANES;
    }
}

} // namespace

#endif
