// Choosing the next token from logits: temperature, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2019).
#pragma once

#include <cstdint>
#include <span>

namespace heddle {

struct SamplingSettings {
  double temperature = 1;  // 0: always the most likely token (the lowest id of equals)
  std::int64_t top_k = 0;  // only the k most likely tokens; 0: all
  double top_p = 1;        // only the smallest set of most likely tokens with this much probability; 1: all
  std::uint64_t seed = 0;
};

// The token of sample `sample` at place `position` of its text: a pure function of the logits and these numbers.
std::int32_t sample_token(std::span<const float> logits, const SamplingSettings& settings, std::uint64_t sample,
                          std::uint64_t position);

}  // namespace heddle
