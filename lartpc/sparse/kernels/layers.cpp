// A U-ResNet in inference, all its layers in one call, on fixed lattices.
//
// What follows a convolution is done on the rows of a tile while these are in the cache: the affine form of a norm by
// running statistics, LeakyReLU, and the rounding to bf16 of what the next convolution takes. A sum with a shortcut is
// no work of its own: sums start from what is there, or from products of the same rows (1 x 1). Two inputs side by
// side are one buffer, of which each layer fills its part. See lartpc/images/program.py, which lists the layers.
//
// All features are in whole vectors. A row's sums run over offsets and channels in a fixed order: results depend
// neither on the number of threads nor on other rows.

#include <math.h>

#include "multiply.h"
#include "rows_amx.h"
#include "rows_bf16.h"
#include "simd.h"
#include "tiles.h"

namespace {

typedef vector<float> Vector;
constexpr int64_t LANES_F32 = lanes<float>;

// Pairs (input row, output row) of a tile and offset, as of tiles.h, and how many rows there are.
struct Map {
    const Pair *pairs;
    const int64_t *starts;
    int64_t num_rows, num_offsets;
};

// Products of the tile's own rows.
struct Term {
    const float *rows, *weight;
    int64_t num_in;
};

// What is made of a row's sums: leaky(sums * scale + shift), at a column of rows of some width.
struct Output {
    void *rows;
    const float *scale, *shift;
    int64_t width, column;
};

enum Kind : int64_t { CONVOLVE, LINEAR, GATE };

// What multiplies, as lartpc/images/program.py numbers it.
enum Unit : int64_t { FP32, AVX512, AMX };

// All 64 bits wide: Python fills them as integers. What is null is not there.
//
// CONVOLVE: sums = (itself if keep) + terms + convolution of source; outputs of it.
// LINEAR: sums = bias + terms.
// GATE: outputs[0] = source * sigmoid(sums[0]).
struct Layer {
    Kind kind;
    int64_t map, num_in, num_out, is_bf16, keep;
    const void *source, *weight;
    const float *bias;
    float *sums;
    Term terms[2];
    Output outputs[2];
};

template <bool BF16> INLINE void store_active(void *rows, int64_t place, Vector value) {
#ifdef HAS_BF16
    if (BF16) {
        store_rounded((bf16 *)rows + place, value);
        return;
    }
#endif
    *(Vector *)((float *)rows + place) = value;
}

template <bool BF16>
void activate(const Output &out, const float *sums, int64_t first, int64_t num_rows, int64_t width, float slope) {
    for (int64_t c = 0; c < width; c += LANES_F32) {
        const Vector scale = *(const Vector *)(out.scale + c), shift = *(const Vector *)(out.shift + c);
        for (int64_t r = 0; r < num_rows; ++r) {
            const Vector value = *(const Vector *)(sums + r * width + c) * scale + shift;
            store_active<BF16>(out.rows, (first + r) * out.width + out.column + c, value > 0 ? value : value * slope);
        }
    }
}

template <bool BF16> void gate(const Layer &layer, int64_t first, int64_t num_rows) {
    const int64_t width = layer.num_in;
    const float *row = (const float *)layer.source + first * width;
    for (int64_t r = first; r < first + num_rows; ++r, row += width) {
        const float score = 1 / (1 + expf(-layer.sums[r * layer.num_out]));
        for (int64_t c = 0; c < width; c += LANES_F32)
            store_active<BF16>(layer.outputs[0].rows, r * width + c, *(const Vector *)(row + c) * score);
    }
}

void start_sums(const Layer &layer, const Pair *same, float *sums, int64_t first, int64_t num_rows) {
    const int64_t width = layer.num_out;
    if (layer.bias)
        for (int64_t r = 0; r < num_rows; ++r) memcpy(sums + r * width, layer.bias, width * sizeof(float));
    else if (!layer.keep)
        memset(sums, 0, num_rows * width * sizeof(float));
    for (const Term &term : layer.terms)
        if (term.rows)
            multiply_rows<float>(
                term.rows + first * term.num_in, term.weight, sums, same, same + num_rows, term.num_in, width
            );
}

#ifdef HAS_AMX
void convolve_tile_amx(const Layer &layer, const Map &map, int64_t t, float *sums, int64_t first, Gathered &gathered) {
    const int64_t *start = map.starts + t * (map.num_offsets + 1), width = layer.num_out;
    float *out = sums - first * width; // pairs have rows of the whole lattice
    const int64_t steps = layer.num_in / 2;
    gathered.begin(layer.num_in);
    for (int64_t k = 0; k < map.num_offsets; ++k) {
        const Pair *begin = map.pairs + start[k], *end = map.pairs + start[k + 1];
        const two *weight = (const two *)layer.weight + k * steps * width;
        multiply_rows_amx((const two *)layer.source, weight, out, begin, end, steps, width, gathered);
    }
}
#endif

void convolve_tile(const Layer &layer, const Map &map, int64_t t, float *sums, int64_t first) {
    const int64_t *start = map.starts + t * (map.num_offsets + 1), width = layer.num_out;
    float *out = sums - first * width; // pairs have rows of the whole lattice
    const int64_t size = layer.num_in * width;
    for (int64_t k = 0; k < map.num_offsets; ++k) {
        const Pair *begin = map.pairs + start[k], *end = map.pairs + start[k + 1];
        if (begin == end) continue;
#ifdef HAS_BF16
        if (layer.is_bf16) {
            multiply_rows_bf16(
                (const two *)layer.source, (const two *)layer.weight + k * size / 2, out, begin, end,
                layer.num_in / 2, width
            );
            continue;
        }
#endif
        multiply_rows<float>(
            (const float *)layer.source, (const float *)layer.weight + k * size, out, begin, end, layer.num_in, width
        );
    }
}

} // namespace

// What multiplies is one for all layers, and with it whether rows that convolutions take are in bf16. `widest` is the
// width of the widest sums.
API void run_layers(
    const void *all_layers, int64_t num_layers, const void *all_maps, int64_t tile, int64_t widest, double slope,
    int64_t unit, int64_t num_threads
) {
    const bool in_bf16 = unit != FP32;
    const Layer *layers = (const Layer *)all_layers;
    const Map *maps = (const Map *)all_maps;
#pragma omp parallel num_threads((int)num_threads) if (num_threads > 1)
    {
        float *scratch = new float[tile * widest];
        Pair *same = new Pair[tile];
        for (int64_t r = 0; r < tile; ++r) same[r] = {(int32_t)r, (int32_t)r};
#ifdef HAS_AMX
        int64_t widest_in = 0;
        for (int64_t l = 0; l < num_layers; ++l)
            if (layers[l].num_in > widest_in) widest_in = layers[l].num_in;
        Gathered gathered(widest_in, widest);
        if (unit == AMX) configure_tiles();
#endif
        for (int64_t l = 0; l < num_layers; ++l) {
            const Layer &layer = layers[l];
            const Map &map = maps[layer.map];
            const int64_t num_tiles = (map.num_rows + tile - 1) / tile;
#pragma omp for schedule(dynamic)
            for (int64_t t = 0; t < num_tiles; ++t) {
                const int64_t first = t * tile;
                const int64_t num_rows = first + tile < map.num_rows ? tile : map.num_rows - first;
                if (layer.kind == GATE) {
                    if (in_bf16) gate<true>(layer, first, num_rows);
                    else gate<false>(layer, first, num_rows);
                    continue;
                }
                float *sums = layer.sums ? layer.sums + first * layer.num_out : scratch;
                start_sums(layer, same, sums, first, num_rows);
#ifdef HAS_AMX
                if (layer.kind == CONVOLVE && layer.is_bf16 && unit == AMX)
                    convolve_tile_amx(layer, map, t, sums, first, gathered);
                else
#endif
                if (layer.kind == CONVOLVE)
                    convolve_tile(layer, map, t, sums, first);
                for (const Output &out : layer.outputs) {
                    if (!out.rows) continue;
                    if (in_bf16) activate<true>(out, sums, first, num_rows, layer.num_out, (float)slope);
                    else activate<false>(out, sums, first, num_rows, layer.num_out, (float)slope);
                }
            }
        }
#ifdef HAS_AMX
        if (unit == AMX) _tile_release();
#endif
        delete[] scratch;
        delete[] same;
    }
}
