// Rows times rows in bf16, added to sums in fp32, for the gradient of a matrix, on processors with AVX512-BF16. Rows are
// taken two by two: the values of both stand together, channel by channel.

#pragma once

#include "rows_bf16.h"

#ifdef HAS_BF16

namespace {

// Rows of pairs, two by two, interleaved and widened to whole vectors.
template <bool SOURCE>
INLINE void interleave_rows(const bf16 *rows, const Pair *pair, int64_t count, int64_t num_channels, two *to) {
    const int64_t padded = 2 * halves(num_channels), width = whole(num_channels);
    for (int64_t p = 0; p < count; p += 2, to += width) {
        const bf16 *first = rows + (SOURCE ? pair[p].source : pair[p].target) * padded;
        const bf16 *second = rows + (SOURCE ? pair[p + 1].source : pair[p + 1].target) * padded;
        int64_t c = 0;
        for (; padded - c >= LANES; c += LANES) {
            const __m256i a = _mm256_loadu_si256((const __m256i *)(first + c));
            _mm512_storeu_si512(to + c, interleave(a, _mm256_loadu_si256((const __m256i *)(second + c))));
        }
        if (c < padded) {
            const __mmask16 there = up_to(padded - c);
            const __m256i a = _mm256_maskz_loadu_epi16(there, first + c);
            const __m256i b = _mm256_maskz_loadu_epi16(there, second + c);
            _mm512_storeu_si512(to + c, interleave(a, b));
        }
    }
}

// I input channels, N vectors of output channels: sums += left^T @ right over `steps` couples of pairs.
template <int N, int I>
INLINE void correlate_twos(
    const two *left, const two *right, float *sums, int64_t steps, int64_t in_width, int64_t width
) {
    __m512 sum[I][N];
#pragma GCC unroll 24
    for (int i = 0; i < I; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[i][v] = _mm512_loadu_ps(sums + i * width + v * LANES);
    for (int64_t s = 0; s < steps; ++s, left += in_width, right += width) {
        __m512i g[N];
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) g[v] = _mm512_loadu_si512(right + v * LANES);
#pragma GCC unroll 24
        for (int i = 0; i < I; ++i) {
            const __m512i x = _mm512_set1_epi32((int)left[i]);
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) sum[i][v] = add_products(sum[i][v], g[v], x);
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < I; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) _mm512_storeu_ps(sums + i * width + v * LANES, sum[i][v]);
}

// All input channels, for N vectors of output channels.
template <int N>
void correlate_all_twos(
    const two *left, const two *right, float *sums, int64_t steps, int64_t num_in, int64_t width
) {
    constexpr int most = 24 / N, I = most >= 16 ? 16 : most;
    const int64_t in_width = whole(num_in);
    int64_t c = 0;
    for (; num_in - c >= I; c += I) correlate_twos<N, I>(left + c, right, sums + c * width, steps, in_width, width);
    for (; num_in - c >= 4; c += 4) correlate_twos<N, 4>(left + c, right, sums + c * width, steps, in_width, width);
    for (; c < num_in; ++c) correlate_twos<N, 1>(left + c, right, sums + c * width, steps, in_width, width);
}

// An even number of pairs: sums (C_in, C_out in whole vectors) += in[source]^T @ grad[target].
INLINE void correlate_pairs(
    const void *in, const void *grad, const Pair *pair, int64_t count, two *left, two *right, float *sums,
    int64_t num_in, int64_t num_out
) {
    const int64_t width = whole(num_out);
    interleave_rows<true>((const bf16 *)in, pair, count, num_in, left);
    interleave_rows<false>((const bf16 *)grad, pair, count, num_out, right);
    for (int64_t c = 0; c < width;) {
        const int n = together((width - c) / LANES);
        if (n == 1) correlate_all_twos<1>(left, right + c, sums + c, count / 2, num_in, width);
        if (n == 2) correlate_all_twos<2>(left, right + c, sums + c, count / 2, num_in, width);
        if (n == 3) correlate_all_twos<3>(left, right + c, sums + c, count / 2, num_in, width);
        if (n == 4) correlate_all_twos<4>(left, right + c, sums + c, count / 2, num_in, width);
        c += n * LANES;
    }
}

} // namespace

#endif
