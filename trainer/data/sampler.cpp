#include "trainer/data/sampler.h"

#include <algorithm>
#include <bit>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace heddle {
namespace {

// More than the four that suffice in theory: small domains leave each round little to mix.
constexpr std::uint32_t kRounds = 8;
// At least 64 elements, for the same reason.
constexpr int kMinHalfBits = 3;
// What a block of random numbers is for, in the third word of the counter; rounds use [0, kRounds).
constexpr std::uint32_t kOffsetStream = 0xffffffffu;

}  // namespace

Sampler::Sampler(std::int64_t tokens, std::int64_t context_length, SampleOrder order, std::uint64_t seed)
    : tokens_(tokens), context_length_(context_length), order_(order), key_(philox_key(seed, "data/order")) {
  if (context_length < 1) throw usage_error("a context_length of {} is not possible", context_length);
  if (tokens - 1 < context_length) {
    throw error("the data has {} tokens, too few for one window of context_length {} and its targets", tokens,
                context_length);
  }
  windows_ = order == SampleOrder::sequential
                 ? (tokens - 1) / context_length
                 : std::max<std::int64_t>(1, (tokens - context_length) / context_length);
  const int bits = std::bit_width(static_cast<std::uint64_t>(windows_ - 1));
  half_bits_ = std::max(kMinHalfBits, (bits + 1) / 2);
}

Sampler::Sample Sampler::sample(std::int64_t i) const {
  const std::int64_t epoch = i / windows_, index = i % windows_;
  const std::int64_t window = order_ == SampleOrder::sequential ? index : permute(epoch, index);
  return {epoch, window, epoch_offset(epoch) + window * context_length_};
}

std::int64_t Sampler::epoch_offset(std::int64_t epoch) const {
  if (order_ == SampleOrder::sequential) return 0;
  // The last window and the token after it must fit behind the offset.
  const std::int64_t choices = std::min(context_length_, tokens_ - windows_ * context_length_);
  const PhiloxBlock block = philox(
      key_, {static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(epoch >> 32), kOffsetStream, 0});
  const std::uint64_t bits = static_cast<std::uint64_t>(block[1]) << 32 | block[0];
  return static_cast<std::int64_t>(bits % static_cast<std::uint64_t>(choices));
}

std::int64_t Sampler::permute(std::int64_t epoch, std::int64_t index) const {
  const std::uint32_t mask = static_cast<std::uint32_t>((std::uint64_t{1} << half_bits_) - 1);
  std::uint64_t value = static_cast<std::uint64_t>(index);
  do {
    std::uint32_t left = static_cast<std::uint32_t>(value >> half_bits_),
                  right = static_cast<std::uint32_t>(value) & mask;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const PhiloxBlock block = philox(
          key_, {static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(epoch >> 32), round, right});
      const std::uint32_t mixed = left ^ (block[0] & mask);
      left = right;
      right = mixed;
    }
    value = static_cast<std::uint64_t>(left) << half_bits_ | right;
  } while (value >=
           static_cast<std::uint64_t>(windows_));  // ends: the cycle leads back to `index`, which is below
  return static_cast<std::int64_t>(value);
}

}  // namespace heddle
