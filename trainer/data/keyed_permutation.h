// A permutation of [0, size) for each round (an epoch, say) of a key: a pure function, so any element is
// found without those before it and nothing is stored.
//
// A Feistel network over the next power of four with Philox as the round function, repeated until the value
// is below `size` (cycle walking; Black and Rogaway, CT-RSA 2002).
#pragma once

#include <cstdint>

namespace heddle {

class KeyedPermutation {
 public:
  KeyedPermutation(std::uint64_t key, std::int64_t size);  // size >= 1

  // Where `index`, in [0, size), goes in the permutation of number `round`.
  std::int64_t operator()(std::int64_t round, std::int64_t index) const;

  std::int64_t size() const { return size_; }

 private:
  std::uint64_t key_;
  std::int64_t size_;
  int half_bits_;  // of the Feistel network
};

}  // namespace heddle
