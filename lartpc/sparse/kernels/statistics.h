// Sums over rows of features that batch normalisation and its gradient need.
//
// Sums are made block by block of rows, and those of the blocks added in order: results do not depend on
// the number of threads. Rows come by a function `at` of row and channel, that gives the address.

#pragma once

#include "simd.h"

namespace {

constexpr int64_t rows_per_block = 64;

// By copies, which need no alignment: a template argument loses that attribute of its type.
template <class V, class T> INLINE V load(const T *from) {
    V value;
    __builtin_memcpy(&value, from, sizeof(V));
    return value;
}

template <class V, class T> INLINE void store(T *to, V value) { __builtin_memcpy(to, &value, sizeof(V)); }

// N vectors of channels, or single ones, that are worked on together.
template <class V_, int N_> struct Columns {
    typedef V_ V;
    static constexpr int N = N_;
};

// Call with up to four vectors of channels at a time, then with single channels. A sum is a chain of additions, each of
// which waits for the one before: several side by side take the time of one.
template <class T, class Work> INLINE void over_channels(int64_t width, Work work) {
    int64_t c = 0;
    for (int n = together(width / lanes<T>); n > 0; n = together((width - c) / lanes<T>)) {
        if (n == 4) work(Columns<vector<T>, 4>{}, c);
        if (n == 3) work(Columns<vector<T>, 3>{}, c);
        if (n == 2) work(Columns<vector<T>, 2>{}, c);
        if (n == 1) work(Columns<vector<T>, 1>{}, c);
        c += n * lanes<T>;
    }
    for (; c < width; ++c) work(Columns<T, 1>{}, c);
}

// Write values as doubles.
template <class T, class V> INLINE void put_doubles(double *to, V value) {
    T parts[sizeof(V) / sizeof(T)];
    store<V>(parts, value);
    for (int64_t i = 0; i < (int64_t)(sizeof(V) / sizeof(T)); ++i) to[i] = parts[i];
}

// Mean of each channel of a block of rows and sum of squares about it, in two passes: `to` (2, C).
template <class T, class At> INLINE void block_moments(At at, int64_t count, double *to, int64_t width) {
    over_channels<T>(width, [=](auto kind, int64_t c) __attribute__((always_inline)) {
        typedef typename decltype(kind)::V V;
        constexpr int N = decltype(kind)::N, step = sizeof(V) / sizeof(T);
        V sum[N] = {}, about[N] = {};
        for (int64_t i = 0; i < count; ++i)
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[n] += load<V>(at(i, c + n * step));
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[n] /= (T)count;
        for (int64_t i = 0; i < count; ++i)
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) {
                const V away = load<V>(at(i, c + n * step)) - sum[n];
                about[n] += away * away;
            }
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
            put_doubles<T>(to + c + n * step, sum[n]);
            put_doubles<T>(to + width + c + n * step, about[n]);
        }
    });
}

// Those of all rows, from those of the blocks (blocks, 2, C), in order, in double: Chan, Golub and LeVeque, Am. Stat. 37
// (1983) 242.
inline void merge_moments(const double *partial, double *mean, double *square, int64_t num_rows, int64_t width) {
    const int64_t num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
    for (int64_t c = 0; c < width; ++c) mean[c] = square[c] = 0;
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t before = block * rows_per_block;
        const int64_t count = num_rows - before < rows_per_block ? num_rows - before : rows_per_block;
        const double share = (double)count / (before + count);
        const double *from = partial + block * 2 * width;
        for (int64_t c = 0; c < width; ++c) {
            const double step = from[c] - mean[c];
            mean[c] += step * share;
            square[c] += from[width + c] + step * step * share * before;
        }
    }
}

// What a normalisation does with them: `stats` (4, C): multiply by, add, mean, 1 / standard deviation. The running
// statistics are moved towards them.
template <class T>
void settle(
    const double *mean, const double *square, T *stats, const T *weight, const T *bias, T *running_mean,
    T *running_var, double momentum, double eps, int64_t num_rows, int64_t width
) {
    for (int64_t c = 0; c < width; ++c) {
        const double invstd = 1 / __builtin_sqrt(square[c] / num_rows + eps), scale = weight[c] * invstd;
        stats[c] = (T)scale;
        stats[width + c] = (T)(bias[c] - mean[c] * scale);
        stats[2 * width + c] = (T)mean[c];
        stats[3 * width + c] = (T)invstd;
        running_mean[c] = (T)(running_mean[c] + momentum * (mean[c] - running_mean[c]));
        running_var[c] = (T)(running_var[c] + momentum * (square[c] / (num_rows - 1) - running_var[c]));
    }
}

// Of a block of rows, the gradients of bias and weight of leaky((in - mean) * invstd * weight + bias): `to` (2, C).
template <class T, class At, class GradAt>
INLINE void block_sums(At at, GradAt grad_at, const T *stats, T slope, int64_t count, double *to, int64_t width) {
    const T *scale = stats, *shift = stats + width, *mean = stats + 2 * width, *invstd = stats + 3 * width;
    over_channels<T>(width, [=](auto kind, int64_t c) __attribute__((always_inline)) {
        typedef typename decltype(kind)::V V;
        constexpr int N = decltype(kind)::N, step = sizeof(V) / sizeof(T);
        V sum[N] = {}, product[N] = {};
        for (int64_t i = 0; i < count; ++i)
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) {
                const int64_t k = c + n * step;
                const V x = load<V>(at(i, k)), g = load<V>(grad_at(i, k));
                const V through = x * load<V>(scale + k) + load<V>(shift + k) > 0 ? g : g * slope;
                sum[n] += through;
                product[n] += through * ((x - load<V>(mean + k)) * load<V>(invstd + k));
            }
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
            put_doubles<T>(to + c + n * step, sum[n]);
            put_doubles<T>(to + width + c + n * step, product[n]);
        }
    });
}

// Those of all rows, from those of the blocks (blocks, 2, C), in order; the first block's place is used.
template <class T>
void merge_sums(double *partial, T *grad_weight, T *grad_bias, int64_t num_rows, int64_t width) {
    const int64_t num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
    for (int64_t block = 1; block < num_blocks; ++block)
        for (int64_t c = 0; c < 2 * width; ++c) partial[c] += partial[block * 2 * width + c];
    for (int64_t c = 0; c < width; ++c) {
        grad_bias[c] = (T)partial[c];
        grad_weight[c] = (T)partial[width + c];
    }
}

} // namespace
