// Residual blocks in training: normalisation, activation, convolution and sum in as few passes over the rows as their
// statistics allow, and the same backwards. See block.py; channels are whole vectors.

#include "multiply.h"
#include "rows_bf16.h"
#include "sweep.h"

namespace {

template <class T>
void measure(
    const Sources<const T> &in, double *partial, T *stats, const T *weight, const T *bias, T *running_mean,
    T *running_var, double momentum, double eps, int64_t num_rows, bool is_measured, int num_threads
) {
    const int64_t width = in.width(), num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
    double *mean = partial, *square = partial + width, *own = partial + 2 * width;
    if (!is_measured) {
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
        for (int64_t block = 0; block < num_blocks; ++block) {
            const int64_t first = block * rows_per_block;
            const int64_t count = first + rows_per_block < num_rows ? rows_per_block : num_rows - first;
            const Sources<const T> from = in;
            const auto at = [=](int64_t i, int64_t c) { return from.at(first + i, c); };
            block_moments<T>(at, count, own + block * 2 * width, width);
        }
    }
    merge_moments(own, mean, square, num_rows, width);
    settle(mean, square, stats, weight, bias, running_mean, running_var, momentum, eps, num_rows, width);
}

} // namespace

#define EXPORT(T, NAME)                                                                                       \
    /* Statistics of rows, as `settle` gives them; `partial` holds 2 C and then the moments of each block, */ \
    /* which are found here unless `is_measured`. */                                                          \
    API void measure_##NAME(                                                                                  \
        const T *first, int64_t first_width, const T *second, int64_t second_width, double *partial,          \
        T *stats, const T *weight, const T *bias, T *running_mean, T *running_var, double momentum,           \
        double eps, int64_t num_rows, int64_t is_measured, int64_t num_threads                                \
    ) {                                                                                                       \
        measure<T>(                                                                                           \
            {first, first_width, second, second_width}, partial, stats, weight, bias, running_mean,           \
            running_var, momentum, eps, num_rows, is_measured, (int)num_threads                               \
        );                                                                                                    \
    }                                                                                                         \
    API void activate_##NAME(                                                                                 \
        const T *first, int64_t first_width, const T *second, int64_t second_width, const T *stats,           \
        double slope, T *out, int64_t num_rows, int64_t num_threads                                           \
    ) {                                                                                                       \
        const int64_t width = first_width + second_width;                                                     \
        activate<T>(                                                                                          \
            {first, first_width, second, second_width}, stats, (T)slope, num_rows, (int)num_threads,          \
            [=](int64_t r, int64_t c, vector<T> value) { store(out + r * width + c, value); }                 \
        );                                                                                                    \
    }                                                                                                         \
    /* `start` and the two endings may be null; so may `own`, rows that are multiplied by a matrix each. */   \
    API void sweep_##NAME(                                                                                    \
        const T *in, const T *weight, int64_t num_in, const T *own, const T *own_weight, int64_t own_width,   \
        const T *start, T *out, int64_t width, const void *pairs, const int64_t *starts, const int64_t *rows, \
        int64_t num_rows, int64_t tile, int64_t num_offsets, double *moments, double *sums, const T *first,   \
        int64_t first_width, const T *second, int64_t second_width, const T *stats, double slope,             \
        int64_t num_threads                                                                                   \
    ) {                                                                                                       \
        const Sweep<T> sweep = {(const Pair *)pairs, starts, rows, num_rows, tile, num_offsets, width,        \
                                start, out};                                                                  \
        sweep.run(                                                                                            \
            [=](int64_t k, const Pair *begin, const Pair *end) {                                              \
                if (in) multiply_rows<T>(in, weight + k * num_in * width, out, begin, end, num_in, width);    \
            },                                                                                                \
            [=](const Pair *begin, const Pair *end) {                                                         \
                if (own) multiply_rows<T>(own, own_weight, out, begin, end, own_width, width);                \
            },                                                                                                \
            {moments, sums, {first, first_width, second, second_width}, stats, (T)slope}, (int)num_threads    \
        );                                                                                                    \
    }                                                                                                         \
    API void spread_##NAME(                                                                                   \
        const T *first, int64_t first_width, const T *second, int64_t second_width, const T *grad,            \
        const T *stats, double *partial, T *grad_weight, T *grad_bias, const T *more, double slope,           \
        T *out_first, T *out_second, int64_t num_rows, int64_t num_threads                                    \
    ) {                                                                                                       \
        const Sources<T> out = {out_first, first_width, out_second, second_width};                            \
        spread<T>(                                                                                            \
            {first, first_width, second, second_width}, grad, stats, partial, grad_weight, grad_bias, more,   \
            (T)slope, num_rows, (int)num_threads,                                                             \
            [=](int64_t r, int64_t c, vector<T> value) { store(out.at(r, c), value); }                        \
        );                                                                                                    \
    }

EXPORT(float, f32)
EXPORT(double, f64)

#if defined(HAS_BF16)

// Rows rounded to bf16, and one of zeros after them.
API void round_sources_avx512(
    const float *first, int64_t first_width, const float *second, int64_t second_width, void *rounded,
    int64_t num_rows, int64_t num_threads
) {
    const Sources<const float> in = {first, first_width, second, second_width};
    const int64_t width = in.width();
    bf16 *out = (bf16 *)rounded;
#pragma omp parallel for schedule(static) num_threads((int)num_threads) if (num_threads > 1)
    for (int64_t r = 0; r < num_rows; ++r)
        for (int64_t c = 0; c < width; c += LANES)
            store_rounded(out + r * width + c, load<__m512>(in.at(r, c)));
    memset(out + num_rows * width, 0, width * sizeof(bf16));
}

API void activate_avx512(
    const float *first, int64_t first_width, const float *second, int64_t second_width, const float *stats,
    double slope, void *rounded, int64_t num_rows, int64_t num_threads
) {
    const int64_t width = first_width + second_width;
    bf16 *out = (bf16 *)rounded;
    activate<float>(
        {first, first_width, second, second_width}, stats, (float)slope, num_rows, (int)num_threads,
        [=](int64_t r, int64_t c, vector<float> value) { store_rounded(out + r * width + c, load<__m512>((const float *)&value)); }
    );
    memset(out + num_rows * width, 0, width * sizeof(bf16));
}

// Weights (K, C_in, C_out) transposed, to (K, C_out / 2, C_in, 2), the offsets in reverse order if asked.
API void pack_turned_avx512(
    const float *weight, void *packed, int64_t num_offsets, int64_t num_in, int64_t num_out, int64_t reverse,
    int64_t num_threads
) {
    const int64_t steps = num_out / 2;
#pragma omp parallel for schedule(static) num_threads((int)num_threads) if (num_threads > 1)
    for (int64_t k = 0; k < num_offsets; ++k) {
        two *to = (two *)packed + (reverse ? num_offsets - 1 - k : k) * steps * num_in;
        for (int64_t i = 0; i < num_in; i += LANES)
            for (int64_t s = 0; s < steps; s += LANES / 2) {
                two square[LANES / 2][LANES];
                for (int64_t a = 0; a < LANES; ++a) {
                    two row[LANES / 2];
                    const float *from = weight + (k * num_in + i + a) * num_out + 2 * s;
                    store_rounded((bf16 *)row, load<__m512>(from));
                    for (int64_t b = 0; b < LANES / 2; ++b) square[b][a] = row[b];
                }
                for (int64_t b = 0; b < LANES / 2; ++b)
                    memcpy(to + (s + b) * num_in + i, square[b], sizeof(square[b]));
            }
    }
}

API void sweep_avx512(
    const void *in, const void *weight, int64_t num_in, const void *own, const void *own_weight,
    int64_t own_width, const float *start, float *out, int64_t width, const void *pairs, const int64_t *starts,
    const int64_t *rows, int64_t num_rows, int64_t tile, int64_t num_offsets, double *moments, double *sums,
    const float *first, int64_t first_width, const float *second, int64_t second_width, const float *stats,
    double slope, int64_t num_threads
) {
    const Sweep<float> sweep = {(const Pair *)pairs, starts, rows, num_rows, tile, num_offsets, width, start, out};
    const int64_t steps = num_in / 2, own_steps = own_width / 2;
    sweep.run(
        [=](int64_t k, const Pair *begin, const Pair *end) {
            if (in)
                multiply_rows_bf16(
                    (const two *)in, (const two *)weight + k * steps * width, out, begin, end, steps, width
                );
        },
        [=](const Pair *begin, const Pair *end) {
            if (own)
                multiply_rows_bf16((const two *)own, (const two *)own_weight, out, begin, end, own_steps, width);
        },
        {moments, sums, {first, first_width, second, second_width}, stats, (float)slope}, (int)num_threads
    );
}

API void spread_avx512(
    const float *first, int64_t first_width, const float *second, int64_t second_width, const float *grad,
    const float *stats, double *partial, float *grad_weight, float *grad_bias, const float *more, double slope,
    void *rounded, int64_t num_rows, int64_t num_threads
) {
    const int64_t width = first_width + second_width;
    bf16 *out = (bf16 *)rounded;
    spread<float>(
        {first, first_width, second, second_width}, grad, stats, partial, grad_weight, grad_bias, more,
        (float)slope, num_rows, (int)num_threads,
        [=](int64_t r, int64_t c, vector<float> value) { store_rounded(out + r * width + c, load<__m512>((const float *)&value)); }
    );
    memset(out + num_rows * width, 0, width * sizeof(bf16));
}

#endif
