// Dropout of the attention's probabilities (kernels/ops.h): the mask's bits, 16 or 32 keys of a query at a
// time.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/ptx.h"
#include "kernels/ops.h"
#include "kernels/philox.h"

namespace heddle::cuda {

struct AttentionDropout {
  bool enabled;
  std::uint32_t threshold;  // a word at or above it keeps its element
  float factor;             // of what is kept: 1 / (1 - probability), 1 without dropout
  std::uint64_t key;
  const std::uint32_t* step;
  std::uint32_t first_sample;
  int first_head;
  int queries, keys;  // Tq, Tk

  AttentionDropout(const Dropout& d, int first_head, int queries, int keys)
      : enabled(d.probability > 0),
        threshold(static_cast<std::uint32_t>(std::floor(static_cast<double>(d.probability) * 0x1p32))),
        factor(1.0f / (1.0f - d.probability)),
        key(d.key),
        step(d.step),
        first_sample(d.first_sample),
        first_head(first_head),
        queries(queries),
        keys(keys) {}

  // Bit b tells whether key j + b of query i is kept, b < kCount <= 32. One Philox block gives four
  // neighbouring elements; rows start at any element, so a word may need one block more than kCount / 4.
  template <int kCount>
  __device__ __forceinline__ std::uint32_t keep_bits(int batch, int head, int i, int j) const {
    const std::uint64_t element =
        ((static_cast<std::uint64_t>(first_head) + head) * queries + i) * static_cast<std::uint64_t>(keys) +
        j;
    const std::uint32_t sample = first_sample + batch, now = *step;
    const int skipped = static_cast<int>(element % 4), blocks = kCount / 4 + (skipped != 0);
    std::uint64_t bits = 0;
#pragma unroll 1
    for (int n = 0; n < blocks; ++n) {
      const std::uint64_t block = element / 4 + n;
      const PhiloxBlock words = philox(
          key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), sample, now});
      std::uint32_t four = 0;
#pragma unroll
      for (int w = 0; w < 4; ++w) four |= static_cast<std::uint32_t>(words[w] >= threshold) << w;
      bits |= static_cast<std::uint64_t>(four) << (4 * n);
    }
    return static_cast<std::uint32_t>(bits >> skipped);
  }
};

}  // namespace heddle::cuda
