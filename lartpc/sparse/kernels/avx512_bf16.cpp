// Sparse convolution with products in bf16 and sums in fp32, on processors with AVX512-BF16 (Zen 4, Cooper Lake).
//
// One instruction multiplies 16 pairs of values by 16 others and adds each pair's two products to one of 16 sums.
// Values of two input channels of a row stand together in memory already; weights are packed so, and so are the
// rows of two pairs of the kernel map, for the gradient of the weights. The tiles are those of the kernel in fp32,
// and sums run in a fixed order: results do not depend on the number of threads.
//
// Rows in bf16 are padded with a zero to an even number of channels, and followed by a row of zeros.

#include "rows_bf16.h"
#include "simd.h"
#include "tiles.h"

#ifdef HAS_BF16

namespace {

constexpr int64_t AT_ONCE = 64;           // pairs of an offset, for the gradient of its weights
constexpr int64_t CACHED = 512 * 1024; // so many bytes of rows stay in the second cache

INLINE int64_t whole(int64_t width) { return (width + LANES - 1) / LANES * LANES; }
INLINE int64_t halves(int64_t width) { return (width + 1) / 2; }
INLINE __mmask16 up_to(int64_t count) { return count >= LANES ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }

void round_rows(const float *in, bf16 *out, int64_t num_rows, int64_t width, int num_threads) {
    const int64_t padded = 2 * halves(width);
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t r = 0; r < num_rows; ++r)
        for (int64_t c = 0; c < padded; c += LANES) {
            const __m512 row = _mm512_maskz_loadu_ps(up_to(width - c), in + r * width + c);
            _mm256_mask_storeu_epi16(out + r * padded + c, up_to(padded - c), (__m256i)_mm512_cvtneps_pbh(row));
        }
    memset(out + num_rows * padded, 0, padded * sizeof(bf16));
}

// Two rows of 16 channels, channel by channel.
INLINE __m512i interleave(__m256i first, __m256i second) {
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
        16, 0
    );
    return _mm512_permutexvar_epi16(order, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
}

// Weights (K, C_in, C_out) to (K, C_in / 2, C_out in whole vectors, 2).
void pack_weights(
    const float *weight, two *packed, int64_t num_offsets, int64_t num_in, int64_t num_out, int num_threads
) {
    const int64_t steps = halves(num_in), width = whole(num_out);
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t k = 0; k < num_offsets; ++k)
        for (int64_t s = 0; s < steps; ++s)
            for (int64_t c = 0; c < width; c += LANES) {
                const float *from = weight + (k * num_in + 2 * s) * num_out + c;
                const __mmask16 there = up_to(num_out - c);
                const __m512 even = _mm512_maskz_loadu_ps(there, from);
                const __m512 odd = _mm512_maskz_loadu_ps(2 * s + 1 < num_in ? there : 0, from + num_out);
                const __m256i low = (__m256i)_mm512_cvtneps_pbh(even), high = (__m256i)_mm512_cvtneps_pbh(odd);
                _mm512_storeu_si512(packed + (k * steps + s) * width + c, interleave(low, high));
            }
}

// -- gradient of the weights ---------------------------------------------------------------------

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
INLINE void correlate(
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
void correlate_all(
    const two *left, const two *right, float *sums, int64_t steps, int64_t num_in, int64_t width
) {
    constexpr int most = 24 / N, I = most >= 16 ? 16 : most;
    const int64_t in_width = whole(num_in);
    int64_t c = 0;
    for (; num_in - c >= I; c += I) correlate<N, I>(left + c, right, sums + c * width, steps, in_width, width);
    for (; num_in - c >= 4; c += 4) correlate<N, 4>(left + c, right, sums + c * width, steps, in_width, width);
    for (; c < num_in; ++c) correlate<N, 1>(left + c, right, sums + c * width, steps, in_width, width);
}

// An even number of pairs: sums (C_in, C_out in whole vectors) += in[source]^T @ grad[target].
void correlate_pairs(
    const void *in, const void *grad, const Pair *pair, int64_t count, two *left, two *right, float *sums,
    int64_t num_in, int64_t num_out
) {
    const int64_t width = whole(num_out);
    interleave_rows<true>((const bf16 *)in, pair, count, num_in, left);
    interleave_rows<false>((const bf16 *)grad, pair, count, num_out, right);
    for (int64_t c = 0; c < width;) {
        const int n = together((width - c) / LANES);
        if (n == 1) correlate_all<1>(left, right + c, sums + c, count / 2, num_in, width);
        if (n == 2) correlate_all<2>(left, right + c, sums + c, count / 2, num_in, width);
        if (n == 3) correlate_all<3>(left, right + c, sums + c, count / 2, num_in, width);
        if (n == 4) correlate_all<4>(left, right + c, sums + c, count / 2, num_in, width);
        c += n * LANES;
    }
}

} // namespace

API int64_t has_avx512_bf16() { return 1; }

// out (num_rows + 1, C in twos).
API void round_avx512(const float *in, void *out, int64_t num_rows, int64_t width, int64_t num_threads) {
    round_rows(in, (bf16 *)out, num_rows, width, (int)num_threads);
}

API void pack_avx512(
    const float *weight, void *packed, int64_t num_offsets, int64_t num_in, int64_t num_out, int64_t num_threads
) {
    pack_weights(weight, (two *)packed, num_offsets, num_in, num_out, (int)num_threads);
}

// out (num_rows, C_out in whole vectors).
API void convolve_avx512(
    const void *in, const void *weight, float *out, const void *pairs, const int64_t *starts,
    const int64_t *rows, int64_t, int64_t num_rows, int64_t tile, int64_t num_offsets, int64_t num_in,
    int64_t num_out, int64_t num_threads
) {
    const int64_t num_tiles = (num_rows + tile - 1) / tile, steps = halves(num_in), width = whole(num_out);
#pragma omp parallel for schedule(dynamic) num_threads((int)num_threads) if (num_threads > 1)
    for (int64_t t = 0; t < num_tiles; ++t) {
        const int64_t last = (t + 1) * tile < num_rows ? (t + 1) * tile : num_rows;
        if (rows)
            for (int64_t i = t * tile; i < last; ++i) memset(out + rows[i] * width, 0, width * sizeof(float));
        else
            memset(out + t * tile * width, 0, (last - t * tile) * width * sizeof(float));
        const int64_t *start = starts + t * (num_offsets + 1);
        for (int64_t k = 0; k < num_offsets; ++k)
            multiply_rows_bf16(
                (const two *)in, (const two *)weight + k * steps * width, out, (const Pair *)pairs + start[k],
                (const Pair *)pairs + start[k + 1], steps, width
            );
    }
}

// grad_weight (K, C_in, C_out in whole vectors), zero on entry. The offsets are dealt to the threads. As many tiles are
// taken together as have their rows in the second cache: the sums of an offset then stay in the first, and few of the
// rows that are multiplied at once remain over.
API void convolve_weight_avx512(
    const void *in, const void *grad, float *grad_weight, const void *all_pairs, const int64_t *starts,
    int64_t num_source, int64_t num_target, int64_t num_tiles, int64_t num_offsets, int64_t num_in,
    int64_t num_out, int64_t num_threads
) {
    const int64_t width = whole(num_out), per_tile = num_tiles ? (num_target + num_tiles - 1) / num_tiles : 0;
    const int64_t bytes = per_tile * (whole(num_in) + width) * sizeof(bf16);
    const int64_t together_at_most = bytes && CACHED / bytes > 1 ? CACHED / bytes : 1;
    const Pair *pairs = (const Pair *)all_pairs;
#pragma omp parallel for schedule(static, 1) num_threads((int)num_threads) if (num_threads > 1)
    for (int64_t thread = 0; thread < num_threads; ++thread) {
        two *left = (two *)_mm_malloc(AT_ONCE / 2 * whole(num_in) * sizeof(two), 64);
        two *right = (two *)_mm_malloc(AT_ONCE / 2 * width * sizeof(two), 64);
        for (int64_t first = 0; first < num_tiles; first += together_at_most)
            for (int64_t k = thread; k < num_offsets; k += num_threads) {
                const int64_t last = first + together_at_most < num_tiles ? first + together_at_most : num_tiles;
                float *sums = grad_weight + k * num_in * width;
                Pair some[AT_ONCE];
                int64_t count = 0;
                for (int64_t t = first; t < last; ++t) {
                    const int64_t *start = starts + t * (num_offsets + 1) + k;
                    for (int64_t p = start[0]; p < start[1];) {
                        const int64_t room = AT_ONCE - count, more = start[1] - p < room ? start[1] - p : room;
                        memcpy(some + count, pairs + p, more * sizeof(Pair));
                        p += more, count += more;
                        if (count < AT_ONCE) continue;
                        correlate_pairs(in, grad, some, count, left, right, sums, num_in, num_out);
                        count = 0;
                    }
                }
                if (count % 2) some[count++] = {(int32_t)num_source, (int32_t)num_target}; // the rows of zeros
                if (count) correlate_pairs(in, grad, some, count, left, right, sums, num_in, num_out);
            }
        _mm_free(left);
        _mm_free(right);
    }
}

#else

API int64_t has_avx512_bf16() { return 0; }

#endif
