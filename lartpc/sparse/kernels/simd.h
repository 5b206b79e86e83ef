// What the kernels share: vectors, and how functions are exported. See fused.py, which calls them.
//
// Vectors are GCC's generic ones, as wide as the registers of the machine that compiles this file.

#pragma once

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

template <class T> struct Simd;
template <> struct Simd<float> {
    typedef float vector __attribute__((vector_size(BYTES), aligned(4), may_alias));
};
template <> struct Simd<double> {
    typedef double vector __attribute__((vector_size(BYTES), aligned(8), may_alias));
};
template <class T> using vector = typename Simd<T>::vector;
template <class T> constexpr int lanes = BYTES / sizeof(T);

} // namespace
