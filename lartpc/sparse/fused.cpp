// Sparse convolution on CPUs: kernel maps in tiles, the convolution, the gradient of its weights, and
// batch normalisation with LeakyReLU. Plain C interface, called by fused.py; no library but OpenMP.
//
// A tile is a run of output rows. For each tile and kernel offset there is a list of pairs (input row,
// output row), in which an output row occurs at most once. An output row belongs to one tile and a tile
// to one thread, and sums run in a fixed order: results do not depend on the number of threads.
//
// Vectors are GCC's generic ones, as wide as the registers of the machine that compiles this file.

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#define WIDE 1
#elif defined(__AVX__)
#define BYTES 32
#define WIDE 0
#else
#define BYTES 16
#if defined(__aarch64__)
#define WIDE 1
#else
#define WIDE 0
#endif
#endif

#define API extern "C" __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

namespace {

struct Pair {
    int32_t source, target;
};

template <class T> struct Simd;
template <> struct Simd<float> {
    typedef float vector __attribute__((vector_size(BYTES), aligned(4), may_alias));
};
template <> struct Simd<double> {
    typedef double vector __attribute__((vector_size(BYTES), aligned(8), may_alias));
};
template <class T> using vector = typename Simd<T>::vector;
template <class T> constexpr int lanes = BYTES / sizeof(T);

// Rows that share the loads of the weights, so that their sums fit the registers: 32 of them where
// WIDE, else 16.
constexpr int rows_at_once(int num_vectors) {
    if (WIDE) return num_vectors <= 3 ? 8 : 6;
    return num_vectors == 1 ? 8 : num_vectors == 2 ? 5 : num_vectors == 3 ? 4 : 3;
}

// -- convolution ---------------------------------------------------------------------------------

// R pairs, N vectors of output channels: out[target] += in[source] @ weight.
template <class T, int N, int R>
INLINE void multiply(const T *in, const T *weight, T *out, const Pair *pair, int64_t num_in, int64_t num_out) {
    const T *row[R];
    vector<T> sum[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        row[r] = in + pair[r].source * num_in;
        const T *to = out + pair[r].target * num_out;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[r][v] = *(const vector<T> *)(to + v * lanes<T>);
    }
    for (int64_t c = 0; c < num_in; ++c, weight += num_out) {
        vector<T> w[N];
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) w[v] = *(const vector<T> *)(weight + v * lanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const T x = row[r][c];
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) sum[r][v] += x * w[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        T *to = out + pair[r].target * num_out;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) *(vector<T> *)(to + v * lanes<T>) = sum[r][v];
    }
}

// All pairs of a tile and an offset, for N vectors of output channels.
template <class T, int N>
void multiply_all(
    const T *in, const T *weight, T *out, const Pair *pair, const Pair *end, int64_t num_in, int64_t num_out
) {
    constexpr int R = rows_at_once(N);
    for (; end - pair >= R; pair += R) multiply<T, N, R>(in, weight, out, pair, num_in, num_out);
    switch (end - pair) {
    case 7: return multiply<T, N, 7>(in, weight, out, pair, num_in, num_out);
    case 6: return multiply<T, N, 6>(in, weight, out, pair, num_in, num_out);
    case 5: return multiply<T, N, 5>(in, weight, out, pair, num_in, num_out);
    case 4: return multiply<T, N, 4>(in, weight, out, pair, num_in, num_out);
    case 3: return multiply<T, N, 3>(in, weight, out, pair, num_in, num_out);
    case 2: return multiply<T, N, 2>(in, weight, out, pair, num_in, num_out);
    case 1: return multiply<T, N, 1>(in, weight, out, pair, num_in, num_out);
    default: return;
    }
}

// Vectors taken together next, when `left` remain: four, but not so that one alone is left over.
INLINE int together(int64_t left) { return left == 5 ? 3 : left == 6 ? 3 : left < 4 ? (int)left : 4; }

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
            const T *matrix = weight + k * num_in * num_out;
            for (int64_t c = 0; c < num_out;) {
                const int n = together((num_out - c) / lanes<T>);
                if (n == 1) multiply_all<T, 1>(in, matrix + c, out + c, begin, end, num_in, num_out);
                if (n == 2) multiply_all<T, 2>(in, matrix + c, out + c, begin, end, num_in, num_out);
                if (n == 3) multiply_all<T, 3>(in, matrix + c, out + c, begin, end, num_in, num_out);
                if (n == 4) multiply_all<T, 4>(in, matrix + c, out + c, begin, end, num_in, num_out);
                c += n * lanes<T>;
            }
        }
    }
}

// -- gradient of the weights ---------------------------------------------------------------------

// I input channels, N vectors of output channels: grad_weight += in[source]^T @ grad[target].
template <class T, int N, int I>
INLINE void correlate(
    const T *in, const T *grad, T *grad_weight, const Pair *pair, const Pair *end, int64_t num_in, int64_t num_out
) {
    vector<T> sum[I][N] = {};
    for (; pair < end; ++pair) {
        const T *x = in + pair->source * num_in, *from = grad + pair->target * num_out;
        vector<T> g[N];
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) g[v] = *(const vector<T> *)(from + v * lanes<T>);
#pragma GCC unroll 16
        for (int i = 0; i < I; ++i) {
            const T value = x[i];
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) sum[i][v] += value * g[v];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < I; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) *(vector<T> *)(grad_weight + i * num_out + v * lanes<T>) += sum[i][v];
}

// All input channels, for N vectors of output channels.
template <class T, int N>
void correlate_all(
    const T *in, const T *grad, T *grad_weight, const Pair *pair, const Pair *end, int64_t num_in, int64_t num_out
) {
    constexpr int most = (WIDE ? 24 : 12) / N;
    constexpr int I = most >= 16 ? 16 : most;
    int64_t c = 0;
    for (; num_in - c >= I; c += I)
        correlate<T, N, I>(in + c, grad, grad_weight + c * num_out, pair, end, num_in, num_out);
    for (; num_in - c >= 4; c += 4)
        correlate<T, N, 4>(in + c, grad, grad_weight + c * num_out, pair, end, num_in, num_out);
    for (; c < num_in; ++c)
        correlate<T, N, 1>(in + c, grad, grad_weight + c * num_out, pair, end, num_in, num_out);
}

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
                    for (int64_t c = 0; c < num_out;) {
                        const int n = together((num_out - c) / lanes<T>);
                        if (n == 1) correlate_all<T, 1>(in, grad + c, to + c, pair, end, num_in, num_out);
                        if (n == 2) correlate_all<T, 2>(in, grad + c, to + c, pair, end, num_in, num_out);
                        if (n == 3) correlate_all<T, 3>(in, grad + c, to + c, pair, end, num_in, num_out);
                        if (n == 4) correlate_all<T, 4>(in, grad + c, to + c, pair, end, num_in, num_out);
                        c += n * lanes<T>;
                    }
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

// -- batch normalisation and LeakyReLU -----------------------------------------------------------

constexpr int64_t rows_per_block = 64;

// By copies, which need no alignment: a template argument loses that attribute of its type.
template <class V, class T> INLINE V load(const T *from) {
    V value;
    __builtin_memcpy(&value, from, sizeof(V));
    return value;
}

template <class V, class T> INLINE void store(T *to, V value) { __builtin_memcpy(to, &value, sizeof(V)); }

// Call with a vector's worth of channels at a time, then with single ones.
template <class T, class Work> INLINE void over_channels(int64_t width, Work work) {
    int64_t c = 0;
    for (; width - c >= lanes<T>; c += lanes<T>) work(vector<T>{}, c);
    for (; c < width; ++c) work(T{}, c);
}

// Sum and sum of squares about the mean of each channel (C,), in double: blocks of rows, each in two
// passes, are merged in order (Chan, Golub and LeVeque, Am. Stat. 37 (1983) 242).
// `partial` holds 2 C doubles per block.
template <class T>
void moments(
    const T *in, double *mean, double *square, double *partial, int64_t num_rows, int64_t width, int num_threads
) {
    const int64_t num_blocks = (num_rows + rows_per_block - 1) / rows_per_block;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t last = first + rows_per_block < num_rows ? first + rows_per_block : num_rows;
        double *to = partial + block * 2 * width;
        over_channels<T>(width, [=](auto kind, int64_t c) __attribute__((always_inline)) {
            typedef decltype(kind) V;
            V sum = {}, about = {};
            for (int64_t r = first; r < last; ++r) sum += load<V>(in + r * width + c);
            const V middle = sum / (T)(last - first);
            for (int64_t r = first; r < last; ++r) {
                const V away = load<V>(in + r * width + c) - middle;
                about += away * away;
            }
            T parts[2][sizeof(V) / sizeof(T)];
            store<V>(parts[0], middle);
            store<V>(parts[1], about);
            for (int64_t i = 0; i < (int64_t)(sizeof(V) / sizeof(T)); ++i) {
                to[c + i] = parts[0][i];
                to[width + c + i] = parts[1][i];
            }
        });
    }
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
            typedef decltype(kind) V;
            const V by = load<V>(scale + c), plus = load<V>(shift + c);
            for (int64_t r = first; r < last; ++r) {
                const V value = load<V>(in + r * width + c) * by + plus;
                store<V>(out + r * width + c, value > 0 ? value : value * slope);
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
    for (int64_t c = 0; c < width; ++c) {
        const double invstd = 1 / __builtin_sqrt(square[c] / num_rows + eps), scale = weight[c] * invstd;
        stats[c] = (T)scale;
        stats[width + c] = (T)(bias[c] - mean[c] * scale);
        stats[2 * width + c] = (T)mean[c];
        stats[3 * width + c] = (T)invstd;
        running_mean[c] = (T)(running_mean[c] + momentum * (mean[c] - running_mean[c]));
        running_var[c] = (T)(running_var[c] + momentum * (square[c] / (num_rows - 1) - running_var[c]));
    }
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
        const int64_t last = first + rows_per_block < num_rows ? first + rows_per_block : num_rows;
        double *to = partial + block * 2 * width;
        over_channels<T>(width, [=](auto kind, int64_t c) __attribute__((always_inline)) {
            typedef decltype(kind) V;
            const V by = load<V>(scale + c), plus = load<V>(shift + c);
            const V middle = load<V>(mean + c), narrow = load<V>(invstd + c);
            V sum = {}, product = {};
            for (int64_t r = first; r < last; ++r) {
                const V x = load<V>(in + r * width + c), g = load<V>(grad + r * width + c);
                const V through = x * by + plus > 0 ? g : g * slope;
                sum += through;
                product += through * ((x - middle) * narrow);
            }
            T parts[2][sizeof(V) / sizeof(T)];
            store<V>(parts[0], sum);
            store<V>(parts[1], product);
            for (int64_t i = 0; i < (int64_t)(sizeof(V) / sizeof(T)); ++i) {
                to[c + i] = parts[0][i];
                to[width + c + i] = parts[1][i];
            }
        });
    }
    for (int64_t block = 1; block < num_blocks; ++block)
        for (int64_t c = 0; c < 2 * width; ++c) partial[c] += partial[block * 2 * width + c];
    for (int64_t c = 0; c < width; ++c) {
        grad_bias[c] = (T)partial[c];
        grad_weight[c] = (T)partial[width + c];
    }
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t first = block * rows_per_block;
        const int64_t last = first + rows_per_block < num_rows ? first + rows_per_block : num_rows;
        over_channels<T>(width, [=](auto kind, int64_t c) __attribute__((always_inline)) {
            typedef decltype(kind) V;
            const V by = load<V>(scale + c), plus = load<V>(shift + c);
            const V middle = load<V>(mean + c), narrow = load<V>(invstd + c);
            const V sum = load<V>(grad_bias + c) / (T)num_rows, product = load<V>(grad_weight + c) / (T)num_rows;
            for (int64_t r = first; r < last; ++r) {
                const V x = load<V>(in + r * width + c), g = load<V>(grad + r * width + c);
                const V through = x * by + plus > 0 ? g : g * slope;
                store<V>(grad_in + r * width + c, by * (through - sum - (x - middle) * narrow * product));
            }
        });
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
    }                                                                                                        \
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

API int64_t vector_bytes() { return BYTES; }

// -- kernel maps ---------------------------------------------------------------------------------

// The neighbours of voxels with sorted keys. Along the last axis keys are consecutive, so that the
// neighbours through one line of the kernel are a run of keys; `shifts` holds the step from a voxel's
// key to the first of each run. As a tile's voxels are sorted too, the runs are found by walking along.
// Tile t owns pairs [t * tile * K, (t + 1) * tile * K), and fills the front of it.
template <int KERNEL>
static void find_neighbours(
    const int64_t *keys, const int64_t *rows, int64_t num_voxels, const int64_t *shifts, int64_t num_lines,
    int64_t tile, Pair *pairs, int64_t *all_starts, Pair *scratch, int num_threads
) {
    const int64_t num_offsets = num_lines * KERNEL, num_tiles = (num_voxels + tile - 1) / tile;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t t = 0; t < num_tiles; ++t) {
        const int64_t first = t * tile, last = first + tile < num_voxels ? first + tile : num_voxels;
        Pair *pair = pairs + first * num_offsets;
        Pair *own = scratch + first * KERNEL;
        int64_t *starts = all_starts + t * (num_offsets + 1);
        for (int64_t line = 0; line < num_lines; ++line) {
            const int64_t shift = shifts[line];
            // First key at or after the one that the tile's first voxel looks for.
            int64_t place = 0, above = num_voxels;
            while (place < above) {
                const int64_t middle = (place + above) / 2;
                if (keys[middle] < keys[first] + shift) place = middle + 1;
                else above = middle;
            }
            Pair *next[KERNEL];
            for (int step = 0; step < KERNEL; ++step) next[step] = own + step * (last - first);
            for (int64_t i = first; i < last && place < num_voxels; ++i) {
                const int64_t wanted = keys[i] + shift;
                while (place < num_voxels && keys[place] < wanted) ++place;
                for (int64_t q = place; q < num_voxels; ++q) {
                    const int64_t step = keys[q] - wanted;
                    if (step >= KERNEL) break;
                    *next[step]++ = {(int32_t)(rows ? rows[q] : q), (int32_t)(rows ? rows[i] : i)};
                }
            }
            for (int step = 0; step < KERNEL; ++step) {
                starts[line * KERNEL + step] = pair - pairs;
                const Pair *from = own + step * (last - first);
                memcpy(pair, from, (next[step] - from) * sizeof(Pair));
                pair += next[step] - from;
            }
        }
        starts[num_offsets] = pair - pairs;
    }
}

API void neighbours(
    const int64_t *keys, const int64_t *rows, int64_t num_voxels, const int64_t *shifts, int64_t num_lines,
    int64_t kernel, int64_t tile, void *pairs, int64_t *starts, void *scratch, int64_t num_threads
) {
    auto *find = kernel == 1 ? find_neighbours<1> : kernel == 3 ? find_neighbours<3> : find_neighbours<5>;
    find(
        keys, rows, num_voxels, shifts, num_lines, tile, (Pair *)pairs, starts, (Pair *)scratch, (int)num_threads
    );
}

// Any pairs, listed with their offset, brought into tiles. `starts` (tiles, K + 1).
API void arrange(
    const int64_t *source, const int64_t *target, const int64_t *offset, int64_t num_pairs, int64_t num_rows,
    int64_t num_offsets, int64_t tile, void *all_pairs, int64_t *starts, int64_t *next
) {
    Pair *pairs = (Pair *)all_pairs;
    const int64_t num_tiles = (num_rows + tile - 1) / tile;
    memset(next, 0, num_tiles * num_offsets * sizeof(int64_t));
    for (int64_t p = 0; p < num_pairs; ++p) ++next[target[p] / tile * num_offsets + offset[p]];
    int64_t total = 0;
    for (int64_t t = 0; t < num_tiles; ++t) {
        for (int64_t k = 0; k < num_offsets; ++k) {
            const int64_t count = next[t * num_offsets + k];
            starts[t * (num_offsets + 1) + k] = next[t * num_offsets + k] = total;
            total += count;
        }
        starts[t * (num_offsets + 1) + num_offsets] = total;
    }
    for (int64_t p = 0; p < num_pairs; ++p) {
        Pair *pair = pairs + next[target[p] / tile * num_offsets + offset[p]]++;
        pair->source = (int32_t)source[p];
        pair->target = (int32_t)target[p];
    }
}
