// The factors of dropout (0 or 1 / (1 - probability)) as kernels/ops.h defines them, 16 to 64 elements at a
// time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/philox_words.h"
#include "kernels/cpu/vector.h"
#include "kernels/ops.h"

namespace heddle::cpu {

// Writes the factors of elements [begin, begin + count) of a sample, vector by vector, whatever `begin` is.
class DropoutMask {
 public:
  // Elements produced at a time: factors() takes any count, multiples of this are the fast case.
  static constexpr std::int64_t kChunk = kPhiloxWords;

  explicit DropoutMask(const Dropout& dropout)
      : keys_(dropout.key),
        step_(*dropout.step),
        threshold_(static_cast<std::uint32_t>(std::floor(double(dropout.probability) * 0x1p32))),
        factor_(1.0f / (1.0f - dropout.probability)) {}

  void factors(std::uint32_t sample, std::uint64_t begin, std::int64_t count, float* out) const {
    if (const std::uint64_t skip = begin % 4; skip != 0 && count > 0) {
      float head[kChunk];
      chunk(sample, begin - skip, head);
      const std::int64_t taken = std::min<std::int64_t>(kChunk - skip, count);
      std::memcpy(out, head + skip, taken * sizeof(float));
      out += taken;
      begin += taken;
      count -= taken;
    }
    for (; count >= kChunk; count -= kChunk, begin += kChunk, out += kChunk) chunk(sample, begin, out);
    if (count > 0) {
      float tail[kChunk];
      chunk(sample, begin, tail);
      std::memcpy(out, tail, count * sizeof(float));
    }
  }

 private:
  // kChunk factors from an element that is a multiple of 4.
  void chunk(std::uint32_t sample, std::uint64_t begin, float* out) const {
    std::uint32_t words[kChunk];
    philox_words(keys_, begin / 4, sample, step_, words);
    for (int i = 0; i < kChunk; i += kLanes) {
      UIntVector word;
      std::memcpy(&word, words + i, sizeof word);
      store(out + i, word >= threshold_ ? broadcast(factor_) : FloatVector{});
    }
  }

  PhiloxKeys keys_;
  std::uint32_t step_, threshold_;
  float factor_;
};

}  // namespace heddle::cpu
