// Sums over rows, such as the gradients of biases and norm weights.
#pragma once

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector.h"

namespace heddle::cpu {

// destination[width] += the `blocks` rows of partial[blocks, stride], in their order.
inline void add_partial_rows(int threads, const float* partial, std::int64_t blocks, std::int64_t stride,
                             std::int64_t width, float* destination) {
  if (blocks == 0) return;
  parallel_parts(threads, width, blocks, kLanes, [&](std::int64_t begin, std::int64_t end) {
    for_each_vector(begin, end, [&](std::int64_t i, auto extent) {
      FloatVector sum = load(partial + i, extent);
      for (std::int64_t b = 1; b < blocks; ++b) sum += load(partial + b * stride + i, extent);
      store(destination + i, load(destination + i, extent) + sum, extent);
    });
  });
}

}  // namespace heddle::cpu
