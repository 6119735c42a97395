// How one global tensor is split among the ranks of a tensor-parallel group, and which part a rank holds.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/tensor.h"

namespace heddle {

struct Sharding {
  int dim = -1;         // the dimension that is split; -1: every rank holds the whole tensor
  int groups = 1;       // dim is `groups` equal blocks, each split by itself (a packed Q|K|V projection has 3)
  std::int64_t multiple = 1;  // the local share is rounded up to this; the last ranks' surplus is zero padding

  bool replicated() const { return dim < 0; }
};

// A box of the global tensor and where it lies in the local one.
struct ShardPiece {
  Shape global_offset;
  Shape local_offset;
  Shape extent;
};

// Shape of the local tensor: for every rank the same, padding included.
Shape local_shape(const Shape& global, const Sharding& sharding, int ranks);

// The boxes that rank `rank` of `ranks` holds: one per group, none if it holds only padding. Replicated: one box.
std::vector<ShardPiece> shard_pieces(const Shape& global, const Sharding& sharding, int rank, int ranks);

// The same as a formula for one element: local element e, where it is not padding, is element
// first + e / run * stride + e % run of the global tensor.
struct ShardRuns {
  std::int64_t run;     // at least 1
  std::int64_t stride;
  std::int64_t first;
};
ShardRuns shard_runs(const Shape& global, const Sharding& sharding, int rank, int ranks);

}  // namespace heddle
