// The frequencies of rotary position embeddings (Ops::rope), for all backends.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace heddle {

constexpr std::int64_t kMaxRotarySize = 256;
using RotaryFrequencies = std::array<double, kMaxRotarySize / 2>;

// Radians per position of pair i: base^(-2 i / rotary_size). Su et al. 2021, eq. 15.
inline RotaryFrequencies rotary_frequencies(std::int64_t rotary_size, float base) {
  RotaryFrequencies frequencies{};
  for (std::int64_t i = 0; i < rotary_size / 2; ++i)
    frequencies[i] = std::pow(double(base), -2.0 * static_cast<double>(i) / static_cast<double>(rotary_size));
  return frequencies;
}

}  // namespace heddle
