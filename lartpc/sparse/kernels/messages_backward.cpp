// Gradients of perceptrons and of message passing. What was between the layers is worked out again, a few rows at a
// time in the first cache, which takes less time than keeping it.
//
// Gradients of weights are summed in a fixed number of slots, then over these, and those of nodes in the order of
// the edges: results do not depend on the number of threads.

#include "perceptron.h"

namespace {

constexpr int64_t num_slots = 8;

// The matrices the other way round: (width, inputs).
template <class M> struct Turned {
    typename M::Matrix first, second;
};

// Sums of the gradients of a perceptron, one after another: first (num_in, width), second (width, width), bias,
// scale and shift.
template <class T> struct Sums {
    T *first, *second, *bias, *scale, *shift;
    Sums(T *at, int64_t num_in, int64_t width)
        : first(at), second(first + num_in * width), bias(second + width * width), scale(bias + width),
          shift(scale + width) {}
    static int64_t size(int64_t num_in, int64_t width) { return (num_in + width + 3) * width; }
};

// `grad` (width,) of the output on entry; of what the second layer gives, before its activation, on return.
template <class M, class T>
INLINE void norm_backward(
    const T *active, T *grad, const Perceptron<M> &net, const Sums<T> &sums, int64_t width
) {
    T mean, scale;
    measure<T>(active, width, net.eps, mean, scale);
    vector<T> plain = {}, along = {};
    for (int64_t c = 0; c < width; c += lanes<T>) {
        const vector<T> unit = (*(const vector<T> *)(active + c) - mean) * scale;
        const vector<T> given = *(const vector<T> *)(grad + c), scaled = given * *(const vector<T> *)(net.scale + c);
        *(vector<T> *)(sums.scale + c) += given * unit;
        *(vector<T> *)(sums.shift + c) += given;
        plain += scaled;
        along += scaled * unit;
    }
    const T mean_grad = sum_of(plain) / width, mean_along = sum_of(along) / width;
    for (int64_t c = 0; c < width; c += lanes<T>) {
        const vector<T> value = *(const vector<T> *)(active + c), unit = (value - mean) * scale;
        const vector<T> scaled = *(const vector<T> *)(grad + c) * *(const vector<T> *)(net.scale + c);
        const vector<T> inner = scale * (scaled - mean_grad - unit * mean_along);
        const vector<T> found = value > 0 ? inner : inner * net.slope;
        *(vector<T> *)(grad + c) = found;
        *(vector<T> *)(sums.bias + c) += found;
    }
}

// Rows that went through a perceptron: `in` and `hidden_ready` are what its layers multiplied, `hidden` and `active`
// what its activations gave. `grad` (num, width) is that of the output, and spent; `inner` gets that of what the first
// layer gives. Those of the inputs are added to `grad_in` (num, num_in), if it is there; then num_in is whole vectors.
// `room` is three times that of both widths together.
template <class M, class T>
void perceive_backward(
    const typename M::stored *in, const T *hidden, const typename M::stored *hidden_ready, const T *active, T *grad,
    T *inner, T *grad_in, const Perceptron<M> &net, const Turned<M> &turned, const Sums<T> &sums,
    typename M::stored *room, int64_t num, int64_t num_in, int64_t width, const Same &same
) {
    typename M::stored *spare = room + M::room(width);
    for (int64_t r = 0; r < num; ++r) norm_backward<M>(active + r * width, grad + r * width, net, sums, width);
    const typename M::stored *given = M::ready(grad, room, num, width);
    M::correlate(hidden_ready, given, sums.second, spare, num, width, width, same);
    M::multiply(given, turned.second, inner, num, width, width, same, Gated<T>{hidden, net.slope});
    given = M::ready(inner, room, num, width);
    M::correlate(in, given, sums.first, spare, num, num_in, width, same);
    if (grad_in) M::multiply(given, turned.first, grad_in, num, width, num_in, same, Added<T>{});
}

template <class T> void add_slots(const Room<T> &slots, T *out, int64_t size) {
    for (int64_t i = 0; i < size; ++i) {
        T sum = 0;
        for (int64_t s = 0; s < num_slots; ++s) sum += slots[s * size + i];
        out[i] = sum;
    }
}

// `grad` (rows, width) is that of the output. `grad_bias` (width,) gets that of the first bias, and `out_sums` those
// of the rest of the perceptron; `grad_in` (rows, num_in), zero on entry, is wanted if it is there.
template <class M, class T>
void encode_backward(
    const T *in, const T *grad, T *grad_in, T *grad_bias, T *out_sums, const T *first_bias,
    const Perceptron<M> &net, const Turned<M> &turned, int64_t num_rows, int64_t num_in, int64_t width,
    int num_threads
) {
    const Same same;
    const int64_t num_tiles = (num_rows + rows_per_tile - 1) / rows_per_tile, room = rows_per_tile * width;
    const int64_t size = Sums<T>::size(num_in, width) + width, both = M::room(num_in) + M::room(width);
    Room<T> slots(num_slots * size);
#pragma omp parallel for schedule(static, 1) num_threads(num_threads) if (num_threads > 1)
    for (int64_t s = 0; s < num_slots; ++s) {
        Room<T> work(4 * room);
        Room<typename M::stored> rooms(4 * both);
        T *hidden = work.data(), *active = hidden + room, *given = active + room, *inner = given + room;
        T *bias = slots.data() + (s + 1) * size - width;
        const Sums<T> sums(slots.data() + s * size, num_in, width);
        for (int64_t t = s; t < num_tiles; t += num_slots) {
            const int64_t first = t * rows_per_tile;
            const int64_t num = num_rows - first < rows_per_tile ? num_rows - first : rows_per_tile;
            const typename M::stored *ready = M::ready(in + first * num_in, rooms.data(), num, num_in);
            for (int64_t r = 0; r < num; ++r) copy<T>(hidden + r * width, first_bias, width);
            const typename M::stored *between = perceive_before_norm<M>(
                ready, hidden, rooms.data() + M::room(num_in), active, net, num, num_in, width, same
            );
            copy<T>(given, grad + first * width, num * width);
            perceive_backward<M>(
                ready, hidden, between, active, given, inner, grad_in ? grad_in + first * num_in : nullptr, net, turned,
                sums, rooms.data() + both, num, num_in, width, same
            );
            for (int64_t r = 0; r < num; ++r) add<T>(bias, inner + r * width, width);
        }
    }
    Room<T> all(size);
    add_slots<T>(slots, all.data(), size);
    memcpy(out_sums, all.data(), (size - width) * sizeof(T));
    copy<T>(grad_bias, all.data() + size - width, width);
}

// What message passing was given, and gave. `edge` (num_edges, width) before and `changed` after; `which` (nodes,
// width) is the edge that sent the largest message.
template <class M> struct Passed {
    typedef typename M::value T;
    const T *edge, *changed;
    const int64_t *source, *target;
    const T *of_source, *of_target, *of_sender;
    const int32_t *which;
    Perceptron<M> change, send;
    Turned<M> change_turned, send_turned;
};

// Gradients of the output: `grad_changed` (num_edges, width), `grad_total` and `grad_largest` (nodes, width). Those
// of the nodes must be zero on entry.
template <class M, class T>
void pass_messages_backward(
    const Passed<M> &given, const T *grad_changed, const T *grad_total, const T *grad_largest, T *grad_edge,
    T *grad_source, T *grad_target, T *grad_sender, T *change_sums, T *send_sums, int64_t num_edges, int64_t block,
    int64_t width, int num_threads
) {
    const Same same;
    const int64_t size = Sums<T>::size(width, width), room = rows_per_tile * width;
    Room<T> change_slots(num_slots * size), send_slots(num_slots * size);
    const int64_t stored = M::room(width), rooms = 11 * stored;
    Room<T> inner_change(block * width), inner_send(block * width), work(num_slots * 5 * room);
    Room<typename M::stored> all_rooms(num_slots * rooms);
    for (int64_t begin = 0; begin < num_edges; begin += block) {
        const int64_t end = begin + block < num_edges ? begin + block : num_edges;
        const int64_t num_tiles = (end - begin + rows_per_tile - 1) / rows_per_tile;
#pragma omp parallel for schedule(static, 1) num_threads(num_threads) if (num_threads > 1)
        for (int64_t s = 0; s < num_slots; ++s) {
            T *hidden = work.data() + s * 5 * room, *active = hidden + room;
            T *hidden_send = active + room, *active_send = hidden_send + room, *grad = active_send + room;
            const Sums<T> change(change_slots.data() + s * size, width, width);
            const Sums<T> send(send_slots.data() + s * size, width, width);
            for (int64_t t = s; t < num_tiles; t += num_slots) {
                const int64_t first = begin + t * rows_per_tile;
                const int64_t num = end - first < rows_per_tile ? end - first : rows_per_tile;
                const int64_t *source = given.source + first, *target = given.target + first;
                const T *before = given.edge + first * width, *after = given.changed + first * width;
                for (int64_t r = 0; r < num; ++r) {
                    copy<T>(hidden + r * width, given.of_source + source[r] * width, width);
                    add<T>(hidden + r * width, given.of_target + target[r] * width, width);
                    copy<T>(hidden_send + r * width, given.of_sender + source[r] * width, width);
                }
                typename M::stored *own = all_rooms.data() + s * rooms, *spare = own + 4 * stored;
                const typename M::stored *edge = M::ready(before, own, num, width);
                const typename M::stored *changed = M::ready(after, own + stored, num, width);
                const typename M::stored *between = perceive_before_norm<M>(
                    edge, hidden, own + 2 * stored, active, given.change, num, width, width, same
                );
                const typename M::stored *between_send = perceive_before_norm<M>(
                    changed, hidden_send, own + 3 * stored, active_send, given.send, num, width, width, same
                );
                for (int64_t r = 0; r < num; ++r) {
                    copy<T>(grad + r * width, grad_total + target[r] * width, width);
                    const int32_t *which = given.which + target[r] * width;
                    const T *most = grad_largest + target[r] * width;
                    for (int64_t c = 0; c < width; ++c) grad[r * width + c] += which[c] == first + r ? most[c] : 0;
                }
                T *to = grad_edge + first * width;
                copy<T>(to, grad_changed + first * width, num * width);
                perceive_backward<M>(
                    changed, hidden_send, between_send, active_send, grad, inner_send.data() + (first - begin) * width,
                    to, given.send, given.send_turned, send, spare, num, width, width, same
                );
                copy<T>(grad, to, num * width);
                perceive_backward<M>(
                    edge, hidden, between, active, grad, inner_change.data() + (first - begin) * width, to, given.change,
                    given.change_turned, change, spare, num, width, width, same
                );
            }
        }
        for (int64_t d = begin; d < end; ++d) {
            const T *from = inner_change.data() + (d - begin) * width;
            add<T>(grad_source + given.source[d] * width, from, width);
            add<T>(grad_target + given.target[d] * width, from, width);
            add<T>(grad_sender + given.source[d] * width, inner_send.data() + (d - begin) * width, width);
        }
    }
    add_slots<T>(change_slots, change_sums, size);
    add_slots<T>(send_slots, send_sums, size);
}

} // namespace

#define EXPORT(T, M, NAME)                                                                                   \
    API void encode_backward_##NAME(                                                                         \
        const T *in, const T *grad, T *grad_in, T *grad_bias, T *sums, const T *first_turned,                \
        const T *second_turned, const T *first_bias, const T *first, const T *second, const T *bias,         \
        const T *scale, const T *shift, double slope, double eps, int64_t num_rows, int64_t num_in,          \
        int64_t width, int64_t num_threads                                                                   \
    ) {                                                                                                      \
        encode_backward<M, T>(                                                                               \
            in, grad, grad_in, grad_bias, sums, first_bias,                                                  \
            {{first, num_in, width}, {second, width, width}, bias, scale, shift, (T)slope, (T)eps},          \
            {{first_turned, width, num_in}, {second_turned, width, width}}, num_rows, num_in, width,         \
            (int)num_threads                                                                                 \
        );                                                                                                   \
    }                                                                                                        \
    API void pass_messages_backward_##NAME(                                                                  \
        const T *edge, const T *changed, const int64_t *source, const int64_t *target, const T *of_source,   \
        const T *of_target, const T *of_sender, const int32_t *which, const T *first_turned,                 \
        const T *second_turned, const T *first, const T *second, const T *bias, const T *scale,              \
        const T *shift, double slope, double eps, const T *send_first_turned, const T *send_second_turned,   \
        const T *send_first, const T *send_second, const T *send_bias, const T *send_scale,                  \
        const T *send_shift, double send_slope, double send_eps, const T *grad_changed, const T *grad_total, \
        const T *grad_largest, T *grad_edge, T *grad_source, T *grad_target, T *grad_sender, T *change_sums, \
        T *send_sums, int64_t num_edges, int64_t block, int64_t width, int64_t num_threads                   \
    ) {                                                                                                      \
        const Passed<M> given = {                                                                            \
            edge, changed, source, target, of_source, of_target, of_sender, which,                           \
            {{first, width, width}, {second, width, width}, bias, scale, shift, (T)slope, (T)eps},           \
            {{send_first, width, width}, {send_second, width, width}, send_bias, send_scale, send_shift,     \
             (T)send_slope, (T)send_eps},                                                                    \
            {{first_turned, width, width}, {second_turned, width, width}},                                   \
            {{send_first_turned, width, width}, {send_second_turned, width, width}}                          \
        };                                                                                                   \
        pass_messages_backward<M, T>(                                                                        \
            given, grad_changed, grad_total, grad_largest, grad_edge, grad_source, grad_target, grad_sender, \
            change_sums, send_sums, num_edges, block, width, (int)num_threads                                \
        );                                                                                                   \
    }

EXPORT(float, Exact<float>, f32)
EXPORT(double, Exact<double>, f64)
#ifdef HAS_BF16
EXPORT(float, Rounded, bf16)
#endif
