// What the kernels share: vectors, and how functions are exported. See fused.py, which calls them.
//
// Vectors are GCC's generic ones, as wide as the registers of the machine that compiles this file.

#pragma once

#include <stdint.h>
#include <string.h>

#include <new>
#include <vector>

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

template <class T> struct Simd;
template <> struct Simd<float> {
    typedef float vector __attribute__((vector_size(BYTES), aligned(4), may_alias));
};
template <> struct Simd<double> {
    typedef double vector __attribute__((vector_size(BYTES), aligned(8), may_alias));
};
template <class T> using vector = typename Simd<T>::vector;
template <class T> constexpr int lanes = BYTES / sizeof(T);

// Memory that begins with a line of the cache: a vector across two lines is read and written as two.
template <class T> struct AtLines {
    typedef T value_type;
    static constexpr std::align_val_t line{64};
    AtLines() = default;
    template <class U> AtLines(const AtLines<U> &) {}
    T *allocate(size_t num) { return (T *)::operator new(num * sizeof(T), line); }
    void deallocate(T *at, size_t) { ::operator delete(at, line); }
    template <class U> bool operator==(const AtLines<U> &) const { return true; }
    template <class U> bool operator!=(const AtLines<U> &) const { return false; }
};
template <class T> using Room = std::vector<T, AtLines<T>>;

// Rows that share the loads of the weights, so that their sums fit the registers: 32 of them where
// WIDE, else 16.
constexpr int rows_at_once(int num_vectors) {
    if (WIDE) return num_vectors <= 3 ? 8 : 6;
    return num_vectors == 1 ? 8 : num_vectors == 2 ? 5 : num_vectors == 3 ? 4 : 3;
}

// Vectors taken together next, when `left` remain: four, but not so that one alone is left over.
INLINE int together(int64_t left) { return left == 5 ? 3 : left == 6 ? 3 : left < 4 ? (int)left : 4; }

} // namespace
