// Parameters on shards: what every rank of a tensor group holds is its part of the same global model.
#include "parallel/parameters.h"

#include <gtest/gtest.h>

#include <map>

#include "kernels/cpu/device.h"

namespace heddle {
namespace {

// Calls visit(global index, local index) for every element that a rank holds.
template <typename Visit>
void for_each_element(const ShardPiece& piece, const Shape& global, const Shape& local, const Visit& visit) {
  for (std::int64_t e = 0; e < piece.extent.count(); ++e) {
    std::int64_t rest = e, global_index = 0, local_index = 0, global_step = 1, local_step = 1;
    for (int d = global.rank() - 1; d >= 0; --d) {
      const std::int64_t i = rest % piece.extent[d];
      rest /= piece.extent[d];
      global_index += (piece.global_offset[d] + i) * global_step;
      local_index += (piece.local_offset[d] + i) * local_step;
      global_step *= global[d];
      local_step *= local[d];
    }
    visit(global_index, local_index);
  }
}

std::vector<ParameterSpec> specs() {
  const auto spec = [](std::string name, Shape shape, Sharding sharding) {
    return ParameterSpec{std::move(name), shape, sharding, Initializer::normal(0.1f), true};
  };
  return {spec("whole", {7, 13}, {}),
          spec("rows", {12, 10}, {0, 1, 1}),
          spec("columns", {10, 12}, {1, 1, 1}),
          spec("packed columns", {5, 36}, {1, 3, 1}),
          spec("packed bias", {36}, {0, 3, 1}),
          spec("packed rows", {36, 9}, {0, 3, 1}),
          spec("middle", {3, 12, 5}, {1, 2, 1}),
          spec("padded vocabulary", {37, 6}, {0, 1, 8})};
}

TEST(ShardRuns, AreTheShardPieces) {
  for (const ParameterSpec& spec : specs())
    for (int ranks : {1, 2, 3, 4, 6})
      for (int rank = 0; rank < ranks; ++rank) {
        const Shape local = local_shape(spec.shape, spec.sharding, ranks);
        const ShardRuns runs = shard_runs(spec.shape, spec.sharding, rank, ranks);
        for (const ShardPiece& piece : shard_pieces(spec.shape, spec.sharding, rank, ranks))
          for_each_element(piece, spec.shape, local, [&](std::int64_t global, std::int64_t e) {
            ASSERT_EQ(runs.first + e / runs.run * runs.stride + e % runs.run, global)
                << spec.name << " rank " << rank << " of " << ranks << " element " << e;
          });
      }
}

using Values = std::map<std::string, std::vector<float>>;

// All bf16 values of the global model, put together from the shards, after update number `update`.
Values values_after(std::int64_t update, int ranks, bool stochastic, std::uint64_t seed = 3) {
  Values values;
  for (int rank = 0; rank < ranks; ++rank) {
    CpuDevice device(1);
    ParameterTable table(ranks, rank);
    for (const ParameterSpec& spec : specs()) table.add(spec);
    table.allocate(device, DType::bf16, ParameterTable::Purpose::training);
    if (stochastic) table.round_stochastically(device, seed);
    table.initialize(device, 1);
    table.refresh_values(device, update);
    for (const Parameter& p : table.parameters()) {
      std::vector<float>& whole = values[p.spec.name];
      whole.resize(static_cast<std::size_t>(p.spec.shape.count()));
      std::int64_t held = 0;
      for (const ShardPiece& piece : shard_pieces(p.spec.shape, p.spec.sharding, rank, ranks))
        for_each_element(piece, p.spec.shape, p.local, [&](std::int64_t global, std::int64_t e) {
          whole[static_cast<std::size_t>(global)] = p.value.as<bfloat16>()[e];
          ++held;
        });
      std::int64_t zeros = 0;
      for (std::int64_t e = 0; e < p.count(); ++e) zeros += p.value.as<bfloat16>()[e] == 0.0f;
      EXPECT_EQ(zeros, p.count() - held) << p.spec.name << ": padding is 0";
    }
  }
  return values;
}

TEST(Parameters, AreRoundedStochasticallyAlikeOnEveryShard) {
  const Values whole = values_after(5, 1, true);
  for (int ranks : {2, 3, 4, 6}) EXPECT_EQ(values_after(5, ranks, true), whole) << ranks;
  EXPECT_NE(values_after(6, 1, true), whole);
  EXPECT_NE(values_after(5, 1, true, 4), whole);
  EXPECT_NE(values_after(5, 1, false), whole);
  EXPECT_EQ(values_after(5, 1, false), values_after(6, 2, false));
}

}  // namespace
}  // namespace heddle
