// Batch normalisation and LeakyReLU of features (rows, channels), and their gradients.

#include "statistics.h"

namespace {

// Sum and sum of squares about the mean of each channel (C,), in double. `partial` holds 2 C doubles per block.
template <class T>
void moments(
    const T *in, double *mean, double *square, double *partial, int64_t num_rows, int64_t width, int num_threads
) {
    const int64_t num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t count = first + rows_per_block < num_rows ? rows_per_block : num_rows - first;
        const auto at = [=](int64_t i, int64_t c) { return in + (first + i) * width + c; };
        block_moments<T>(at, count, partial + block * 2 * width, width);
    }
    merge_moments(partial, mean, square, num_rows, width);
}

// out = leaky(in * scale + shift), channel by channel.
template <class T>
void normalise(
    const T *in, T *out, const T *scale, const T *shift, T slope, int64_t num_rows, int64_t width, int num_threads
) {
    const int64_t num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t last = first + rows_per_block < num_rows ? first + rows_per_block : num_rows;
        over_channels<T>(width, [=](auto kind, int64_t c) __attribute__((always_inline)) {
            typedef typename decltype(kind)::V V;
            constexpr int N = decltype(kind)::N, step = sizeof(V) / sizeof(T);
            for (int64_t r = first; r < last; ++r)
#pragma GCC unroll 4
                for (int n = 0; n < N; ++n) {
                    const int64_t k = c + n * step;
                    const V value = load<V>(in + r * width + k) * load<V>(scale + k) + load<V>(shift + k);
                    store<V>(out + r * width + k, value > 0 ? value : value * slope);
                }
        });
    }
}

// By the running statistics. `affine` holds 2 C: what to multiply by and what to add.
template <class T>
void normalise_by_running(
    const T *in, T *out, T *affine, const T *weight, const T *bias, const T *running_mean, const T *running_var,
    double eps, T slope, int64_t num_rows, int64_t width, int num_threads
) {
    for (int64_t c = 0; c < width; ++c) {
        const double scale = weight[c] / __builtin_sqrt(running_var[c] + eps);
        affine[c] = (T)scale;
        affine[width + c] = (T)(bias[c] - running_mean[c] * scale);
    }
    normalise(in, out, affine, affine + width, slope, num_rows, width, num_threads);
}

// By the statistics of `in`, which the running ones are moved towards. `stats` (4, C): multiply by, add,
// mean, 1 / standard deviation. `partial` holds 2 C doubles, and as many per block.
template <class T>
void normalise_by_own(
    const T *in, T *out, T *stats, double *partial, const T *weight, const T *bias, T *running_mean,
    T *running_var, double momentum, double eps, T slope, int64_t num_rows, int64_t width, int num_threads
) {
    double *mean = partial, *square = partial + width;
    moments(in, mean, square, partial + 2 * width, num_rows, width, num_threads);
    settle(mean, square, stats, weight, bias, running_mean, running_var, momentum, eps, num_rows, width);
    normalise(in, out, stats, stats + width, slope, num_rows, width, num_threads);
}

// The gradient of leaky((in - mean) * invstd * weight + bias), with the statistics those of `in`:
// Ioffe and Szegedy, arXiv:1502.03167, section 3. `partial` holds 2 C doubles per block.
template <class T>
void normalise_backward(
    const T *in, const T *grad, T *grad_in, T *grad_weight, T *grad_bias, const T *stats, double *partial,
    T slope, int64_t num_rows, int64_t width, int num_threads
) {
    const T *scale = stats, *shift = stats + width, *mean = stats + 2 * width, *invstd = stats + 3 * width;
    const int64_t num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t count = first + rows_per_block < num_rows ? rows_per_block : num_rows - first;
        const auto at = [=](int64_t i, int64_t c) { return in + (first + i) * width + c; };
        const auto grad_at = [=](int64_t i, int64_t c) { return grad + (first + i) * width + c; };
        block_sums<T>(at, grad_at, stats, slope, count, partial + block * 2 * width, width);
    }
    merge_sums(partial, grad_weight, grad_bias, num_rows, width);
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t last = first + rows_per_block < num_rows ? first + rows_per_block : num_rows;
        over_channels<T>(width, [=](auto kind, int64_t c) __attribute__((always_inline)) {
            typedef typename decltype(kind)::V V;
            constexpr int N = decltype(kind)::N, step = sizeof(V) / sizeof(T);
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) {
                const int64_t k = c + n * step;
                const V by = load<V>(scale + k), plus = load<V>(shift + k);
                const V middle = load<V>(mean + k), narrow = load<V>(invstd + k);
                const V sum = load<V>(grad_bias + k) / (T)num_rows, product = load<V>(grad_weight + k) / (T)num_rows;
                for (int64_t r = first; r < last; ++r) {
                    const V x = load<V>(in + r * width + k), g = load<V>(grad + r * width + k);
                    const V through = x * by + plus > 0 ? g : g * slope;
                    store<V>(grad_in + r * width + k, by * (through - sum - (x - middle) * narrow * product));
                }
            }
        });
    }
}

} // namespace

#define EXPORT(T, NAME)                                                                                      \
    API void normalise_by_running_##NAME(                                                                    \
        const T *in, T *out, T *affine, const T *weight, const T *bias, const T *running_mean,               \
        const T *running_var, double eps, double slope, int64_t num_rows, int64_t width, int64_t num_threads \
    ) {                                                                                                      \
        normalise_by_running<T>(                                                                             \
            in, out, affine, weight, bias, running_mean, running_var, eps, (T)slope, num_rows, width,        \
            (int)num_threads                                                                                 \
        );                                                                                                   \
    }                                                                                                        \
    API void normalise_by_own_##NAME(                                                                        \
        const T *in, T *out, T *stats, double *partial, const T *weight, const T *bias, T *running_mean,     \
        T *running_var, double momentum, double eps, double slope, int64_t num_rows, int64_t width,          \
        int64_t num_threads                                                                                  \
    ) {                                                                                                      \
        normalise_by_own<T>(                                                                                 \
            in, out, stats, partial, weight, bias, running_mean, running_var, momentum, eps, (T)slope,       \
            num_rows, width, (int)num_threads                                                                \
        );                                                                                                   \
    }                                                                                                        \
    API void normalise_backward_##NAME(                                                                      \
        const T *in, const T *grad, T *grad_in, T *grad_weight, T *grad_bias, const T *stats,                \
        double *partial, double slope, int64_t num_rows, int64_t width, int64_t num_threads                  \
    ) {                                                                                                      \
        normalise_backward<T>(                                                                               \
            in, grad, grad_in, grad_weight, grad_bias, stats, partial, (T)slope, num_rows, width,            \
            (int)num_threads                                                                                 \
        );                                                                                                   \
    }

EXPORT(float, f32)
EXPORT(double, f64)
