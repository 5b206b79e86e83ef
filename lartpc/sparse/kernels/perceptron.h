// Perceptrons of the graph networks: two linear layers, each with LeakyReLU, and a LayerNorm, a few rows at a time,
// so that what is between the layers stays in the first cache.

#pragma once

#include <math.h>

#include "arithmetic.h"
#include "simd.h"

#if BYTES == 64
#include <immintrin.h>
#endif

namespace {

constexpr int64_t max_width = 256;

// Weights are (inputs, width). The first layer's bias, and what it makes of other inputs, are given with the rows.
template <class M> struct Perceptron {
    typedef typename M::value T;
    typename M::Matrix first, second;
    const T *bias, *scale, *shift;
    T slope, eps;
};

template <class T> INLINE void add(T *to, const T *from, int64_t width) {
    for (int64_t c = 0; c < width; c += lanes<T>) *(vector<T> *)(to + c) += *(const vector<T> *)(from + c);
}

template <class T> INLINE void copy(T *to, const T *from, int64_t width) {
    for (int64_t c = 0; c < width; c += lanes<T>) *(vector<T> *)(to + c) = *(const vector<T> *)(from + c);
}

#if BYTES == 64
INLINE float sum_of(vector<float> value) { return _mm512_reduce_add_ps((__m512)value); }
INLINE double sum_of(vector<double> value) { return _mm512_reduce_add_pd((__m512d)value); }
#else
// By halves: lanes one after another would wait for each other.
template <class T> INLINE T sum_by_halves(vector<T> value) {
    T part[lanes<T>];
    memcpy(part, &value, sizeof(part));
#pragma GCC unroll 4
    for (int half = lanes<T> / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    return part[0];
}
INLINE float sum_of(vector<float> value) { return sum_by_halves<float>(value); }
INLINE double sum_of(vector<double> value) { return sum_by_halves<double>(value); }
#endif

// Mean of a row, and the inverse of its spread.
template <class T> INLINE void measure(const T *row, int64_t width, T eps, T &mean, T &scale) {
    vector<T> sum = {}, square = {};
    for (int64_t c = 0; c < width; c += lanes<T>) sum += *(const vector<T> *)(row + c);
    mean = sum_of(sum) / width;
    for (int64_t c = 0; c < width; c += lanes<T>) {
        const vector<T> away = *(const vector<T> *)(row + c) - mean;
        square += away * away;
    }
    scale = 1 / sqrt(sum_of(square) / width + eps);
}

template <class M> INLINE void normalise(typename M::value *row, const Perceptron<M> &net, int64_t width) {
    typedef typename M::value T;
    T mean, scale;
    measure<T>(row, width, net.eps, mean, scale);
    for (int64_t c = 0; c < width; c += lanes<T>) {
        const vector<T> unit = (*(const vector<T> *)(row + c) - mean) * scale;
        *(vector<T> *)(row + c) = unit * *(const vector<T> *)(net.scale + c) + *(const vector<T> *)(net.shift + c);
    }
}

// Rows (num, num_in) that are ready to out (num, width) up to the norm. `hidden` holds what the first layer adds its
// part to, and then its activated output, which is returned ready.
template <class M>
const typename M::stored *perceive_before_norm(
    const typename M::stored *in, typename M::value *hidden, typename M::stored *room, typename M::value *out,
    const Perceptron<M> &net, int64_t num, int64_t num_in, int64_t width, const Same &same
) {
    typedef typename M::value T;
    M::multiply(in, net.first, hidden, num, num_in, width, same, Activated<T>{net.slope});
    const typename M::stored *ready = M::ready(hidden, room, num, width);
    M::multiply(ready, net.second, out, num, width, width, same, Biased<T>{net.bias, net.slope});
    return ready;
}

// Rows (num, num_in) to out (num, width), which differ. `room` is of both widths.
template <class M>
void perceive(
    const typename M::value *in, typename M::value *hidden, typename M::stored *room, typename M::value *out,
    const Perceptron<M> &net, int64_t num, int64_t num_in, int64_t width, const Same &same
) {
    const typename M::stored *ready = M::ready(in, room, num, num_in);
    perceive_before_norm<M>(ready, hidden, room + M::room(num_in), out, net, num, num_in, width, same);
    for (int64_t r = 0; r < num; ++r) normalise<M>(out + r * width, net, width);
}

} // namespace
