// What clusters of voxels are like: their order, axes, ends, directions, and what lies around a place of each. See
// lartpc/kinematics/clusters.py, which says the same in numpy.
//
// Products and sums are rounded one after another, as numpy does it, so that both find the same voxels.

#include <algorithm>
#include <math.h>
#include <utility>
#include <vector>

#include "simd.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off", "no-math-errno")
#endif

namespace {

// Voxels by cluster: centres, and where each cluster begins and how many it has.
struct Clusters {
    const double *x, *y, *z;
    const int64_t *offset, *size;
    int64_t num;

    Clusters(const double *point, const int64_t *offset, const int64_t *size, int64_t num_voxels, int64_t num)
        : x(point), y(point + num_voxels), z(point + 2 * num_voxels), offset(offset), size(size), num(num) {}

    double square(int64_t v, const double *from) const {
        const double dx = x[v] - from[0], dy = y[v] - from[1], dz = z[v] - from[2];
        return dx * dx + dy * dy + dz * dz;
    }

    // The first voxel of a cluster that is farthest from a place; `away` has room for its voxels.
    int64_t farthest(int64_t f, const double *from, double *away) const {
        const int64_t begin = offset[f], count = size[f];
        const double at_x = from[0], at_y = from[1], at_z = from[2];
        double most = -1;
        for (int64_t i = 0; i < count; ++i) {
            const double dx = x[begin + i] - at_x, dy = y[begin + i] - at_y, dz = z[begin + i] - at_z;
            away[i] = dx * dx + dy * dy + dz * dz;
        }
        int64_t found = 0;
        for (int64_t i = 0; i < count; ++i)
            if (away[i] > most) most = away[i], found = i;
        return begin + found;
    }

    int64_t farthest_from(int64_t f, int64_t v, double *away) const {
        const double from[3] = {x[v], y[v], z[v]};
        return farthest(f, from, away);
    }

    int64_t largest() const { return num ? std::max<int64_t>(*std::max_element(size, size + num), 1) : 1; }
};

// The sum of some values in the order in which numpy adds up.
double pairwise(const double *value, int64_t num) {
    if (num < 8) {
        double sum = 0;
        for (int64_t i = 0; i < num; ++i) sum += value[i];
        return sum;
    }
    if (num > 128) {
        const int64_t half = num / 2 - num / 2 % 8;
        return pairwise(value, half) + pairwise(value + half, num - half);
    }
    double part[8];
    memcpy(part, value, sizeof(part));
    int64_t i = 8;
    for (; i < num - num % 8; i += 8)
        for (int j = 0; j < 8; ++j) part[j] += value[i + j];
    double sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    for (; i < num; ++i) sum += value[i];
    return sum;
}

double total(const double *value, int64_t num) { return num ? value[0] + pairwise(value + 1, num - 1) : 0; }

// The largest eigenvalues of symmetric matrices, each component in a row of `matrix` (6, num): xx, yy, zz, xy, xz, yz.
// In closed form (O. K. Smith, Commun. ACM 4 (1961) 168); the cosine of a third of an angle from its own cosine by Newton.
void largest_eigenvalues(const double *matrix, int64_t num, double *found) {
    const double *xx = matrix, *yy = xx + num, *zz = yy + num, *xy = zz + num, *xz = xy + num, *yz = xz + num;
    for (int64_t i = 0; i < num; ++i) {
        const double third = (xx[i] + yy[i] + zz[i]) / 3.0;
        const double a = xx[i] - third, b = yy[i] - third, c = zz[i] - third;
        const double off = xy[i] * xy[i] + xz[i] * xz[i] + yz[i] * yz[i];
        const double scale = sqrt((a * a + b * b + c * c + 2.0 * off) / 6.0);
        const double half =
            (a * (b * c - yz[i] * yz[i]) - xy[i] * (xy[i] * c - yz[i] * xz[i]) + xz[i] * (xy[i] * yz[i] - b * xz[i])) /
            2.0;
        const bool is_there = scale > 1e-100;
        double cosine = half / (is_there ? scale * scale * scale : 1.0);
        cosine = is_there ? cosine : 1.0;
        cosine = cosine > 1.0 ? 1.0 : cosine < -1.0 ? -1.0 : cosine;
        // the largest root of 4 y³ - 3 y = cosine
        double root = 0.5 + sqrt((1.0 + cosine) / 6.0);
        for (int step = 0; step < 6; ++step) {
            const double slope = 12.0 * root * root - 3.0;
            const double value = (4.0 * root * root - 3.0) * root - cosine;
            root -= slope > 1e-14 ? value / (slope > 1e-14 ? slope : 1.0) : 0.0;
        }
        found[i] = third + 2.0 * scale * root;
    }
}

} // namespace

// `row` gets the rows of labels that are not negative, by label and as they were, `size` (num,) how many each has; returns
// through `size[num]` how many have none.
API void sort_labels(const int64_t *label, int64_t *row, int64_t *size, int64_t num_rows, int64_t num) {
    std::vector<int64_t> next(num + 1);
    for (int64_t r = 0; r < num_rows; ++r) ++size[label[r] < 0 ? num : label[r]];
    for (int64_t f = 1; f < num; ++f) next[f] = next[f - 1] + size[f - 1];
    for (int64_t r = 0; r < num_rows; ++r)
        if (label[r] >= 0) row[next[label[r]]++] = r;
}

// Positions along the axes (clusters, 3) from the centroids, which turn to the side where their cluster is wider.
API void cluster_axes(
    const double *point, const int64_t *offset, const int64_t *size, const double *centre, double *axis, double *along,
    int64_t num_voxels, int64_t num
) {
    const Clusters clusters(point, offset, size, num_voxels, num);
    std::vector<double> wide(clusters.largest());
    for (int64_t f = 0; f < num; ++f) {
        const double *from = centre + 3 * f;
        double *to = axis + 3 * f, *own = along + offset[f];
        for (int64_t i = 0, v = offset[f]; i < size[f]; ++i, ++v) {
            const double dx = clusters.x[v] - from[0], dy = clusters.y[v] - from[1], dz = clusters.z[v] - from[2];
            own[i] = dx * to[0] + dy * to[1] + dz * to[2];
            const double rest = dx * dx + dy * dy + dz * dz - own[i] * own[i];
            wide[i] = own[i] * sqrt(rest > 0 ? rest : 0.0);
        }
        if (total(wide.data(), size[f]) >= 0) continue;
        for (int axis = 0; axis < 3; ++axis) to[axis] = -to[axis];
        for (int64_t i = 0; i < size[f]; ++i) own[i] = -own[i];
    }
}

// `ends` (clusters, 2) gets two voxels of each cluster, nearly its farthest pair, the one on the narrow side first.
API void cluster_ends(
    const double *point, const int64_t *offset, const int64_t *size, const double *along, int64_t *ends,
    int64_t num_voxels, int64_t num
) {
    const Clusters clusters(point, offset, size, num_voxels, num);
    std::vector<double> away(clusters.largest());
    for (int64_t f = 0; f < num; ++f) {
        if (!size[f]) continue;
        const double *first = along + offset[f], *last = first + size[f];
        const int64_t extremes[2] = {std::min_element(first, last) - along, std::max_element(first, last) - along};
        double longest = -1;
        for (int side = 0; side < 2; ++side) {
            const int64_t two = clusters.farthest_from(f, extremes[side], away.data());
            const int64_t one = clusters.farthest_from(f, two, away.data());
            const double at[3] = {clusters.x[two], clusters.y[two], clusters.z[two]};
            const double length = clusters.square(one, at);
            if (length > longest) longest = length, ends[2 * f] = one, ends[2 * f + 1] = two;
        }
        if (along[ends[2 * f]] > along[ends[2 * f + 1]]) std::swap(ends[2 * f], ends[2 * f + 1]);
    }
}

// `found` (clusters,) gets the voxel of each cluster that is farthest from a place (clusters, 3) of it.
API void cluster_farthest(
    const double *point, const int64_t *offset, const int64_t *size, const double *from, int64_t *found,
    int64_t num_voxels, int64_t num
) {
    const Clusters clusters(point, offset, size, num_voxels, num);
    std::vector<double> away(clusters.largest());
    for (int64_t f = 0; f < num; ++f)
        if (size[f]) found[f] = clusters.farthest(f, from + 3 * f, away.data());
}

// `direction` (clusters, 3), zero on entry, gets the mean of the voxels nearest to a start (clusters, 3), seen from it, of
// so many as are the most like a line; see `directions`. `least` is the variance of a voxel.
API void cluster_directions(
    const double *point, const int64_t *offset, const int64_t *size, const double *start, double *direction,
    double radius, double least, int64_t num_voxels, int64_t num
) {
    const Clusters clusters(point, offset, size, num_voxels, num);
    std::vector<double> away(num_voxels), reach(num);
    double most = 0;
    for (int64_t f = 0; f < num; ++f) {
        double nearest = INFINITY;
        for (int64_t v = offset[f]; v < offset[f] + size[f]; ++v) {
            away[v] = sqrt(clusters.square(v, start + 3 * f));
            nearest = away[v] < nearest ? away[v] : nearest;
        }
        reach[f] = nearest > radius ? nearest : radius;
        for (int64_t v = offset[f]; v < offset[f] + size[f]; ++v)
            if (away[v] <= reach[f] && away[v] > most) most = away[v];
    }
    std::vector<std::pair<double, int64_t>> near;
    std::vector<double> mean, matrix, largest;
    double running[9] = {};
    for (int64_t f = 0; f < num; ++f) {
        near.clear();
        const double *from = start + 3 * f;
        for (int64_t v = offset[f]; v < offset[f] + size[f]; ++v)
            if (away[v] <= reach[f]) near.push_back({away[v] + (double)f * (most + 1.0), v});
        const int64_t count = near.size();
        if (!count) continue;
        std::sort(near.begin(), near.end());
        mean.resize(3 * count), matrix.resize(6 * count), largest.resize(count);
        double before[9];
        memcpy(before, running, sizeof(before));
        for (int64_t i = 0; i < count; ++i) {
            const int64_t v = near[i].second;
            const double dx = clusters.x[v] - from[0], dy = clusters.y[v] - from[1], dz = clusters.z[v] - from[2];
            const double added[9] = {dx, dy, dz, dx * dx, dy * dy, dz * dz, dx * dy, dx * dz, dy * dz};
            double part[9];
            for (int k = 0; k < 9; ++k) {
                running[k] += added[k];
                part[k] = (running[k] - before[k]) / (double)(i + 1);
            }
            const double square[6] = {part[0] * part[0], part[1] * part[1], part[2] * part[2],
                                      part[0] * part[1], part[0] * part[2], part[1] * part[2]};
            for (int k = 0; k < 3; ++k) mean[k * count + i] = part[k];
            for (int k = 0; k < 6; ++k) matrix[k * count + i] = part[3 + k] - square[k];
        }
        largest_eigenvalues(matrix.data(), count, largest.data());
        int64_t best = 0;
        double highest = -INFINITY;
        for (int64_t i = 0; i < count; ++i) {
            const double trace = matrix[i] + matrix[count + i] + matrix[2 * count + i];
            const double ratio = largest[i] / (trace - largest[i] + least);
            if (ratio > highest) highest = ratio, best = i;
        }
        const double way[3] = {mean[best], mean[count + best], mean[2 * count + best]};
        const double length = sqrt(way[0] * way[0] + way[1] * way[1] + way[2] * way[2]);
        if (length > 0)
            for (int axis = 0; axis < 3; ++axis) direction[3 * f + axis] = way[axis] / length;
    }
}

// Energies around a place (clusters, 3) of each cluster: `shells` (clusters, num_radii + 1), zero on entry, gets those of
// voxels up to each of the rising radii and beyond the one before, and beyond the last; `farthest` (clusters,) how far the
// farthest voxel up to the first radius is, 0 without any.
API void cluster_shells(
    const double *point, const int64_t *offset, const int64_t *size, const double *energy, const double *at,
    const double *radii, double *shells, double *farthest, int64_t num_radii, int64_t num_voxels, int64_t num
) {
    const Clusters clusters(point, offset, size, num_voxels, num);
    for (int64_t f = 0; f < num; ++f) {
        farthest[f] = 0;
        for (int64_t v = offset[f]; v < offset[f] + size[f]; ++v) {
            const double away = sqrt(clusters.square(v, at + 3 * f));
            int64_t shell = 0;
            while (shell < num_radii && radii[shell] < away) ++shell;
            shells[f * (num_radii + 1) + shell] += energy[v];
            if (!shell && away > farthest[f]) farthest[f] = away;
        }
    }
}

// `found` (clusters,) gets the best of the `places` (num_places, 3) no farther than `radius` from a voxel of the cluster and
// of its class, of equal ones the nearest, then the first; -1 for none.
API void touching_places(
    const double *point, const int64_t *offset, const int64_t *size, const int64_t *class_of, const double *places,
    const int64_t *class_of_place, const double *score, int64_t *found, double radius, int64_t num_places,
    int64_t num_voxels, int64_t num
) {
    const Clusters clusters(point, offset, size, num_voxels, num);
    for (int64_t f = 0; f < num; ++f) {
        found[f] = -1;
        double low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
        for (int axis = 0; axis < 3; ++axis) {
            const double *own = point + axis * num_voxels;
            for (int64_t v = offset[f]; v < offset[f] + size[f]; ++v) {
                low[axis] = own[v] < low[axis] ? own[v] : low[axis];
                high[axis] = own[v] > high[axis] ? own[v] : high[axis];
            }
        }
        double nearest = INFINITY;
        for (int64_t p = 0; p < num_places; ++p) {
            if (class_of_place[p] != class_of[f] || (found[f] >= 0 && score[p] < score[found[f]])) continue;
            const double *at = places + 3 * p;
            bool is_near = true;
            for (int axis = 0; axis < 3; ++axis)
                is_near = is_near && at[axis] >= low[axis] - radius && at[axis] <= high[axis] + radius;
            if (!is_near) continue;
            double least = INFINITY;
            for (int64_t v = offset[f]; v < offset[f] + size[f]; ++v) {
                const double away = clusters.square(v, at);
                least = away < least ? away : least;
            }
            if (least > radius * radius) continue;
            if (found[f] < 0 || score[p] > score[found[f]] || least < nearest) found[f] = p, nearest = least;
        }
    }
}
