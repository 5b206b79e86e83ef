// OpenMP as far as the compiled kernels use it, by threads of the system: the sanitizer of threads knows nothing of
// what happens inside GCC's libgomp, and would take the end of each parallel region for a race. `make sanitize`
// compiles this into the kernels' library, where its functions go before those of libgomp.

#include <pthread.h>
#include <stdlib.h>
#include <thread>
#include <vector>

namespace {

typedef void Region(void *);

struct Team {
    explicit Team(unsigned asked) : size(asked ? (int)asked : 1) { pthread_barrier_init(&barrier, nullptr, size); }
    ~Team() { pthread_barrier_destroy(&barrier); }

    const int size;
    pthread_barrier_t barrier;
};

// A thread of a parallel region, and its part of the loop that it is in: pieces are dealt in turn, so that all take part
// and none waits for another, which would hide a race between the two.
struct Member {
    Team *team = nullptr;
    int number = 0;
    long next = 0, end = 0, piece = 1;

    void open(long first, long last, long step, long chunk) {
        if (step <= 0) abort(); // no loop of the kernels counts down
        piece = step * chunk, next = first + number * piece, end = last;
    }

    bool take(long *first, long *last) {
        if (next >= end) return false;
        *first = next;
        *last = next + piece < end ? next + piece : end;
        next += team->size * piece;
        return true;
    }
};

thread_local Member own;

void run(Region *region, void *data, Member member) {
    const Member before = own;
    own = member;
    region(data);
    own = before;
}

struct Loop {
    long begin, end, step, chunk;
};

void run_all(Region *region, void *data, unsigned num_threads, const Loop *loop) {
    Team team(num_threads);
    std::vector<Member> members(team.size);
    std::vector<std::thread> others;
    for (int number = 0; number < team.size; ++number) {
        members[number].team = &team, members[number].number = number;
        if (loop) members[number].open(loop->begin, loop->end, loop->step, loop->chunk);
        if (number) others.emplace_back(run, region, data, members[number]);
    }
    run(region, data, members[0]);
    for (std::thread &other : others) other.join();
}

} // namespace

extern "C" {

int omp_get_num_threads() { return own.team ? own.team->size : 1; }
int omp_get_thread_num() { return own.number; }

void GOMP_parallel(Region *region, void *data, unsigned num_threads, unsigned) {
    run_all(region, data, num_threads, nullptr);
}

void GOMP_parallel_loop_nonmonotonic_dynamic(
    Region *region, void *data, unsigned num_threads, long begin, long end, long step, long chunk, unsigned
) {
    const Loop loop = {begin, end, step, chunk};
    run_all(region, data, num_threads, &loop);
}

bool GOMP_loop_nonmonotonic_dynamic_start(long begin, long end, long step, long chunk, long *first, long *last) {
    if (!own.team) abort(); // a region of libgomp's
    own.open(begin, end, step, chunk);
    return own.take(first, last);
}

bool GOMP_loop_nonmonotonic_dynamic_next(long *first, long *last) { return own.take(first, last); }
void GOMP_loop_end() { pthread_barrier_wait(&own.team->barrier); }
void GOMP_loop_end_nowait() {}

} // extern "C"
