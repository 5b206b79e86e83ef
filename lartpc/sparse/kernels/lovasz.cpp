// The Lovász extension of the Jaccard loss (arXiv:1705.08790) of classes of voxels, event by event, with its gradient.
//
// Each class of each event is sorted by itself, by digits of the bits of its errors; sums run in a fixed order: results do
// not depend on the number of threads. See lartpc/nets/losses.py, which says the same in torch.

#include <math.h>
#include <vector>

#include "simd.h"

namespace {

template <class T> struct Bits;
template <> struct Bits<float> { typedef uint32_t type; };
template <> struct Bits<double> { typedef uint64_t type; };

// Rows sorted from the largest error to the smallest, equal ones as they were. Errors are not negative: as such their bits
// are in their order. `spare` has room for as many.
template <class T> struct Error {
    typedef typename Bits<T>::type Key;
    Key key; // turned, so that the largest comes first
    int64_t row;

    Error() = default;
    Error(T error, int64_t row) : row(row) {
        memcpy(&key, &error, sizeof(key));
        key = ~key;
    }
    T value() const {
        const Key bits = ~key;
        T found;
        memcpy(&found, &bits, sizeof(found));
        return found;
    }
};

template <class T> void sort_errors(std::vector<Error<T>> &errors, std::vector<Error<T>> &spare) {
    constexpr int digit = 11, num_values = 1 << digit, num_bits = 8 * sizeof(T);
    spare.resize(errors.size());
    for (int shift = 0; shift < num_bits; shift += digit) {
        int64_t places[num_values] = {}, total = 0;
        for (const Error<T> &error : errors) ++places[error.key >> shift & (num_values - 1)];
        for (int64_t &place : places) {
            const int64_t count = place;
            place = total;
            total += count;
        }
        for (const Error<T> &error : errors) spare[places[error.key >> shift & (num_values - 1)]++] = error;
        errors.swap(spare);
    }
}

// The loss of a class in an event: the sum of its errors, each times the step of the Jaccard loss that it makes. `grad` gets
// what each step adds, with the sign that the probability has in the error. `wanted`: voxels of the class.
template <class T>
double lovasz_of_class(
    const std::vector<Error<T>> &errors, const int64_t *label, int64_t own, int64_t wanted, T *grad, int64_t num_classes
) {
    double sum = 0, before = 0;
    int64_t found = 0, rank = 0;
    for (const Error<T> &error : errors) {
        const bool is_own = label[error.row] == own;
        found += is_own;
        ++rank;
        const double jaccard = 1 - (double)(wanted - found) / (double)(wanted + rank - found);
        const T step = (T)(jaccard - before), value = error.value();
        before = jaccard;
        sum += (double)value * (double)step;
        grad[error.row * num_classes + own] = value == 0 ? 0 : is_own ? -step : step;
    }
    return sum;
}

// `losses` (num_events,) gets the means over the classes that occur in an event, 0 of events without voxels, and `grad`
// (num_rows, num_classes), of zeros on entry, the gradient of their sum. Labels are 0 to num_classes - 1.
template <class T>
void lovasz(
    const T *probability, const int64_t *label, const int64_t *event, double *losses, T *grad, int64_t num_rows,
    int64_t num_classes, int64_t num_events, int num_threads
) {
    std::vector<std::vector<int64_t>> rows(num_events);
    for (int64_t r = 0; r < num_rows; ++r) rows[event[r]].push_back(r);
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (num_threads > 1)
    for (int64_t e = 0; e < num_events; ++e) {
        std::vector<int64_t> wanted(num_classes);
        std::vector<Error<T>> errors, spare;
        for (const int64_t r : rows[e]) ++wanted[label[r]];
        int64_t num_occurring = 0;
        double sum = 0;
        for (int64_t k = 0; k < num_classes; ++k) {
            if (!wanted[k]) continue;
            ++num_occurring;
            errors.clear();
            for (const int64_t r : rows[e]) {
                const T score = probability[r * num_classes + k];
                errors.emplace_back(fabs((label[r] == k) - score), r); // rounded, a score may be above 1
            }
            sort_errors(errors, spare);
            sum += lovasz_of_class(errors, label, k, wanted[k], grad, num_classes);
        }
        losses[e] = num_occurring ? sum / num_occurring : 0;
        for (const int64_t r : rows[e])
            for (int64_t k = 0; k < num_classes; ++k) grad[r * num_classes + k] /= (T)num_occurring;
    }
}

} // namespace

#define EXPORT(T, NAME)                                                                                          \
    API void lovasz_##NAME(                                                                                      \
        const T *probability, const int64_t *label, const int64_t *event, double *losses, T *grad,               \
        int64_t num_rows, int64_t num_classes, int64_t num_events, int64_t num_threads                           \
    ) {                                                                                                          \
        lovasz<T>(                                                                                               \
            probability, label, event, losses, grad, num_rows, num_classes, num_events, (int)num_threads         \
        );                                                                                                       \
    }

EXPORT(float, f32)
EXPORT(double, f64)
