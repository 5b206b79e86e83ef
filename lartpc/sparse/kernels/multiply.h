// Rows of features times a matrix, added to other rows, and rows times rows, for the gradient of a matrix: what
// convolutions and perceptrons spend their time in.

#pragma once

#include "simd.h"
#include "tiles.h"

namespace {

// What the sums of a row start from, and what becomes of them. `lane` counts from the first column that is summed, `at`
// from that column of the first row.

// They are added to what is there.
template <class T> struct Added {
    Added after(int64_t) const { return *this; }
    vector<T> start(const T *to, int64_t) const { return *(const vector<T> *)to; }
    vector<T> end(vector<T> sum, int64_t) const { return sum; }
};

// Likewise, and then LeakyReLU.
template <class T> struct Activated {
    T slope;
    Activated after(int64_t) const { return *this; }
    vector<T> start(const T *to, int64_t) const { return *(const vector<T> *)to; }
    vector<T> end(vector<T> sum, int64_t) const { return sum > 0 ? sum : slope * sum; }
};

// They are added to a bias, and then LeakyReLU.
template <class T> struct Biased {
    const T *bias;
    T slope;
    Biased after(int64_t column) const { return {bias + column, slope}; }
    vector<T> start(const T *, int64_t lane) const { return *(const vector<T> *)(bias + lane); }
    vector<T> end(vector<T> sum, int64_t) const { return sum > 0 ? sum : slope * sum; }
};

// Gradients, behind a LeakyReLU that gave `active`, whose sign is that of what it took.
template <class T> struct Gated {
    const T *active;
    T slope;
    Gated after(int64_t column) const { return {active + column, slope}; }
    vector<T> start(const T *, int64_t) const { return vector<T>{}; }
    vector<T> end(vector<T> sum, int64_t at) const {
        return *(const vector<T> *)(active + at) > 0 ? sum : slope * sum;
    }
};

// What one input channel of R rows adds to their sums.
template <class T, int N, int R>
INLINE void add_channel(const T *const *row, int64_t c, const T *weight, vector<T> (*sum)[N]) {
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

// R pairs, N vectors of output channels: out[target] from in[source] @ weight.
template <class T, int N, int R, class Sums>
INLINE void multiply(
    const T *in, const T *weight, T *out, const Pair *pair, int64_t num_in, int64_t num_out, Sums sums
) {
    const T *row[R];
    vector<T> sum[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        row[r] = in + pair[r].source * num_in;
        const T *to = out + pair[r].target * num_out;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[r][v] = sums.start(to + v * lanes<T>, v * lanes<T>);
    }
    int64_t c = 0;
    // Few vectors: without several channels at once, a third of the time is the loop's own.
    constexpr int at_once = N <= 2 ? 4 : 1;
    for (; c + at_once <= num_in; c += at_once)
#pragma GCC unroll 4
        for (int i = 0; i < at_once; ++i, weight += num_out) add_channel<T, N, R>(row, c + i, weight, sum);
    for (; c < num_in; ++c, weight += num_out) add_channel<T, N, R>(row, c, weight, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        const int64_t at = pair[r].target * num_out;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v)
            *(vector<T> *)(out + at + v * lanes<T>) = sums.end(sum[r][v], at + v * lanes<T>);
    }
}

// All pairs of a tile and an offset, for N vectors of output channels.
template <class T, int N, class Sums>
void multiply_all(
    const T *in, const T *weight, T *out, const Pair *pair, const Pair *end, int64_t num_in, int64_t num_out, Sums sums
) {
    constexpr int R = rows_at_once(N);
    for (; end - pair >= R; pair += R) multiply<T, N, R>(in, weight, out, pair, num_in, num_out, sums);
    switch (end - pair) {
    case 7: return multiply<T, N, 7>(in, weight, out, pair, num_in, num_out, sums);
    case 6: return multiply<T, N, 6>(in, weight, out, pair, num_in, num_out, sums);
    case 5: return multiply<T, N, 5>(in, weight, out, pair, num_in, num_out, sums);
    case 4: return multiply<T, N, 4>(in, weight, out, pair, num_in, num_out, sums);
    case 3: return multiply<T, N, 3>(in, weight, out, pair, num_in, num_out, sums);
    case 2: return multiply<T, N, 2>(in, weight, out, pair, num_in, num_out, sums);
    case 1: return multiply<T, N, 1>(in, weight, out, pair, num_in, num_out, sums);
    default: return;
    }
}

// out[target] from in[source] @ weight (num_in, num_out) for a list of pairs; `num_out` is whole vectors.
template <class T, class Sums = Added<T>>
void multiply_rows(
    const T *in, const T *weight, T *out, const Pair *begin, const Pair *end, int64_t num_in, int64_t num_out,
    Sums sums = {}
) {
    for (int64_t c = 0; c < num_out;) {
        const int n = together((num_out - c) / lanes<T>);
        if (n == 1) multiply_all<T, 1>(in, weight + c, out + c, begin, end, num_in, num_out, sums.after(c));
        if (n == 2) multiply_all<T, 2>(in, weight + c, out + c, begin, end, num_in, num_out, sums.after(c));
        if (n == 3) multiply_all<T, 3>(in, weight + c, out + c, begin, end, num_in, num_out, sums.after(c));
        if (n == 4) multiply_all<T, 4>(in, weight + c, out + c, begin, end, num_in, num_out, sums.after(c));
        c += n * lanes<T>;
    }
}

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

// grad_weight (num_in, num_out) += in[source]^T @ grad[target] over a list of pairs; `num_out` is whole vectors.
template <class T>
void correlate_rows(
    const T *in, const T *grad, T *grad_weight, const Pair *begin, const Pair *end, int64_t num_in, int64_t num_out
) {
    for (int64_t c = 0; c < num_out;) {
        const int n = together((num_out - c) / lanes<T>);
        if (n == 1) correlate_all<T, 1>(in, grad + c, grad_weight + c, begin, end, num_in, num_out);
        if (n == 2) correlate_all<T, 2>(in, grad + c, grad_weight + c, begin, end, num_in, num_out);
        if (n == 3) correlate_all<T, 3>(in, grad + c, grad_weight + c, begin, end, num_in, num_out);
        if (n == 4) correlate_all<T, 4>(in, grad + c, grad_weight + c, begin, end, num_in, num_out);
        c += n * lanes<T>;
    }
}

} // namespace
