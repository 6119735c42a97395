#include "parallel/sharding.h"

#include <algorithm>

namespace heddle {

namespace {

std::int64_t share_of_group(const Shape& global, const Sharding& sharding, int ranks) {
  const std::int64_t group = global[sharding.dim] / sharding.groups;
  const std::int64_t share = (group + ranks - 1) / ranks;
  return (share + sharding.multiple - 1) / sharding.multiple * sharding.multiple;
}

Shape zeros(int rank) {
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.push_back(0);
  return shape;
}

}  // namespace

Shape local_shape(const Shape& global, const Sharding& sharding, int ranks) {
  Shape local = global;
  if (!sharding.replicated()) local[sharding.dim] = sharding.groups * share_of_group(global, sharding, ranks);
  return local;
}

std::vector<ShardPiece> shard_pieces(const Shape& global, const Sharding& sharding, int rank, int ranks) {
  if (sharding.replicated()) return {{zeros(global.rank()), zeros(global.rank()), global}};
  const int dim = sharding.dim;
  const std::int64_t group = global[dim] / sharding.groups, share = share_of_group(global, sharding, ranks);
  const std::int64_t begin = std::min(group, rank * share), end = std::min(group, begin + share);
  std::vector<ShardPiece> pieces;
  if (begin == end) return pieces;
  for (int g = 0; g < sharding.groups; ++g) {
    ShardPiece piece{zeros(global.rank()), zeros(global.rank()), global};
    piece.global_offset[dim] = g * group + begin;
    piece.local_offset[dim] = g * share;
    piece.extent[dim] = end - begin;
    pieces.push_back(piece);
  }
  return pieces;
}

ShardRuns shard_runs(const Shape& global, const Sharding& sharding, int rank, int ranks) {
  if (sharding.replicated()) return {std::max<std::int64_t>(global.count(), 1), 0, 0};
  // The groups of the split dimension, in every row of the dimensions before it, follow each other at equal distances.
  std::int64_t inner = 1;
  for (int d = sharding.dim + 1; d < global.rank(); ++d) inner *= global[d];
  const std::int64_t group = global[sharding.dim] / sharding.groups, share = share_of_group(global, sharding, ranks);
  return {std::max<std::int64_t>(share * inner, 1), group * inner, rank * share * inner};
}

}  // namespace heddle
