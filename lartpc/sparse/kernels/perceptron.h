// Perceptrons of the graph networks: two linear layers, each with LeakyReLU, and a LayerNorm, a few rows at a time,
// so that what is between the layers stays in the first cache.

#pragma once

#include <math.h>

#include "multiply.h"
#include "simd.h"
#include "tiles.h"

namespace {

constexpr int64_t rows_per_tile = 48;
constexpr int64_t max_width = 256;

// Weights are (inputs, width). The first layer's bias, and what it makes of other inputs, are given with the rows.
template <class T> struct Perceptron {
    const T *first, *second, *bias, *scale, *shift;
    T slope, eps;
};

// The pair of each row of a tile with itself.
struct Same {
    Pair pair[rows_per_tile];
    Same() {
        for (int32_t r = 0; r < rows_per_tile; ++r) pair[r] = {r, r};
    }
};

template <class T> INLINE void add(T *to, const T *from, int64_t width) {
    for (int64_t c = 0; c < width; c += lanes<T>) *(vector<T> *)(to + c) += *(const vector<T> *)(from + c);
}

template <class T> INLINE void copy(T *to, const T *from, int64_t width) {
    for (int64_t c = 0; c < width; c += lanes<T>) *(vector<T> *)(to + c) = *(const vector<T> *)(from + c);
}

// Values, or their gradients, where `active` is what the activation gives, whose sign is that of what it takes.
template <class T> INLINE void activate(T *value, const T *active, int64_t num, T slope) {
    for (int64_t i = 0; i < num; i += lanes<T>) {
        const vector<T> own = *(const vector<T> *)(value + i);
        *(vector<T> *)(value + i) = *(const vector<T> *)(active + i) > 0 ? own : slope * own;
    }
}

// By halves: lanes one after another would wait for each other.
template <class T> INLINE T sum_of(vector<T> value) {
    T part[lanes<T>];
    memcpy(part, &value, sizeof(part));
#pragma GCC unroll 4
    for (int half = lanes<T> / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    return part[0];
}

// Mean of a row, and the inverse of its spread.
template <class T> INLINE void measure(const T *row, int64_t width, T eps, T &mean, T &scale) {
    vector<T> sum = {}, square = {};
    for (int64_t c = 0; c < width; c += lanes<T>) sum += *(const vector<T> *)(row + c);
    mean = sum_of<T>(sum) / width;
    for (int64_t c = 0; c < width; c += lanes<T>) {
        const vector<T> away = *(const vector<T> *)(row + c) - mean;
        square += away * away;
    }
    scale = 1 / sqrt(sum_of<T>(square) / width + eps);
}

template <class T> INLINE void normalise(T *row, const Perceptron<T> &net, int64_t width) {
    T mean, scale;
    measure<T>(row, width, net.eps, mean, scale);
    for (int64_t c = 0; c < width; c += lanes<T>) {
        const vector<T> unit = (*(const vector<T> *)(row + c) - mean) * scale;
        *(vector<T> *)(row + c) = unit * *(const vector<T> *)(net.scale + c) + *(const vector<T> *)(net.shift + c);
    }
}

// in (num, num_in) to out (num, width), which differ, up to the norm; hidden holds what the first layer adds its
// part to, and then its activated output.
template <class T>
void perceive_before_norm(
    const T *in, T *hidden, T *out, const Perceptron<T> &net, int64_t num, int64_t num_in, int64_t width,
    const Pair *same
) {
    multiply_rows<T>(in, net.first, hidden, same, same + num, num_in, width);
    activate<T>(hidden, hidden, num * width, net.slope);
    for (int64_t r = 0; r < num; ++r) copy<T>(out + r * width, net.bias, width);
    multiply_rows<T>(hidden, net.second, out, same, same + num, width, width);
    activate<T>(out, out, num * width, net.slope);
}

template <class T>
void perceive(
    const T *in, T *hidden, T *out, const Perceptron<T> &net, int64_t num, int64_t num_in, int64_t width,
    const Pair *same
) {
    perceive_before_norm<T>(in, hidden, out, net, num, num_in, width, same);
    for (int64_t r = 0; r < num; ++r) normalise<T>(out + r * width, net, width);
}

} // namespace
