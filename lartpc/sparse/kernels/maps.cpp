// Kernel maps in tiles.

#include "simd.h"
#include "tiles.h"

namespace {

// The neighbours of voxels with sorted keys. Along the last axis keys are consecutive, so that the
// neighbours through one line of the kernel are a run of keys; `shifts` holds the step from a voxel's
// key to the first of each run. As a tile's voxels are sorted too, the runs are found by walking along.
// Tile t owns pairs [t * tile * K, (t + 1) * tile * K), and fills the front of it.
template <int KERNEL>
void find_neighbours(
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

} // namespace

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
    if (num_tiles) memset(next, 0, num_tiles * num_offsets * sizeof(int64_t));  // of nothing, `next` is null
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
