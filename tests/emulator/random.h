// The emulator's random numbers: splitmix64, a few instructions each.
#pragma once

#include <cstdint>

namespace heddle::emulator {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  // 0 to n - 1. Its bias, n / 2^32, is of no concern here; n is at most 2^32.
  std::uint64_t below(std::uint64_t n) { return (next() >> 32) * n >> 32; }

 private:
  std::uint64_t state_;
};

}  // namespace heddle::emulator
