// Sums and maxima over the ranks' contributions, in rank order: the one place where ranks' numbers are
// combined.
#pragma once

#include <cstdint>

#include "parallel/collective.h"

namespace heddle {

// out[i] = ((source 0 [i] + source 1 [i]) + source 2 [i]) + ..., or the maximum, where a NaN wins over any
// number. f32 and bf16 are combined in f32 (bf16 is rounded once, at the end), integers wrap around. The
// result does not depend on where a range is cut. `out` may be one of the sources. `sources` has `ranks` >= 1
// pointers to n elements. Throws Error for u8.
void reduce_in_rank_order(const void* const* sources, int ranks, std::int64_t n, Element element,
                          Reduction reduction, void* out);

}  // namespace heddle
