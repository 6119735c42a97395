// The factors of dropout (0 or 1 / (1 - probability)) as kernels/ops.h defines them.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/ptx.h"
#include "kernels/ops.h"
#include "kernels/philox.h"

namespace heddle::cuda {

// Made on the host, handed to kernels by value; the step is read on the device.
struct DropoutMask {
  std::uint64_t key = 0;
  const std::uint32_t* step = nullptr;  // null: everything is kept
  std::uint32_t first_sample = 0, threshold = 0;
  float scale = 1;

  DropoutMask() = default;
  explicit DropoutMask(const Dropout& dropout) {
    if (dropout.probability == 0) return;
    key = dropout.key;
    step = dropout.step;
    first_sample = dropout.first_sample;
    threshold = static_cast<std::uint32_t>(std::floor(double(dropout.probability) * 0x1p32));
    scale = 1.0f / (1.0f - dropout.probability);
  }

  __device__ __forceinline__ bool keeps_everything() const { return step == nullptr; }

  // Of elements [element, element + N) of sample `sample` of this tensor: N is 1, or it and `element` are
  // multiples of 4, for one call of Philox per 4 elements.
  template <int N>
  __device__ __forceinline__ void factors(std::int64_t sample, std::uint64_t element,
                                          float (&factor)[N]) const {
    static_assert(N == 1 || N % 4 == 0);
    if (keeps_everything()) {
#pragma unroll
      for (float& f : factor) f = 1.0f;
      return;
    }
    const std::uint32_t number = first_sample + static_cast<std::uint32_t>(sample), now = *step;
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const std::uint64_t block = element / 4 + i / 4;
      const PhiloxBlock words = philox(
          key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), number, now});
      if constexpr (N == 1) {
        const int word =
            static_cast<int>(element % 4);  // no index that is known only at run time into registers
        const std::uint32_t lower = word == 0 ? words[0] : words[1], upper = word == 2 ? words[2] : words[3];
        factor[0] = (word < 2 ? lower : upper) >= threshold ? scale : 0.0f;
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) factor[i + k] = words[k] >= threshold ? scale : 0.0f;
      }
    }
  }
};

}  // namespace heddle::cuda
