// How perceptrons multiply rows of a tile by matrices: in the precision of their values, or in bf16 with sums in fp32.
//
// `ready` brings rows into the form that is multiplied, in a room of `room` numbers, and returns where they are.
// `multiply` makes rows of rows @ matrix (sums as in multiply.h), and `correlate` adds left^T @ right to a matrix;
// `spare` is a room for both.

#pragma once

#include "correlate_bf16.h"
#include "multiply.h"
#include "rows_bf16.h"
#include "simd.h"
#include "tiles.h"

namespace {

constexpr int64_t rows_per_tile = 48;

// The pair of each row of a tile with itself.
struct Same {
    Pair pair[rows_per_tile];
    Same() {
        for (int32_t r = 0; r < rows_per_tile; ++r) pair[r] = {r, r};
    }
};

template <class T> struct Exact {
    typedef T value;
    typedef T stored;

    // (num_in, width)
    class Matrix {
        const T *given;

      public:
        Matrix(const T *given, int64_t, int64_t) : given(given) {}
        const T *at() const { return given; }
    };

    static int64_t room(int64_t) { return 0; }
    static const T *ready(const T *in, T *, int64_t, int64_t) { return in; }
    template <class Sums>
    static void multiply(
        const T *rows, const Matrix &weight, T *out, int64_t num, int64_t num_in, int64_t width, const Same &same,
        Sums sums
    ) {
        multiply_rows<T>(rows, weight.at(), out, same.pair, same.pair + num, num_in, width, sums);
    }
    static void correlate(
        const T *left, const T *right, T *sums, T *, int64_t num, int64_t num_in, int64_t width, const Same &same
    ) {
        correlate_rows<T>(left, right, sums, same.pair, same.pair + num, num_in, width);
    }
};

#ifdef HAS_BF16

struct Rounded {
    typedef float value;
    typedef bf16 stored;

    class Matrix {
        Room<two> packed;

      public:
        Matrix(const float *given, int64_t num_in, int64_t width) : packed(halves(num_in) * whole(width)) {
            pack_matrix(given, packed.data(), num_in, width);
        }
        const two *at() const { return packed.data(); }
    };

    static int64_t room(int64_t width) { return rows_per_tile * whole(width); }

    // Followed by a row of zeros where their number is odd.
    static const bf16 *ready(const float *in, bf16 *to, int64_t num, int64_t width) {
        const int64_t padded = 2 * halves(width);
        for (int64_t r = 0; r < num; ++r) round_row(in + r * width, to + r * padded, width);
        if (num % 2) memset(to + num * padded, 0, padded * sizeof(bf16));
        return to;
    }
    template <class Sums>
    static void multiply(
        const bf16 *rows, const Matrix &weight, float *out, int64_t num, int64_t num_in, int64_t width,
        const Same &same, Sums sums
    ) {
        multiply_rows_bf16(
            (const two *)rows, weight.at(), out, same.pair, same.pair + num, halves(num_in), width, sums
        );
    }
    static void correlate(
        const bf16 *left, const bf16 *right, float *sums, bf16 *spare, int64_t num, int64_t num_in, int64_t width,
        const Same &same
    ) {
        two *of_left = (two *)spare, *of_right = (two *)(spare + room(num_in));
        correlate_pairs(left, right, same.pair, num + num % 2, of_left, of_right, sums, num_in, width);
    }
};

#endif

} // namespace
