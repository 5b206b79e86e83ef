// A convolution whose tiles are begun and ended with what comes before and after it in a residual block, while
// their rows are in the cache. See block.py.

#pragma once

#include <vector>

#include "statistics.h"
#include "tiles.h"

namespace {

// Rows of features whose channels come from one array, or the first of them from one and the others from another. Both
// have whole vectors of channels.
template <class T> struct Sources {
    T *first;
    int64_t first_width;
    T *second;
    int64_t second_width;

    int64_t width() const { return first_width + second_width; }
    T *at(int64_t r, int64_t c) const {
        return c < first_width ? first + r * first_width + c : second + r * second_width + c - first_width;
    }
};

// What a tile ends with: nothing, the moments of its output, or, where that is a gradient, the sums that go to weight and
// bias of a normalisation and activation whose input was `in`. `partial` (blocks, 2, C).
template <class T> struct Ending {
    double *moments, *sums;
    Sources<const T> in;
    const T *stats;
    T slope;

    void operator()(const T *out, const int64_t *rows, int64_t first, int64_t last, int64_t width) const {
        if (!moments && !sums) return;
        for (int64_t begin = first; begin < last; begin += rows_per_block) {
            const int64_t count = last - begin < rows_per_block ? last - begin : rows_per_block;
            const int64_t place = begin / rows_per_block * 2 * width;
            const Sources<const T> from = in;
            if (rows) {
                const auto at = [=](int64_t i, int64_t c) { return out + rows[begin + i] * width + c; };
                const auto in_at = [=](int64_t i, int64_t c) { return from.at(rows[begin + i], c); };
                if (moments) block_moments<T>(at, count, moments + place, width);
                if (sums) block_sums<T>(in_at, at, stats, slope, count, sums + place, width);
            } else {
                const auto at = [=](int64_t i, int64_t c) { return out + (begin + i) * width + c; };
                const auto in_at = [=](int64_t i, int64_t c) { return from.at(begin + i, c); };
                if (moments) block_moments<T>(at, count, moments + place, width);
                if (sums) block_sums<T>(in_at, at, stats, slope, count, sums + place, width);
            }
        }
    }
};

// The map and the output (num_rows, width) of a convolution. Output begins with the rows of `start`, or zeros.
template <class T> struct Sweep {
    const Pair *pairs;
    const int64_t *starts, *rows;
    int64_t num_rows, tile, num_offsets, width;
    const T *start;
    T *out;

    // `multiply(k, begin, end)` adds the products of pairs of offset k, `multiply_own(begin, end)` those of each row
    // with itself: the pairs of the middle offset.
    template <class Multiply, class MultiplyOwn>
    void run(Multiply multiply, MultiplyOwn multiply_own, const Ending<T> &ending, int num_threads) const {
        const int64_t num_tiles = (num_rows + tile - 1) / tile;
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (num_threads > 1)
        for (int64_t t = 0; t < num_tiles; ++t) {
            const int64_t first = t * tile, last = first + tile < num_rows ? first + tile : num_rows;
            const int64_t bytes = width * sizeof(T);
            for (int64_t i = first; i < last; ++i) {
                const int64_t r = rows ? rows[i] : i;
                if (start) memcpy(out + r * width, start + r * width, bytes);
                else memset(out + r * width, 0, bytes);
            }
            const int64_t *at = starts + t * (num_offsets + 1), middle = num_offsets / 2;
            for (int64_t k = 0; k < num_offsets; ++k) multiply(k, pairs + at[k], pairs + at[k + 1]);
            multiply_own(pairs + at[middle], pairs + at[middle + 1]);
            ending(out, rows, first, last, width);
        }
    }
};

// out = leaky(in * scale + shift), rows of whole vectors; `put(r, c, vector)` writes them.
template <class T, class Put>
void activate(const Sources<const T> &in, const T *stats, T slope, int64_t num_rows, int num_threads, Put put) {
    const int64_t width = in.width(), num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
    const T *scale = stats, *shift = stats + width;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t last = first + rows_per_block < num_rows ? first + rows_per_block : num_rows;
        for (int64_t r = first; r < last; ++r)
            for (int64_t c = 0; c < width; c += lanes<T>) {
                typedef vector<T> V;
                const V value = load<V>(in.at(r, c)) * load<V>(scale + c) + load<V>(shift + c);
                put(r, c, value > 0 ? value : value * slope);
            }
    }
}

// The gradient of `in` in leaky((in - mean) * invstd * weight + bias), of that of the output, with the statistics those of
// `in`: Ioffe and Szegedy, arXiv:1502.03167, section 3. `partial` holds the sums of the blocks (blocks, 2, C), and is
// spent. Rows of `more`, if there are any, are added.
template <class T, class Put>
void spread(
    const Sources<const T> &in, const T *grad, const T *stats, double *partial, T *grad_weight, T *grad_bias,
    const T *more, T slope, int64_t num_rows, int num_threads, Put put
) {
    const int64_t width = in.width(), num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
    merge_sums(partial, grad_weight, grad_bias, num_rows, width);
    std::vector<T> means(2 * width);
    for (int64_t c = 0; c < width; ++c) {
        means[c] = grad_bias[c] / (T)num_rows;
        means[width + c] = grad_weight[c] / (T)num_rows;
    }
    const T *mean_sum = means.data(), *mean_product = mean_sum + width;
    const T *scale = stats, *shift = stats + width, *mean = stats + 2 * width, *invstd = stats + 3 * width;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t last = first + rows_per_block < num_rows ? first + rows_per_block : num_rows;
        for (int64_t r = first; r < last; ++r)
            for (int64_t c = 0; c < width; c += lanes<T>) {
                typedef vector<T> V;
                const V by = load<V>(scale + c), narrow = load<V>(invstd + c);
                const V sum = load<V>(mean_sum + c), product = load<V>(mean_product + c);
                const V x = load<V>(in.at(r, c)), g = load<V>(grad + r * width + c);
                const V through = x * by + load<V>(shift + c) > 0 ? g : g * slope;
                V found = by * (through - sum - (x - load<V>(mean + c)) * narrow * product);
                if (more) found += load<V>(more + r * width + c);
                put(r, c, found);
            }
    }
}

} // namespace
