#include "trainer/data/sampler.h"

#include <algorithm>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace heddle {
namespace {

// What a block of random numbers is for, in the third word of the counter; the permutation counts its rounds
// there.
constexpr std::uint32_t kOffsetStream = 0xffffffffu;

std::int64_t count_windows(std::int64_t tokens, std::int64_t context_length, SampleOrder order) {
  if (context_length < 1) throw usage_error("a context_length of {} is not possible", context_length);
  if (tokens - 1 < context_length) {
    throw error("the data has {} tokens, too few for one window of context_length {} and its targets", tokens,
                context_length);
  }
  return order == SampleOrder::sequential
             ? (tokens - 1) / context_length
             : std::max<std::int64_t>(1, (tokens - context_length) / context_length);
}

}  // namespace

Sampler::Sampler(std::int64_t tokens, std::int64_t context_length, SampleOrder order, std::uint64_t seed)
    : tokens_(tokens),
      context_length_(context_length),
      windows_(count_windows(tokens, context_length, order)),
      order_(order),
      key_(philox_key(seed, "data/order")),
      permutation_(key_, windows_) {}

Sampler::Sample Sampler::sample(std::int64_t i) const {
  const std::int64_t epoch = i / windows_, index = i % windows_;
  const std::int64_t window = order_ == SampleOrder::sequential ? index : permutation_(epoch, index);
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

}  // namespace heddle
