// Sparse convolution and the gradient of its weights.
//
// An output row belongs to one tile and a tile to one thread, and sums run in a fixed order: results do
// not depend on the number of threads.

#include "multiply.h"
#include "simd.h"
#include "tiles.h"

namespace {

template <class T>
void convolve(
    const T *in, const T *weight, T *out, const Pair *pairs, const int64_t *starts, const int64_t *rows,
    int64_t num_rows, int64_t tile, int64_t num_offsets, int64_t num_in, int64_t num_out, int num_threads
) {
    const int64_t num_tiles = (num_rows + tile - 1) / tile;
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (num_threads > 1)
    for (int64_t t = 0; t < num_tiles; ++t) {
        const int64_t last = (t + 1) * tile < num_rows ? (t + 1) * tile : num_rows;
        if (rows)
            for (int64_t i = t * tile; i < last; ++i) memset(out + rows[i] * num_out, 0, num_out * sizeof(T));
        else
            memset(out + t * tile * num_out, 0, (last - t * tile) * num_out * sizeof(T));
        const int64_t *start = starts + t * (num_offsets + 1);
        for (int64_t k = 0; k < num_offsets; ++k) {
            const Pair *begin = pairs + start[k], *end = pairs + start[k + 1];
            if (begin == end) continue;
            multiply_rows<T>(in, weight + k * num_in * num_out, out, begin, end, num_in, num_out);
        }
    }
}

// -- gradient of the weights ---------------------------------------------------------------------

// grad_weight must be zero on entry. The offsets are dealt to the threads. Tile by tile, the rows of one
// offset are still in the cache for the next, and a few pairs at a time for all blocks of channels.
template <class T>
void convolve_weight(
    const T *in, const T *grad, T *grad_weight, const Pair *pairs, const int64_t *starts, int64_t num_tiles,
    int64_t num_offsets, int64_t num_in, int64_t num_out, int num_threads
) {
    constexpr int64_t at_once = 64;
#pragma omp parallel for schedule(static, 1) num_threads(num_threads) if (num_threads > 1)
    for (int64_t thread = 0; thread < num_threads; ++thread)
        for (int64_t t = 0; t < num_tiles; ++t)
            for (int64_t k = thread; k < num_offsets; k += num_threads) {
                const int64_t *start = starts + t * (num_offsets + 1) + k;
                for (int64_t begin = start[0]; begin < start[1]; begin += at_once) {
                    const Pair *pair = pairs + begin;
                    const Pair *end = pairs + (begin + at_once < start[1] ? begin + at_once : start[1]);
                    T *to = grad_weight + k * num_in * num_out;
                    correlate_rows<T>(in, grad, to, pair, end, num_in, num_out);
                }
            }
}

// Transpose the matrix of each offset, (num_in, num_out) to (num_out, num_in); reverse: last offset first.
template <class T>
void turn(
    const T *weight, T *turned, int64_t num_offsets, int64_t num_in, int64_t num_out, int reverse, int num_threads
) {
    constexpr int64_t side = 16;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t k = 0; k < num_offsets; ++k) {
        const T *from = weight + k * num_in * num_out;
        T *to = turned + (reverse ? num_offsets - 1 - k : k) * num_in * num_out;
        for (int64_t i = 0; i < num_in; i += side)
            for (int64_t j = 0; j < num_out; j += side) {
                if (i + side <= num_in && j + side <= num_out) {
                    // Through a square of fixed size: strided writes stay in registers' reach.
                    T square[side][side];
                    for (int64_t a = 0; a < side; ++a)
                        for (int64_t b = 0; b < side; ++b) square[b][a] = from[(i + a) * num_out + j + b];
                    for (int64_t b = 0; b < side; ++b)
                        memcpy(to + (j + b) * num_in + i, square[b], sizeof(square[b]));
                    continue;
                }
                for (int64_t b = j; b < j + side && b < num_out; ++b)
                    for (int64_t a = i; a < i + side && a < num_in; ++a) to[b * num_in + a] = from[a * num_out + b];
            }
    }
}

} // namespace

#define EXPORT(T, NAME)                                                                                      \
    API void convolve_##NAME(                                                                                \
        const T *in, const T *weight, T *out, const void *pairs, const int64_t *starts, const int64_t *rows, \
        int64_t num_rows, int64_t tile, int64_t num_offsets, int64_t num_in, int64_t num_out,                \
        int64_t num_threads                                                                                  \
    ) {                                                                                                      \
        convolve<T>(                                                                                         \
            in, weight, out, (const Pair *)pairs, starts, rows, num_rows, tile, num_offsets, num_in,         \
            num_out, (int)num_threads                                                                        \
        );                                                                                                   \
    }                                                                                                        \
    API void convolve_weight_##NAME(                                                                         \
        const T *in, const T *grad, T *grad_weight, const void *pairs, const int64_t *starts,                \
        int64_t num_tiles, int64_t num_offsets, int64_t num_in, int64_t num_out,      \
        int64_t num_threads                                                                                  \
    ) {                                                                                                      \
        convolve_weight<T>(                                                                                  \
            in, grad, grad_weight, (const Pair *)pairs, starts, num_tiles, num_offsets,       \
            num_in, num_out, (int)num_threads                                                                \
        );                                                                                                   \
    }                                                                                                        \
    API void turn_##NAME(                                                                                    \
        const T *weight, T *turned, int64_t num_offsets, int64_t num_in, int64_t num_out, int64_t reverse,   \
        int64_t num_threads                                                                                  \
    ) {                                                                                                      \
        turn<T>(weight, turned, num_offsets, num_in, num_out, (int)reverse, (int)num_threads);               \
    }

EXPORT(float, f32)
EXPORT(double, f64)

API int64_t vector_bytes() { return BYTES; }
