// Loops like those of the kernels, each kind that they have; with an argument, threads write to the same place.

#include <omp.h>
#include <stdint.h>

int main(int argc, char **) {
    constexpr int64_t num = 64;
    static double out[num];
    const bool race = argc > 1;
    const int num_threads = 3;
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (num_threads > 1)
    for (int64_t i = 0; i < num; ++i) out[race ? 0 : i] += i;
#pragma omp parallel num_threads(num_threads)
    {
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < num; ++i) out[i] *= 2;
        if (omp_get_num_threads() != num_threads) out[0] = 1;
    }
#pragma omp parallel for schedule(static, 1) num_threads(num_threads) if (num_threads > 1)
    for (int64_t i = 0; i < num; ++i) out[i] -= i;
    for (int64_t i = 0; i < num; ++i)
        if (!race && out[i] != i) return 1;
    return 0;
}
