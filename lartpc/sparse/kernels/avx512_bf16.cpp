// Sparse convolution with products in bf16 and sums in fp32, on processors with AVX512-BF16 (Zen 4, Cooper Lake).
//
// One instruction multiplies 16 pairs of values by 16 others and adds each pair's two products to one of 16 sums.
// Values of two input channels of a row stand together in memory already; weights are packed so, and so are the
// rows of two pairs of the kernel map, for the gradient of the weights. The tiles are those of the kernel in fp32,
// and sums run in a fixed order: results do not depend on the number of threads.
//
// Rows in bf16 are padded with a zero to an even number of channels, and followed by a row of zeros.

#include "correlate_bf16.h"
#include "rows_bf16.h"
#include "simd.h"
#include "tiles.h"

#ifdef HAS_BF16

namespace {

constexpr int64_t AT_ONCE = 64;           // pairs of an offset, for the gradient of its weights
constexpr int64_t CACHED = 512 * 1024; // so many bytes of rows stay in the second cache

void round_rows(const float *in, bf16 *out, int64_t num_rows, int64_t width, int num_threads) {
    const int64_t padded = 2 * halves(width);
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t r = 0; r < num_rows; ++r) round_row(in + r * width, out + r * padded, width);
    memset(out + num_rows * padded, 0, padded * sizeof(bf16));
}

// Weights (K, C_in, C_out) to (K, C_in / 2, C_out in whole vectors, 2).
void pack_weights(
    const float *weight, two *packed, int64_t num_offsets, int64_t num_in, int64_t num_out, int num_threads
) {
    const int64_t size = halves(num_in) * whole(num_out);
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t k = 0; k < num_offsets; ++k)
        pack_matrix(weight + k * num_in * num_out, packed + k * size, num_in, num_out);
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
