// What stochastic rounding (kernels/ops.h) does to one element, for all backends.
#pragma once

#include <cstdint>

#include "kernels/ops.h"
#include "kernels/philox.h"

namespace heddle {

constexpr int kRoundingsPerBlock = 8;  // elements that share one block of Philox, 16 bits each

// The bits of the largest bf16 as an f32: nothing finite lies above it, so nothing is rounded up from there
// on.
constexpr std::uint32_t kLargestBfloat16 = 0x7f7f0000u;
constexpr std::uint32_t kInfinity = 0x7f800000u;

// From the bits of an f32 to those of a bf16. `random` is uniform in [0, 2^16).
constexpr std::uint32_t stochastically_rounded(std::uint32_t bits, std::uint32_t random) {
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude < kLargestBfloat16) return (bits + random) >> 16;
  return (bits >> 16) | (magnitude > kInfinity ? 0x40u : 0u);  // quiet, so that no NaN is cut to an infinity
}

// The block that decides about elements [8 block, 8 block + 8) of the global parameter.
constexpr PhiloxBlock rounding_block(std::uint64_t key, std::uint64_t block, std::uint32_t update) {
  return philox(key,
                {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0u, update});
}

// Where element `local` of a parameter lies: the elements left of its run, itself included, and its number in
// the global parameter.
struct PlaceInRun {
  std::int64_t rest;
  std::uint64_t number;
};

constexpr PlaceInRun place_in_run(const GlobalPlace& place, std::int64_t local) {
  const std::int64_t run =
      local < place.run ? 0 : local / place.run;  // a whole parameter is one run: no division
  const std::int64_t at = local - run * place.run;
  return {place.run - at, static_cast<std::uint64_t>(place.first + run * place.stride + at)};
}

}  // namespace heddle
