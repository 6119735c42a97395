// Which pairs are in the global batch of a step: a pure function of the pairs' lengths, the seed and the
// step. No state, any step is found without those before it, and nothing depends on the number of ranks.
//
// Pairs of similar lengths share a batch, so that little of it is padding:
//   - The two lengths of a pair are rounded up on a grid (rounded_length()); pairs with the same rounded
//     lengths are a class. The classes are sorted by target length, and among equal ones by source length,
//     alternately up and down, so that neighbours are similar.
//   - The sorted row of places is cut into batches: of global_batch pairs, or of as many as batch_tokens
//     allows. A batch is padded to the largest rounded lengths of its classes. So the batches' shapes are the
//     same in every epoch.
//   - In each epoch the pairs of a class are permuted among its places, and the order of the batches is
//     permuted, both keyed by seed and epoch (keyed_permutation.h). Every pair comes up exactly once.
//
// A pair longer than max_length on one side is left out.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/data/keyed_permutation.h"
#include "trainer/data/pair_dataset.h"

namespace heddle {

struct PairBatchOptions {
  std::int64_t global_batch = 32;  // pairs
  // Instead, if not 0: pairs times the longer padded side is at most this, but for a batch of one pair.
  std::int64_t batch_tokens = 0;
  std::int64_t max_length = 0;  // of source and target in tokens, end-of-text token included
  bool shuffled = true;         // false: all epochs are alike (validation)
  std::uint64_t seed = 0;
};

// `length` rounded up to a multiple of 2 below 32, of 4 below 64, of 8 below 128 and so on, but at most
// `max_length`.
std::int64_t rounded_length(std::int64_t length, std::int64_t max_length);

class PairBatches {
 public:
  // `lengths` must outlive this. Throws Error if no pair is left.
  PairBatches(const std::vector<PairLength>& lengths, const PairBatchOptions& options);
  PairBatches(std::vector<PairLength>&& lengths, const PairBatchOptions& options) = delete;

  std::int64_t batches() const { return static_cast<std::int64_t>(shapes_.size()); }  // of an epoch
  std::int64_t pairs() const { return static_cast<std::int64_t>(order_.size()); }
  std::int64_t left_out() const { return left_out_; }  // pairs that are too long
  // Of all pairs that are not left out.
  std::int64_t source_tokens() const { return source_tokens_; }
  std::int64_t target_tokens() const { return target_tokens_; }

  struct Shape {
    std::int64_t pairs = 0;
    std::int64_t length = 0, source_length = 0;  // padded
  };
  // Of the batch of `step`.
  Shape shape(std::int64_t step) const { return shapes_[batch_of(step)]; }
  const std::vector<Shape>& shapes() const { return shapes_; }  // of all batches, in no particular order

  // The pairs in the global batch of `step`, in order.
  void list(std::int64_t step, std::vector<std::int64_t>& pairs) const;
  std::int64_t target_tokens(std::int64_t step) const;

  // Padding among all positions of an epoch's batches.
  struct Waste {
    double source = 0, target = 0, both = 0;
  };
  Waste waste() const;

 private:
  struct Class {
    std::int64_t first_place;
    KeyedPermutation permutation;
  };

  void sort(std::int64_t max_length);
  void cut();
  std::size_t batch_of(std::int64_t step) const;
  template <typename Visit>
  void visit(std::int64_t step, const Visit& visit) const;

  const std::vector<PairLength>& lengths_;
  const PairBatchOptions options_;
  std::vector<std::uint32_t> order_;  // the pairs class by class
  std::vector<Class> classes_;
  std::vector<std::int64_t> first_places_;  // of the batches
  std::vector<Shape> shapes_;
  std::vector<KeyedPermutation> batch_order_;  // one, if shuffled
  std::int64_t left_out_ = 0, source_tokens_ = 0, target_tokens_ = 0;
};

}  // namespace heddle
