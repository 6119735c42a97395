#include "trainer/tasks/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/philox.h"

namespace heddle {

std::int32_t sample_token(std::span<const float> logits, const SamplingSettings& settings, std::uint64_t sample,
                          std::uint64_t position) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (settings.temperature == 0) return static_cast<std::int32_t>(best - logits.begin());

  // Candidates from most to least likely; equal logits in order of their ids, so that the choice is reproducible.
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto more_likely = [&](std::int32_t a, std::int32_t b) {
    const float la = logits[static_cast<std::size_t>(a)], lb = logits[static_cast<std::size_t>(b)];
    return la != lb ? la > lb : a < b;
  };
  std::size_t kept = ids.size();
  if (settings.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(settings.top_k));
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept), ids.end(), more_likely);

  std::vector<double> weights(kept);
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i)
    total += weights[i] = std::exp((static_cast<double>(logits[static_cast<std::size_t>(ids[i])]) - *best) /
                                   settings.temperature);
  if (settings.top_p < 1) {
    double sum = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      sum += weights[i];
      if (sum >= settings.top_p * total) {
        kept = i + 1;
        total = sum;
      }
    }
  }

  const PhiloxBlock bits = philox(philox_key(settings.seed, "sample"),
                                  {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
                                   static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(sample >> 32)});
  // 53 random bits in [0, 1).
  const std::uint64_t wide = (static_cast<std::uint64_t>(bits[0]) << 32 | bits[1]) >> 11;
  double left = static_cast<double>(wide) * 0x1p-53 * total;
  for (std::size_t i = 0; i < kept; ++i) {
    left -= weights[i];
    if (left < 0) return ids[i];
  }
  return ids[kept - 1];
}

}  // namespace heddle
