// Sparse convolution with products in bf16 and sums in fp32, on processors with AMX.
//
// The matrix unit multiplies blocks of 16 rows by 32 channels with blocks of 32 by 16 and adds to 16 x 16
// sums (Intel, Architecture Instruction Set Extensions Programming Reference, chapter 3). Pairs of one tile
// and offset are taken 32 at a time: gathered rows are multiplied, and their products added to the output
// rows. Sums run in a fixed order: results do not depend on the number of threads.
//
// Rows in bf16 are padded with zeros to whole chunks of 32 channels and followed by a row of zeros. In each
// chunk, channels 4 i .. 4 i + 3 and 16 + 4 i .. 16 + 4 i + 3 stand together, for i of 0 to 3: interleaving
// two rows lane by lane then gives channels 0 to 15 in order, and 16 to 31.

#include "amx.h"

#ifdef HAS_AMX

#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int64_t AT_ONCE = 64; // pairs of a tile and an offset taken together

INLINE __m512i round_two(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

void round_rows(const float *in, bf16 *out, int64_t num_rows, int64_t width, int num_threads) {
    const int64_t padded = chunks(width) * CHUNK;
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t r = 0; r < num_rows; ++r)
        for (int64_t c = 0; c < padded; c += CHUNK) {
            const __m512 low = _mm512_maskz_loadu_ps(up_to(width - c), in + r * width + c);
            const __m512 high = _mm512_maskz_loadu_ps(up_to(width - c - SIDE), in + r * width + c + SIDE);
            _mm512_storeu_si512(out + r * padded + c, _mm512_permutexvar_epi64(order, round_two(low, high)));
        }
    memset(out + num_rows * padded, 0, padded * sizeof(bf16));
}

// Weights (K, C_in, C_out) in blocks of 32 by 16 that follow one another: offset, C_out, C_in. In a block,
// the two values of an output channel that meet two neighbouring values of a row stand together.
void pack_weights(
    const float *weight, bf16 *packed, int64_t num_offsets, int64_t num_in, int64_t num_out, int num_threads
) {
    const int64_t num_chunks = chunks(num_in), num_blocks = blocks(num_out);
    alignas(64) uint16_t index[32];
    for (int i = 0; i < 32; ++i) index[i] = i / 2 + i % 2 * 16;
    const __m512i order = load(index);
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t k = 0; k < num_offsets; ++k) {
        bf16 *to = packed + k * num_chunks * num_blocks * BLOCK;
        for (int64_t b = 0; b < num_blocks; ++b) {
            const __mmask16 there = up_to(num_out - b * SIDE);
            for (int64_t c = 0; c < num_chunks; ++c)
                for (int64_t r = 0; r < SIDE; ++r, to += 2 * SIDE) {
                    // Places 8 i + j of a row hold channel 4 i + j, or 16 + 4 i + j - 4 where j > 3.
                    const int64_t i = r / 4, j = 2 * (r % 4);
                    const int64_t channel = c * CHUNK + 4 * i + (j < 4 ? j : SIDE + j - 4);
                    const float *from = weight + (k * num_in + channel) * num_out + b * SIDE;
                    const __m512 even = _mm512_maskz_loadu_ps(channel < num_in ? there : 0, from);
                    const __m512 odd = _mm512_maskz_loadu_ps(channel + 1 < num_in ? there : 0, from + num_out);
                    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, round_two(even, odd)));
                }
        }
    }
}

// -- convolution ---------------------------------------------------------------------------------

// At most AT_ONCE pairs: out[target] += in[source] @ weight. C is the number of chunks, or 0: any.
// Before `next`, pairs that come after these: their rows are called to the cache.
template <int C>
INLINE void add_products(
    const bf16 *in, const bf16 *weight, float *out, const Pair *pair, int64_t count, const Pair *next,
    int64_t zero, int64_t any_chunks, int64_t num_out, bf16 *rows, float *sums
) {
    const int64_t num_chunks = C ? C : any_chunks, num_blocks = blocks(num_out), width = num_blocks * SIDE;
    const int64_t whole = blocks(count) * SIDE;
    const Blocks lie = {64, BLOCK, num_chunks * BLOCK};
    for (int64_t r = 0; r < whole; ++r) {
        const bf16 *from = in + (r < count ? pair[r].source : zero) * num_chunks * CHUNK;
        bf16 *to = rows + r / SIDE * num_chunks * BLOCK + r % SIDE * CHUNK;
        for (int64_t c = 0; c < num_chunks; ++c) _mm512_store_si512(to + c * BLOCK, load(from + c * CHUNK));
        if (pair + r + AT_ONCE < next) {
            const bf16 *later = in + pair[r + AT_ONCE].source * num_chunks * CHUNK;
            for (int64_t c = 0; c < num_chunks; ++c) _mm_prefetch(later + c * CHUNK, _MM_HINT_T0);
        }
    }
    settle();
    for (int64_t b = 0; b < num_blocks; b += 2) {
        const bf16 *matrix = weight + b * num_chunks * BLOCK;
        for (int64_t r = 0; r < whole; r += 2 * SIDE) {
            const bf16 *from = rows + r * num_chunks * CHUNK;
            float *to = sums + r * width + b * SIDE;
            if (b + 1 < num_blocks) {
                if (r + SIDE < whole) multiply_blocks<2, 2, false>(from, matrix, lie, to, num_chunks, width);
                else multiply_blocks<1, 2, false>(from, matrix, lie, to, num_chunks, width);
            } else {
                if (r + SIDE < whole) multiply_blocks<2, 1, false>(from, matrix, lie, to, num_chunks, width);
                else multiply_blocks<1, 1, false>(from, matrix, lie, to, num_chunks, width);
            }
        }
    }
    settle();
    for (int64_t r = 0; r < count; ++r) {
        float *to = out + pair[r].target * num_out;
        const float *from = sums + r * width;
        int64_t c = 0;
        for (; c + SIDE <= num_out; c += SIDE)
            _mm512_storeu_ps(to + c, _mm512_loadu_ps(to + c) + _mm512_load_ps(from + c));
        if (c < num_out) {
            const __mmask16 there = up_to(num_out - c);
            _mm512_mask_storeu_ps(to + c, there, _mm512_maskz_loadu_ps(there, to + c) + _mm512_load_ps(from + c));
        }
    }
}

template <int C>
void convolve_tile(
    const bf16 *in, const bf16 *weight, float *out, const Pair *pairs, const int64_t *start, int64_t num_offsets,
    int64_t zero, int64_t num_chunks, int64_t num_out, bf16 *rows, float *sums
) {
    const int64_t size = num_chunks * blocks(num_out) * BLOCK;
    for (int64_t k = 0; k < num_offsets; ++k) {
        const bf16 *matrix = weight + k * size;
        if (k + 1 < num_offsets && start[k] < start[k + 1])
            for (int64_t i = 0; i < size; i += CHUNK) _mm_prefetch(matrix + size + i, _MM_HINT_T0);
        for (int64_t p = start[k]; p < start[k + 1]; p += AT_ONCE) {
            const int64_t left = start[k + 1] - p;
            add_products<C>(
                in, matrix, out, pairs + p, left < AT_ONCE ? left : AT_ONCE, pairs + start[num_offsets], zero,
                num_chunks, num_out, rows, sums
            );
        }
    }
}

} // namespace

// Whether this process may use the matrix unit: Linux gives it to those that ask.
API int64_t has_amx() {
    constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

// out (num_rows + 1, chunks of 32).
API void round_amx(const float *in, void *out, int64_t num_rows, int64_t width, int64_t num_threads) {
    round_rows(in, (bf16 *)out, num_rows, width, (int)num_threads);
}

// packed (K, blocks of 16 of C_out, chunks of 32 of C_in, 16, 32).
API void pack_amx(
    const float *weight, void *packed, int64_t num_offsets, int64_t num_in, int64_t num_out, int64_t num_threads
) {
    pack_weights(weight, (bf16 *)packed, num_offsets, num_in, num_out, (int)num_threads);
}

API void convolve_amx(
    const void *in, const void *weight, float *out, const void *pairs, const int64_t *starts,
    const int64_t *rows, int64_t num_source, int64_t num_rows, int64_t tile, int64_t num_offsets, int64_t num_in,
    int64_t num_out, int64_t num_threads
) {
    const int64_t num_tiles = (num_rows + tile - 1) / tile;
    const int64_t num_chunks = chunks(num_in), num_blocks = blocks(num_out);
#pragma omp parallel num_threads((int)num_threads) if (num_threads > 1)
    {
        const Tiled tiled;
        bf16 *gathered = (bf16 *)_mm_malloc(AT_ONCE * num_chunks * CHUNK * sizeof(bf16), 64);
        float *sums = (float *)_mm_malloc(AT_ONCE * num_blocks * SIDE * sizeof(float), 64);
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < num_tiles; ++t) {
            const int64_t last = (t + 1) * tile < num_rows ? (t + 1) * tile : num_rows;
            if (rows)
                for (int64_t i = t * tile; i < last; ++i) memset(out + rows[i] * num_out, 0, num_out * sizeof(float));
            else
                memset(out + t * tile * num_out, 0, (last - t * tile) * num_out * sizeof(float));
            const int64_t *start = starts + t * (num_offsets + 1);
            const auto work = num_chunks == 1 ? convolve_tile<1> : num_chunks == 2 ? convolve_tile<2>
                            : num_chunks == 3 ? convolve_tile<3> : convolve_tile<0>;
            work(
                (const bf16 *)in, (const bf16 *)weight, out, (const Pair *)pairs, start, num_offsets, num_source,
                num_chunks, num_out, gathered, sums
            );
        }
        _mm_free(gathered);
        _mm_free(sums);
    }
}

#else

API int64_t has_amx() { return 0; }

#endif
