// Rows of features in bf16 times a matrix, added to other rows in fp32, on processors with AVX512-BF16 (Zen 4, Cooper
// Lake). See avx512_bf16.cpp for how weights are packed.

#pragma once

#include "multiply.h"

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

INLINE int64_t whole(int64_t width) { return (width + LANES - 1) / LANES * LANES; }
INLINE int64_t halves(int64_t width) { return (width + 1) / 2; }
INLINE __mmask16 up_to(int64_t count) { return count >= LANES ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }

// A row, padded with a zero to an even number of channels.
INLINE void round_row(const float *in, bf16 *out, int64_t width) {
    const int64_t padded = 2 * halves(width);
    for (int64_t c = 0; c < padded; c += LANES) {
        const __m512 row = _mm512_maskz_loadu_ps(up_to(width - c), in + c);
        _mm256_mask_storeu_epi16(out + c, up_to(padded - c), (__m256i)_mm512_cvtneps_pbh(row));
    }
}

// Two rows of 16 channels, channel by channel.
INLINE __m512i interleave(__m256i first, __m256i second) {
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
        16, 0
    );
    return _mm512_permutexvar_epi16(order, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
}

// A matrix (C_in, C_out) to (C_in / 2, C_out in whole vectors, 2).
INLINE void pack_matrix(const float *weight, two *packed, int64_t num_in, int64_t num_out) {
    const int64_t steps = halves(num_in), width = whole(num_out);
    for (int64_t s = 0; s < steps; ++s)
        for (int64_t c = 0; c < width; c += LANES) {
            const float *from = weight + 2 * s * num_out + c;
            const __mmask16 there = up_to(num_out - c);
            const __m512 even = _mm512_maskz_loadu_ps(there, from);
            const __m512 odd = _mm512_maskz_loadu_ps(2 * s + 1 < num_in ? there : 0, from + num_out);
            const __m256i low = (__m256i)_mm512_cvtneps_pbh(even), high = (__m256i)_mm512_cvtneps_pbh(odd);
            _mm512_storeu_si512(packed + s * width + c, interleave(low, high));
        }
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

// R pairs, N vectors of output channels: out[target] from in[source] @ weight, with sums as in multiply.h.
template <int N, int R, class Sums>
INLINE void multiply_bf16(
    const two *in, const two *weight, float *out, const Pair *pair, int64_t steps, int64_t width, Sums sums
) {
    const two *row[R];
    __m512 sum[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        row[r] = in + pair[r].source * steps;
        const float *to = out + pair[r].target * width;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[r][v] = (__m512)sums.start(to + v * LANES, v * LANES);
    }
    int64_t s = 0;
    constexpr int at_once = N <= 2 ? 4 : 1; // as in multiply.h
    for (; s + at_once <= steps; s += at_once)
#pragma GCC unroll 4
        for (int i = 0; i < at_once; ++i, weight += width) add_two_channels<N, R>(row, s + i, weight, sum);
    for (; s < steps; ++s, weight += width) add_two_channels<N, R>(row, s, weight, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        const int64_t at = pair[r].target * width;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v)
            *(vector<float> *)(out + at + v * LANES) = sums.end((vector<float>)sum[r][v], at + v * LANES);
    }
}

// All pairs of a tile and an offset, for N vectors of output channels.
template <int N, class Sums>
void multiply_all_bf16(
    const two *in, const two *weight, float *out, const Pair *pair, const Pair *end, int64_t steps, int64_t width,
    Sums sums
) {
    constexpr int R = rows_at_once(N);
    for (; end - pair >= R; pair += R) multiply_bf16<N, R>(in, weight, out, pair, steps, width, sums);
    switch (end - pair) {
    case 7: return multiply_bf16<N, 7>(in, weight, out, pair, steps, width, sums);
    case 6: return multiply_bf16<N, 6>(in, weight, out, pair, steps, width, sums);
    case 5: return multiply_bf16<N, 5>(in, weight, out, pair, steps, width, sums);
    case 4: return multiply_bf16<N, 4>(in, weight, out, pair, steps, width, sums);
    case 3: return multiply_bf16<N, 3>(in, weight, out, pair, steps, width, sums);
    case 2: return multiply_bf16<N, 2>(in, weight, out, pair, steps, width, sums);
    case 1: return multiply_bf16<N, 1>(in, weight, out, pair, steps, width, sums);
    default: return;
    }
}

template <class Sums = Added<float>>
void multiply_rows_bf16(
    const two *in, const two *weight, float *out, const Pair *begin, const Pair *end, int64_t steps, int64_t width,
    Sums sums = {}
) {
    for (int64_t c = 0; c < width;) {
        const int n = together((width - c) / LANES);
        if (n == 1) multiply_all_bf16<1>(in, weight + c, out + c, begin, end, steps, width, sums.after(c));
        if (n == 2) multiply_all_bf16<2>(in, weight + c, out + c, begin, end, steps, width, sums.after(c));
        if (n == 3) multiply_all_bf16<3>(in, weight + c, out + c, begin, end, steps, width, sums.after(c));
        if (n == 4) multiply_all_bf16<4>(in, weight + c, out + c, begin, end, steps, width, sums.after(c));
        c += n * LANES;
    }
}

} // namespace

#endif
