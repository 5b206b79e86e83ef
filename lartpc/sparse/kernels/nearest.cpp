// The nearest voxels of pairs of clusters. See lartpc/kinematics/neighbours.py, which says the same in numpy.
//
// Places are centres of voxels, so that distances are sums of squares of whole numbers: all comparisons are exact, and
// of equal ones the first counts.

#include <algorithm>
#include <limits>
#include <math.h>
#include <utility>
#include <vector>

#include "simd.h"

namespace {

constexpr int64_t num_samples = 16;

// Voxels by cluster, whole numbers along each axis; samples (clusters, num_samples) are voxels evenly along its axis.
struct Voxels {
    const int32_t *x, *y, *z;
    const int64_t *offset, *size;
    std::vector<int64_t> sample;

    void find_samples(const double *along, const double *share, int64_t num) {
        sample.resize(num * num_samples);
        std::vector<std::pair<double, int64_t>> order;
        for (int64_t f = 0; f < num; ++f) {
            order.clear();
            for (int64_t v = offset[f]; v < offset[f] + size[f]; ++v) order.push_back({along[v], v});
            std::sort(order.begin(), order.end());
            for (int64_t i = 0; i < num_samples && size[f]; ++i)
                sample[num_samples * f + i] = order[(int64_t)nearbyint(share[i] * (double)(size[f] - 1))].second;
        }
    }

    int64_t apart(int64_t one, int64_t two) const {
        const int64_t dx = x[one] - x[two], dy = y[one] - y[two], dz = z[one] - z[two];
        return dx * dx + dy * dy + dz * dz;
    }

    // The first voxel of a cluster that is nearest to one of another.
    template <class Int> int64_t nearest_as(int64_t cluster, int64_t from, Int *square) const {
        const int64_t begin = offset[cluster], num = size[cluster];
        const Int at_x = x[from], at_y = y[from], at_z = z[from];
        Int least = std::numeric_limits<Int>::max();
        for (int64_t i = 0; i < num; ++i) {
            const Int dx = x[begin + i] - at_x, dy = y[begin + i] - at_y, dz = z[begin + i] - at_z;
            square[i] = dx * dx + dy * dy + dz * dz;
            least = square[i] < least ? square[i] : least;
        }
        int64_t found = 0;
        while (found < num - 1 && square[found] != least) ++found;
        return begin + found;
    }
};

// `place` (num_pairs, 2) gets voxels of the two clusters of each of the `pairs` (num_pairs, 2).
template <class Int> void nearest(const Voxels &voxels, const int64_t *pairs, int64_t *place, int64_t num_pairs) {
    int64_t largest = 1;
    for (int64_t e = 0; e < 2 * num_pairs; ++e) largest = voxels.size[pairs[e]] > largest ? voxels.size[pairs[e]] : largest;
    std::vector<Int> square(largest);
    for (int64_t e = 0; e < num_pairs; ++e) {
        const int64_t pair[2] = {pairs[2 * e], pairs[2 * e + 1]};
        const int64_t *samples = voxels.sample.data();
        const int64_t *one = samples + num_samples * pair[0], *two = samples + num_samples * pair[1];
        int64_t found[2] = {one[0], two[0]}, least = voxels.apart(one[0], two[0]);
        for (int64_t i = 0; i < num_samples; ++i)
            for (int64_t j = 0; j < num_samples; ++j)
                if (const int64_t square = voxels.apart(one[i], two[j]); square < least)
                    least = square, found[0] = one[i], found[1] = two[j];
        if (voxels.size[pair[0]] > num_samples || voxels.size[pair[1]] > num_samples) {
            found[1] = voxels.nearest_as<Int>(pair[1], found[0], square.data());
            found[0] = voxels.nearest_as<Int>(pair[0], found[1], square.data());
            least = voxels.apart(found[0], found[1]);
            // the way to a near one can have led to another gap than the narrowest: start from all of the smaller
            if (least < 100) {
                const int small = voxels.size[pair[1]] < voxels.size[pair[0]];
                for (int64_t i = 0; i < num_samples; ++i) {
                    const int64_t from = samples[num_samples * pair[small] + i];
                    const int64_t to = voxels.nearest_as<Int>(pair[1 - small], from, square.data());
                    const int64_t back = voxels.nearest_as<Int>(pair[small], to, square.data());
                    if (const int64_t square = voxels.apart(back, to); square < least)
                        least = square, found[small] = back, found[1 - small] = to;
                }
            }
        }
        place[2 * e] = found[0], place[2 * e + 1] = found[1];
    }
}

} // namespace

// `point` (3, num_voxels) are the centres of voxels, `along` (num_voxels,) their positions along the axis of their cluster, and
// `share` (num_samples,) where the samples are in their order, from 0 to 1. No cluster is empty.
API void nearest_voxels(
    const double *point, const int64_t *offset, const int64_t *size, const double *along, const double *share,
    const int64_t *pairs, int64_t *place, int64_t num_voxels, int64_t num_clusters, int64_t num_pairs
) {
    std::vector<int32_t> cell(3 * num_voxels);
    int32_t most = 0;
    for (int64_t axis = 0; axis < 3; ++axis) {
        int32_t low = INT32_MAX, high = INT32_MIN;
        for (int64_t v = 0; v < num_voxels; ++v) {
            const int32_t at = cell[axis * num_voxels + v] = (int32_t)floor(point[axis * num_voxels + v]);
            low = at < low ? at : low, high = at > high ? at : high;
        }
        most = num_voxels && high - low > most ? high - low : most;
    }
    const int32_t *x = cell.data();
    Voxels voxels = {x, x + num_voxels, x + 2 * num_voxels, offset, size, {}};
    voxels.find_samples(along, share, num_clusters);
    // three squares of less than 2^29 each
    if (most < 23170) nearest<int32_t>(voxels, pairs, place, num_pairs);
    else nearest<int64_t>(voxels, pairs, place, num_pairs);
}
