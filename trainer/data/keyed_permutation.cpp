#include "trainer/data/keyed_permutation.h"

#include <algorithm>
#include <bit>

#include "kernels/philox.h"

namespace heddle {
namespace {

// More than the four that suffice in theory: small domains leave each round little to mix.
constexpr std::uint32_t kRounds = 8;
// At least 64 elements, for the same reason.
constexpr int kMinHalfBits = 3;

}  // namespace

KeyedPermutation::KeyedPermutation(std::uint64_t key, std::int64_t size) : key_(key), size_(size) {
  const int bits = std::bit_width(static_cast<std::uint64_t>(size - 1));
  half_bits_ = std::max(kMinHalfBits, (bits + 1) / 2);
}

std::int64_t KeyedPermutation::operator()(std::int64_t round, std::int64_t index) const {
  if (size_ == 1) return 0;
  const std::uint32_t mask = static_cast<std::uint32_t>((std::uint64_t{1} << half_bits_) - 1);
  std::uint64_t value = static_cast<std::uint64_t>(index);
  do {
    std::uint32_t left = static_cast<std::uint32_t>(value >> half_bits_),
                  right = static_cast<std::uint32_t>(value) & mask;
    for (std::uint32_t feistel = 0; feistel < kRounds; ++feistel) {
      const PhiloxBlock block = philox(
          key_, {static_cast<std::uint32_t>(round), static_cast<std::uint32_t>(round >> 32), feistel, right});
      const std::uint32_t mixed = left ^ (block[0] & mask);
      left = right;
      right = mixed;
    }
    value = static_cast<std::uint64_t>(left) << half_bits_ | right;
  } while (value >=
           static_cast<std::uint64_t>(size_));  // ends: the cycle leads back to `index`, which is below
  return static_cast<std::int64_t>(value);
}

}  // namespace heddle
