// Contributions of ranks and what collectives must make of them, computed alone on each rank.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/tensor.h"
#include "parallel/communicator.h"

namespace heddle::test {

inline std::uint64_t mix(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Magnitudes over six decades, so that another order of summation gives other bits.
template <typename T>
T contribution(int rank, std::int64_t i, std::uint64_t seed) {
  const std::uint64_t bits =
      mix(mix(seed * 1000 + static_cast<std::uint64_t>(rank)) + static_cast<std::uint64_t>(i));
  if constexpr (std::is_same_v<T, std::int32_t>) {
    return static_cast<std::int32_t>(bits);  // sums overflow
  } else if constexpr (std::is_same_v<T, std::uint8_t>) {
    return static_cast<std::uint8_t>(bits);
  } else {
    constexpr float kScales[] = {1e-3f, 1e-2f, 1e-1f, 1, 1e1f, 1e2f, 1e3f, 1e4f};
    const float unit = static_cast<float>(static_cast<std::int32_t>(bits >> 32)) / 2147483648.0f;
    return static_cast<T>(unit * kScales[bits & 7]);
  }
}

template <typename T>
std::vector<T> contributions(int rank, std::int64_t n, std::uint64_t seed) {
  std::vector<T> values(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = contribution<T>(rank, i, seed);
  return values;
}

// Elements [begin, begin + n) of the reduction: one at a time, in rank order, in f32, rounded at the end.
template <typename T>
std::vector<T> expected_reduction(int ranks, std::int64_t begin, std::int64_t n, std::uint64_t seed,
                                  Reduction reduction) {
  std::vector<T> values(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<T, std::int32_t>) {
      std::int64_t total = contribution<T>(0, begin + i, seed);
      for (int r = 1; r < ranks; ++r) {
        const std::int64_t next = contribution<T>(r, begin + i, seed);
        total = reduction == Reduction::sum ? total + next : std::max(total, next);
      }
      values[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(total);
    } else {
      float total = static_cast<float>(contribution<T>(0, begin + i, seed));
      for (int r = 1; r < ranks; ++r) {
        const float next = static_cast<float>(contribution<T>(r, begin + i, seed));
        total = reduction == Reduction::sum ? total + next : std::max(total, next);
      }
      values[static_cast<std::size_t>(i)] = static_cast<T>(total);
    }
  }
  return values;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <typename T>
Tensor tensor_of(std::vector<T>& values) {
  return Tensor(values.data(), dtype_of<T>(), {static_cast<std::int64_t>(values.size())});
}

// 0, 1, odd, just at and beyond the transports' chunks, 10 MB of f32.
inline const std::vector<std::int64_t> kSizes = {0, 1, 7, 1001, 65536, 65537, 262145, 300001, 2621443};

}  // namespace heddle::test
