// Message passing over the edges of a graph: a few edges go through all layers while their features are in the
// first cache.
//
// Sums run in the order of the edges: results do not depend on the number of threads.

#include "perceptron.h"

namespace {

// in (rows, num_in) to out (rows, width); `first_bias` (width,) is that of the first layer.
template <class M, class T>
void encode(
    const T *in, T *out, const T *first_bias, const Perceptron<M> &net, int64_t num_rows, int64_t num_in,
    int64_t width, int num_threads
) {
    const Same same;
    const int64_t num_tiles = (num_rows + rows_per_tile - 1) / rows_per_tile;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t t = 0; t < num_tiles; ++t) {
        const int64_t first = t * rows_per_tile;
        const int64_t num = num_rows - first < rows_per_tile ? num_rows - first : rows_per_tile;
        alignas(BYTES) T hidden[rows_per_tile * max_width];
        Room<typename M::stored> room(M::room(num_in) + M::room(width));
        for (int64_t r = 0; r < num; ++r) copy<T>(hidden + r * width, first_bias, width);
        perceive<M>(in + first * num_in, hidden, room.data(), out + first * width, net, num, num_in, width, same);
    }
}

// Edges (num_edges, width) change, in place if `edge` and `changed` are the same, then send messages: their sum and
// largest value go to `total` and `largest` (nodes, width), and to `which` the edge that sent the largest, if wanted.
// `of_source`, `of_target` and `of_sender` (nodes, width) are what the first layers make of an edge's nodes, biases
// included. `message` has room for `block` edges.
template <class M, class T>
void pass_messages(
    const T *edge, T *changed, const int64_t *source, const int64_t *target, const T *of_source,
    const T *of_target, const T *of_sender, const Perceptron<M> &change, const Perceptron<M> &send, T *total,
    T *largest, int32_t *which, T *message, int64_t num_edges, int64_t block, int64_t width, int num_threads
) {
    const Same same;
    for (int64_t begin = 0; begin < num_edges; begin += block) {
        const int64_t end = begin + block < num_edges ? begin + block : num_edges;
        const int64_t num_tiles = (end - begin + rows_per_tile - 1) / rows_per_tile;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
        for (int64_t t = 0; t < num_tiles; ++t) {
            const int64_t first = begin + t * rows_per_tile;
            const int64_t num = end - first < rows_per_tile ? end - first : rows_per_tile;
            alignas(BYTES) T hidden[rows_per_tile * max_width], step[rows_per_tile * max_width];
            Room<typename M::stored> room(2 * M::room(width));
            const T *before = edge + first * width;
            T *row = changed + first * width;
            for (int64_t r = 0; r < num; ++r) {
                copy<T>(hidden + r * width, of_source + source[first + r] * width, width);
                add<T>(hidden + r * width, of_target + target[first + r] * width, width);
            }
            perceive<M>(before, hidden, room.data(), step, change, num, width, width, same);
            add<T>(step, before, num * width);
            copy<T>(row, step, num * width);
            for (int64_t r = 0; r < num; ++r)
                copy<T>(hidden + r * width, of_sender + source[first + r] * width, width);
            T *sent = message + (first - begin) * width;
            perceive<M>(row, hidden, room.data(), sent, send, num, width, width, same);
        }
        for (int64_t d = begin; d < end; ++d) {
            const T *from = message + (d - begin) * width;
            T *sum = total + target[d] * width, *most = largest + target[d] * width;
            add<T>(sum, from, width);
            if (which) {
                int32_t *edges = which + target[d] * width;
                for (int64_t c = 0; c < width; ++c) edges[c] = from[c] > most[c] ? (int32_t)d : edges[c];
            }
            for (int64_t c = 0; c < width; ++c) most[c] = from[c] > most[c] ? from[c] : most[c];
        }
    }
}

} // namespace

#define EXPORT(T, M, NAME)                                                                                   \
    API void encode_rows_##NAME(                                                                             \
        const T *in, T *out, const T *first_bias, const T *first, const T *second, const T *bias,            \
        const T *scale, const T *shift, double slope, double eps, int64_t num_rows, int64_t num_in,          \
        int64_t width, int64_t num_threads                                                                   \
    ) {                                                                                                      \
        const Perceptron<M> net = {                                                                          \
            {first, num_in, width}, {second, width, width}, bias, scale, shift, (T)slope, (T)eps};           \
        encode<M, T>(in, out, first_bias, net, num_rows, num_in, width, (int)num_threads);                   \
    }                                                                                                        \
    API void pass_messages_##NAME(                                                                           \
        const T *edge, T *changed, const int64_t *source, const int64_t *target, const T *of_source,         \
        const T *of_target, const T *of_sender, const T *first, const T *second, const T *bias,              \
        const T *scale, const T *shift, double slope, double eps, const T *send_first, const T *send_second, \
        const T *send_bias, const T *send_scale, const T *send_shift, double send_slope, double send_eps,    \
        T *total, T *largest, int32_t *which, T *message, int64_t num_edges, int64_t block, int64_t width,   \
        int64_t num_threads                                                                                  \
    ) {                                                                                                      \
        pass_messages<M, T>(                                                                                 \
            edge, changed, source, target, of_source, of_target, of_sender,                                  \
            {{first, width, width}, {second, width, width}, bias, scale, shift, (T)slope, (T)eps},           \
            {{send_first, width, width}, {send_second, width, width}, send_bias, send_scale, send_shift,     \
             (T)send_slope, (T)send_eps},                                                                    \
            total, largest, which, message, num_edges, block, width, (int)num_threads                        \
        );                                                                                                   \
    }

EXPORT(float, Exact<float>, f32)
EXPORT(double, Exact<double>, f64)
#ifdef HAS_BF16
EXPORT(float, Rounded, bf16)
#endif

API int64_t max_perceptron_width() { return max_width; }
