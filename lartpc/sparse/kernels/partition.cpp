// Partition of a graph with attractive and repulsive edges, by contraction of the largest weight. See
// lartpc/sparse/partition.py, which says the same in Python: both find the same parts.

#include <algorithm>
#include <numeric>
#include <queue>
#include <vector>

#include "simd.h"

namespace {

// Which edge joins two nodes: a table with open places, in which what is taken out leaves no gap.
class Edges {
    struct Place {
        uint64_t key;
        int64_t edge;
    };
    std::vector<Place> place;
    uint64_t last;
    int shift = 64;

    static uint64_t key_of(int64_t one, int64_t two) {
        return (uint64_t)std::min(one, two) << 32 | (uint64_t)std::max(one, two);
    }
    uint64_t home_of(uint64_t key) const { return key * 0x9E3779B97F4A7C15u >> shift; }

public:
    explicit Edges(int64_t num_edges) {
        uint64_t size = 2;
        for (--shift; size < 2 * (uint64_t)num_edges; size *= 2) --shift;
        last = size - 1;
        place.assign(size, {0, -1});
    }

    // The place of the edge between two nodes, or the open one where it would be.
    int64_t &at(int64_t one, int64_t two) {
        const uint64_t key = key_of(one, two);
        uint64_t i = home_of(key);
        while (place[i].edge >= 0 && place[i].key != key) i = (i + 1) & last;
        place[i].key = key;
        return place[i].edge;
    }

    void take_out(int64_t one, int64_t two) {
        const uint64_t key = key_of(one, two);
        uint64_t gap = home_of(key);
        while (place[gap].key != key || place[gap].edge < 0) gap = (gap + 1) & last;
        // what follows without a break moves up, unless it lies between its home and the gap
        for (uint64_t i = (gap + 1) & last; place[i].edge >= 0; i = (i + 1) & last)
            if (((i - home_of(place[i].key)) & last) >= ((i - gap) & last)) place[gap] = place[i], gap = i;
        place[gap].edge = -1;
    }
};

// An edge as it was when it was put in line: it counts if it still is so.
struct Waiting {
    double weight;
    int32_t low, high;
    int64_t edge;

    bool operator<(const Waiting &other) const {
        if (weight != other.weight) return weight < other.weight;
        return low != other.low ? low > other.low : high > other.high;
    }
};

class Graph {
    std::vector<int32_t> end;    // the nodes of each edge (edges, 2); -1, -1 where it is no more
    std::vector<double> weight;  // of each edge
    std::vector<int64_t> next;   // after each end of an edge, the next of the same node; -1: none
    std::vector<int64_t> first;  // end of each node
    std::vector<int32_t> degree; // nodes that each node has edges to
    std::vector<int32_t> parent; // node that each node has gone into, or itself
    Edges edges;
    std::priority_queue<Waiting> line;

    Waiting now(int64_t e) const {
        return {weight[e], std::min(end[2 * e], end[2 * e + 1]), std::max(end[2 * e], end[2 * e + 1]), e};
    }

    void wait(int64_t e) {
        if (weight[e] > 0) line.push(now(e));
    }

    void hang(int64_t half, int32_t node) {
        end[half] = node;
        next[half] = first[node], first[node] = half;
    }

    // `gone` goes into `kept`: its edges become those of `kept`, and are added to those that this has already.
    void contract(int32_t kept, int32_t gone) {
        parent[gone] = kept;
        for (int64_t half = first[gone], after; half >= 0; half = after) {
            after = next[half];
            const int64_t e = half / 2;
            const int32_t other = end[half ^ 1];
            if (other < 0) continue;
            edges.take_out(gone, other);
            if (other == kept) {
                end[2 * e] = end[2 * e + 1] = -1;
                --degree[kept];
                continue;
            }
            int64_t &place = edges.at(kept, other);
            if (place >= 0) {
                weight[place] += weight[e];
                end[2 * e] = end[2 * e + 1] = -1;
                --degree[other];
                wait(place);
            } else {
                place = e;
                hang(half, kept);
                ++degree[kept];
                wait(e);
            }
        }
    }

public:
    Graph(const int64_t *pair, const double *pair_weight, int64_t num_edges, int64_t num_nodes)
        : first(num_nodes, -1), degree(num_nodes), parent(num_nodes), edges(num_edges) {
        std::iota(parent.begin(), parent.end(), 0);
        end.reserve(2 * num_edges), next.reserve(2 * num_edges), weight.reserve(num_edges);
        for (int64_t i = 0; i < num_edges; ++i) {
            const int64_t one = pair[2 * i], two = pair[2 * i + 1];
            if (one == two) continue;
            int64_t &place = edges.at(one, two);
            if (place >= 0) {
                weight[place] += pair_weight[i];
                continue;
            }
            place = weight.size();
            weight.push_back(pair_weight[i]);
            end.resize(end.size() + 2), next.resize(next.size() + 2);
            hang(2 * place, one), hang(2 * place + 1, two);
            ++degree[one], ++degree[two];
        }
        std::vector<Waiting> all;
        for (int64_t e = 0; e < (int64_t)weight.size(); ++e)
            if (weight[e] > 0) all.push_back(now(e));
        line = std::priority_queue<Waiting>(std::less<Waiting>(), std::move(all));
    }

    void contract_all() {
        while (!line.empty()) {
            const Waiting top = line.top(), is = now(top.edge);
            line.pop();
            if (is.weight != top.weight || is.low != top.low || is.high != top.high) continue;
            if (degree[top.low] >= degree[top.high]) contract(top.low, top.high);
            else contract(top.high, top.low);
        }
    }

    // `label` (nodes,) gets the part of each node, numbered in order of their first nodes.
    void number(int64_t *label) {
        std::vector<int64_t> of_root(parent.size(), -1);
        int64_t num = 0;
        for (size_t v = 0; v < parent.size(); ++v) {
            int32_t root = (int32_t)v;
            while (parent[root] != root) root = parent[root] = parent[parent[root]];
            if (of_root[root] < 0) of_root[root] = num++;
            label[v] = of_root[root];
        }
    }
};

} // namespace

// `label` (num_nodes,) gets the part of each node. Pairs (num_edges, 2) of nodes with their weights may come several times.
API void partition_graph(
    const int64_t *pair, const double *weight, int64_t *label, int64_t num_edges, int64_t num_nodes
) {
    Graph graph(pair, weight, num_edges, num_nodes);
    graph.contract_all();
    graph.number(label);
}
