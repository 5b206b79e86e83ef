// Links between near voxels, the pieces that they make, and labels that spread along them. See lartpc/links.py, which says
// the same in numpy and scipy: both find the same, in the same order.

#include <algorithm>
#include <limits>
#include <math.h>
#include <numeric>
#include <queue>
#include <vector>

#include "simd.h"

namespace {

// The cells (num_voxels, 3) as numbers that rise along z: for each line of cells in reach, the neighbours on it follow one
// another, and the first is found by walking along. `pairs` (room, 2) gets the links, line by line; returns how many.
int64_t link(const int64_t *coord, int64_t num_voxels, double eps, int64_t *pairs) {
    int64_t low[3], high[3];
    for (int axis = 0; axis < 3; ++axis) low[axis] = high[axis] = coord[axis];
    for (int64_t v = 1; v < num_voxels; ++v)
        for (int axis = 0; axis < 3; ++axis) {
            low[axis] = std::min(low[axis], coord[3 * v + axis]);
            high[axis] = std::max(high[axis], coord[3 * v + axis]);
        }
    const int64_t reach = (int64_t)eps;
    // empty cells beyond each end of an axis, so that no neighbour wraps around
    const int64_t side_y = high[1] - low[1] + 1 + reach, side_z = high[2] - low[2] + 1 + reach;
    std::vector<int64_t> key(num_voxels + 1), order;
    bool is_sorted = true;
    for (int64_t v = 0; v < num_voxels; ++v) {
        const int64_t *at = coord + 3 * v;
        key[v] = ((at[0] - low[0]) * side_y + at[1] - low[1]) * side_z + at[2] - low[2];
        is_sorted = is_sorted && (!v || key[v - 1] <= key[v]);
    }
    if (!is_sorted) {
        order.resize(num_voxels);
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(), [&](int64_t one, int64_t two) { return key[one] < key[two]; });
        std::vector<int64_t> sorted(num_voxels + 1);
        for (int64_t v = 0; v < num_voxels; ++v) sorted[v] = key[order[v]];
        key.swap(sorted);
    }
    key[num_voxels] = std::numeric_limits<int64_t>::max();
    std::vector<int64_t> row(num_voxels), place(num_voxels);
    int64_t num_links = 0;
    for (int64_t step_x = 0; step_x <= reach; ++step_x)
        for (int64_t step_y = step_x ? -reach : 0; step_y <= reach; ++step_y) {
            const double rest = eps * eps - (double)(step_x * step_x) - (double)(step_y * step_y);
            if (rest < 0) continue;
            const int64_t last = (int64_t)sqrt(rest), first = step_x || step_y ? -last : 1;
            const int64_t line = (step_x * side_y + step_y) * side_z;
            for (int64_t v = 0, at = 0; v < num_voxels; ++v) {
                const int64_t wanted = key[v] + line + first;
                while (key[at] < wanted) ++at;
                row[v] = v, place[v] = at;
            }
            int64_t num = num_voxels;
            for (int64_t step = first; step <= last; ++step) {
                int64_t kept = 0;
                for (int64_t i = 0; i < num; ++i) {
                    if (key[place[i]] > key[row[i]] + line + last) continue;
                    pairs[2 * num_links] = row[i], pairs[2 * num_links + 1] = place[i];
                    ++num_links;
                    row[kept] = row[i], place[kept] = place[i] + 1;
                    ++kept;
                }
                num = kept;
            }
        }
    if (!is_sorted)
        for (int64_t i = 0; i < 2 * num_links; ++i) pairs[i] = order[pairs[i]];
    return num_links;
}

// `piece` (num_voxels,) gets the connected piece of each voxel, numbered in order of their first voxels.
void connect(const int64_t *links, int64_t num_links, int64_t num_voxels, int64_t *piece) {
    // `piece` holds an earlier voxel of the same piece, or the voxel itself where it is the first
    std::iota(piece, piece + num_voxels, 0);
    const auto root = [&](int64_t v) {
        while (piece[v] != v) v = piece[v] = piece[piece[v]];
        return v;
    };
    for (int64_t e = 0; e < num_links; ++e) {
        const int64_t one = root(links[2 * e]), two = root(links[2 * e + 1]);
        piece[std::max(one, two)] = std::min(one, two);
    }
    int64_t num = 0;
    for (int64_t v = 0; v < num_voxels; ++v) piece[v] = piece[v] == v ? num++ : piece[piece[v]];
}

// From all voxels with a label at once along the links (Dijkstra), no farther than `limit`: `away` (num_voxels,) gets how far
// the nearest voxel with a label is, `label`, -1 for none, that label, of equally near ones the highest, and `before` the voxel
// that the way comes from, of several with that label the first; infinity, -1 and -1 where no way leads.
void reach(
    int64_t *label, double *away, int64_t *before, const int64_t *links, const double *length, double limit,
    int64_t num_links, int64_t num_voxels
) {
    std::vector<int64_t> start(num_voxels + 1), wanted;
    for (int64_t e = 0; e < num_links; ++e) {
        const int64_t one = links[2 * e], two = links[2 * e + 1];
        if (label[one] >= 0 && label[two] >= 0) continue;
        wanted.push_back(e);
        ++start[one], ++start[two];
    }
    int64_t total = 0;
    for (int64_t &first : start) {
        total += first;
        first = total;
    }
    std::vector<int64_t> other(total);
    std::vector<double> way(total);
    for (const int64_t e : wanted)
        for (int side = 0; side < 2; ++side) {
            const int64_t at = --start[links[2 * e + side]];
            other[at] = links[2 * e + 1 - side], way[at] = length[e];
        }
    typedef std::pair<double, int64_t> Reached;
    std::priority_queue<Reached, std::vector<Reached>, std::greater<Reached>> next;
    for (int64_t v = 0; v < num_voxels; ++v) {
        before[v] = -1, away[v] = label[v] >= 0 ? 0 : std::numeric_limits<double>::infinity();
        if (label[v] >= 0 && start[v] < start[v + 1]) next.push({0.0, v});
    }
    while (!next.empty()) {
        const auto [now, v] = next.top();
        next.pop();
        if (now > away[v]) continue;
        for (int64_t i = start[v]; i < start[v + 1]; ++i) {
            const double there = now + way[i];
            const int64_t to = other[i];
            if (there > limit || there > away[to]) continue;
            const bool is_nearer = there < away[to];
            if (is_nearer) next.push({there, to});
            if (is_nearer || label[v] > label[to] || (label[v] == label[to] && v < before[to]))
                away[to] = there, label[to] = label[v], before[to] = v;
        }
    }
}

} // namespace

API void link_voxels(const int64_t *coord, int64_t *pairs, int64_t *num_links, double eps, int64_t num_voxels) {
    *num_links = link(coord, num_voxels, eps, pairs);
}

API void find_pieces(const int64_t *links, int64_t *piece, int64_t num_links, int64_t num_voxels) {
    connect(links, num_links, num_voxels, piece);
}

API void reach_along(
    int64_t *label, double *away, int64_t *before, const int64_t *links, const double *length, double limit,
    int64_t num_links, int64_t num_voxels
) {
    reach(label, away, before, links, length, limit, num_links, num_voxels);
}
