// The form of kernel maps. A tile is a run of output rows. For each tile and kernel offset there is a list
// of pairs (input row, output row), in which an output row occurs at most once: `starts` (tiles, K + 1)
// says where they begin.

#pragma once

#include <stdint.h>

namespace {

struct Pair {
    int32_t source, target;
};

} // namespace
