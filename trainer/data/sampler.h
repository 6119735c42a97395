// Which tokens are sample number i: a pure function of the data's size, the seed and i. No index file, no
// state, and nothing depends on the number of ranks.
//
// Shuffled (training). In each epoch the stream of tokens is cut into
//   N = max(1, floor((tokens - context_length) / context_length))
// windows of context_length tokens, beginning at an offset drawn from (seed, epoch) in [0, context_length)
// (less if the data is hardly longer than one window). So windows differ between epochs, and each window of
// an epoch comes up exactly once, in an order that is a permutation keyed by (seed, epoch)
// (keyed_permutation.h). Any sample is found without those before it.
//
// Sequential (validation). N = floor((tokens - 1) / context_length) windows from offset 0 in their order;
// what is left at the end, less than a window, is not used.
//
// Every window is followed by at least one token: the targets are the inputs moved by one.
#pragma once

#include <cstdint>

#include "trainer/data/keyed_permutation.h"

namespace heddle {

enum class SampleOrder : std::uint8_t { shuffled, sequential };

class Sampler {
 public:
  // Throws Error if there are not even context_length + 1 tokens.
  Sampler(std::int64_t tokens, std::int64_t context_length, SampleOrder order, std::uint64_t seed = 0);

  struct Sample {
    std::int64_t epoch;     // i / windows_per_epoch()
    std::int64_t window;    // in [0, windows_per_epoch())
    std::int64_t position;  // of its first token; it uses tokens [position, position + context_length]
  };
  Sample sample(std::int64_t i) const;

  std::int64_t windows_per_epoch() const { return windows_; }
  std::int64_t context_length() const { return context_length_; }
  std::int64_t epoch_offset(std::int64_t epoch) const;

 private:
  std::int64_t tokens_, context_length_, windows_;
  SampleOrder order_;
  std::uint64_t key_;
  KeyedPermutation permutation_;  // of the windows of an epoch
};

}  // namespace heddle
