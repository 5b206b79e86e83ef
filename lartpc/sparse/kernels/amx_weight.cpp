// Gradient of the weights of a convolution with products in bf16 and sums in fp32, on processors with AMX. See amx.cpp.

#include "amx.h"

#ifdef HAS_AMX

namespace {

constexpr int64_t JOINED = 128; // pairs of an offset taken together

// Two rows, 32 channels: interleaved, channels 0 to 15 and 16 to 31.
INLINE void interleave(const bf16 *first, const bf16 *second, __m512i &low, __m512i &high) {
    const __m512i a = load(first), b = load(second);
    low = _mm512_unpacklo_epi16(a, b);
    high = _mm512_unpackhi_epi16(a, b);
}

// 16 x 16 pairs of values, transposed.
INLINE void transpose(const __m512i *from, bf16 *to) {
    __m512i a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(from[i], from[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(from[i], from[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    // b[4 g + j] has in lane l: column 4 l + j of rows 4 g .. 4 g + 3.
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        const __m512i even = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88);
        const __m512i odd = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
        const __m512i even2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
        const __m512i odd2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
        _mm512_store_si512(to + j * CHUNK, _mm512_shuffle_i32x4(even, even2, 0x88));
        _mm512_store_si512(to + (4 + j) * CHUNK, _mm512_shuffle_i32x4(odd, odd2, 0x88));
        _mm512_store_si512(to + (8 + j) * CHUNK, _mm512_shuffle_i32x4(even, even2, 0xdd));
        _mm512_store_si512(to + (12 + j) * CHUNK, _mm512_shuffle_i32x4(odd, odd2, 0xdd));
    }
}

// M by N blocks of sums += left^T @ right; `steps` blocks of 32 pairs. Blocks of channels are `apart`.
template <int M, int N>
INLINE void correlate(
    const bf16 *left, const bf16 *right, float *sums, int64_t steps, int64_t apart, int64_t width
) {
    const int64_t stride = width * sizeof(float);
    _tile_loadd(0, sums, stride);
    if (N > 1) _tile_loadd(1, sums + SIDE, stride);
    if (M > 1) _tile_loadd(2, sums + SIDE * width, stride);
    if (M > 1 && N > 1) _tile_loadd(3, sums + SIDE * width + SIDE, stride);
    for (int64_t s = 0; s < steps; ++s) {
        _tile_loadd(4, left + s * BLOCK, 64);
        _tile_loadd(6, right + s * BLOCK, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (N > 1) {
            _tile_loadd(7, right + apart + s * BLOCK, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (M > 1) {
            _tile_loadd(5, left + apart + s * BLOCK, 64);
            _tile_dpbf16ps(2, 5, 6);
            if (N > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, stride);
    if (N > 1) _tile_stored(1, sums + SIDE, stride);
    if (M > 1) _tile_stored(2, sums + SIDE * width, stride);
    if (M > 1 && N > 1) _tile_stored(3, sums + SIDE * width + SIDE, stride);
}

// At most JOINED pairs, a multiple of 32: sums += in[source]^T @ grad[target].
void add_correlation(
    const bf16 *in, const bf16 *grad, float *sums, const Pair *pair, int64_t count, int64_t num_in,
    int64_t num_out, bf16 *left, bf16 *right
) {
    constexpr int64_t apart = JOINED / CHUNK * BLOCK;
    const int64_t steps = count / CHUNK, in_chunks = chunks(num_in), out_chunks = chunks(num_out);
    const int64_t in_width = in_chunks * CHUNK, out_width = out_chunks * CHUNK;
    for (int64_t p = 0; p < count; ++p) {
        for (int64_t c = 0; c < in_chunks; ++c)
            _mm_prefetch(in + pair[p].source * in_width + c * CHUNK, _MM_HINT_T0);
        for (int64_t c = 0; c < out_chunks; ++c)
            _mm_prefetch(grad + pair[p].target * out_width + c * CHUNK, _MM_HINT_T0);
    }
    for (int64_t s = 0; s < steps; ++s) {
        const Pair *own = pair + s * CHUNK;
        for (int64_t c = 0; c < in_chunks; ++c) {
            __m512i low[16], high[16];
#pragma GCC unroll 16
            for (int r = 0; r < 16; ++r)
                interleave(
                    in + own[2 * r].source * in_width + c * CHUNK,
                    in + own[2 * r + 1].source * in_width + c * CHUNK, low[r], high[r]
                );
            transpose(low, left + 2 * c * apart + s * BLOCK);
            if (c * CHUNK + SIDE < num_in) transpose(high, left + (2 * c + 1) * apart + s * BLOCK);
        }
        for (int64_t r = 0; r < SIDE; ++r) {
            const bf16 *first = grad + own[2 * r].target * out_width;
            const bf16 *second = grad + own[2 * r + 1].target * out_width;
            for (int64_t c = 0; c < out_chunks; ++c) {
                __m512i low, high;
                interleave(first + c * CHUNK, second + c * CHUNK, low, high);
                bf16 *to = right + 2 * c * apart + s * BLOCK + r * CHUNK;
                _mm512_store_si512(to, low);
                _mm512_store_si512(to + apart, high);
            }
        }
    }
    settle();
    const int64_t rows = blocks(num_in), columns = blocks(num_out), width = columns * SIDE;
    for (int64_t i = 0; i < rows; i += 2)
        for (int64_t j = 0; j < columns; j += 2) {
            const bf16 *from = left + i * apart, *with = right + j * apart;
            float *to = sums + i * SIDE * width + j * SIDE;
            if (i + 1 < rows && j + 1 < columns) correlate<2, 2>(from, with, to, steps, apart, width);
            else if (i + 1 < rows) correlate<2, 1>(from, with, to, steps, apart, width);
            else if (j + 1 < columns) correlate<1, 2>(from, with, to, steps, apart, width);
            else correlate<1, 1>(from, with, to, steps, apart, width);
        }
    settle();
}

} // namespace

// grad_weight (K, C_in, C_out). The offsets are dealt to the threads; the pairs of several tiles are joined.
API void convolve_weight_amx(
    const void *in, const void *grad, float *grad_weight, const void *pairs, const int64_t *starts,
    int64_t num_source, int64_t num_target, int64_t num_tiles, int64_t num_offsets, int64_t num_in,
    int64_t num_out, int64_t num_threads
) {
    const int64_t num_rows = blocks(num_in) * SIDE, width = blocks(num_out) * SIDE;
    const int64_t size = num_rows * width;
#pragma omp parallel num_threads((int)num_threads) if (num_threads > 1)
    {
        const Tiled tiled;
        constexpr int64_t column = JOINED * SIDE * sizeof(bf16);
        bf16 *left = (bf16 *)_mm_malloc(2 * chunks(num_in) * column, 64);
        bf16 *right = (bf16 *)_mm_malloc(2 * chunks(num_out) * column, 64);
        float *sums = (float *)_mm_malloc(size * sizeof(float), 64);
        Pair joined[JOINED];
#pragma omp for schedule(dynamic)
        for (int64_t k = 0; k < num_offsets; ++k) {
            memset(sums, 0, size * sizeof(float));
            int64_t count = 0;
            const auto add = [&]() {
                for (; count % CHUNK; ++count) joined[count] = {(int32_t)num_source, (int32_t)num_target};
                add_correlation(
                    (const bf16 *)in, (const bf16 *)grad, sums, joined, count, num_in, num_out, left, right
                );
                count = 0;
            };
            for (int64_t t = 0; t < num_tiles; ++t) {
                const int64_t *start = starts + t * (num_offsets + 1) + k;
                for (int64_t p = start[0]; p < start[1];) {
                    const int64_t room = JOINED - count, rest = start[1] - p, some = rest < room ? rest : room;
                    memcpy(joined + count, (const Pair *)pairs + p, some * sizeof(Pair));
                    p += some;
                    count += some;
                    if (count == JOINED) add();
                }
            }
            if (count) add();
            for (int64_t i = 0; i < num_in; ++i)
                memcpy(grad_weight + (k * num_in + i) * num_out, sums + i * width, num_out * sizeof(float));
        }
        _mm_free(left);
        _mm_free(right);
        _mm_free(sums);
    }
}

#endif
