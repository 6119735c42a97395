// dq: a block owns kQueries queries of one head and goes over the keys that they see, kKeys at a time, as the
// forward does. Per kStep keys and warp, 16 kRowTiles queries:
//     S = Q K^T;  dP = dO V^T;  P = 2^(scale log2(e) S - log2 sum exp);  dS = P (F dP - delta);  dQ += dS K
// dS stays in registers. Q and dO stay in registers or in shared memory; K and V come in two stages, one
// barrier per kKeys.
//
//     T     D     queries  keys, step  warps x queries  dQ + S + dP + (Q, dO) registers  shared memory
//     bf16  32    128      64, 32      4 x 32           32 + 64 + 32                     33 KiB
//     bf16  64    128      64, 32      4 x 32           64 + 64 + 64                     65 KiB
//     bf16  96    128      32, 32      4 x 32           96 + 64                          73 KiB
//     bf16  128   128      32, 32      4 x 32           128 + 64                         97 KiB
//     bf16  256   64       32, 32      4 x 16           128 + 32                         128.5 KiB
//     f32   64    64       16, 16      4 x 16           32 + 16                          48.5 KiB
//     f32   128   64       16, 16      4 x 16           64 + 16                          96.5 KiB
//     f32   256   32       16, 16      2 x 16           128 + 16                         128.25 KiB
//
// Shared memory read per tensor core product: 128 bytes at D = 64; at D = 128 256 for S and dP, 128 for dQ,
// 213 on average, about what an SM delivers in the time of one product.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_backward.h"

namespace heddle::cuda {

template <typename T, int D>
struct QueryGradientTiles {
  static constexpr bool kBf16 = sizeof(T) == 2;
  static constexpr int kWarps = !kBf16 && D > 128 ? 2 : 4, kThreads = kWarps * kWarpSize;
  static constexpr int kRowTiles = kBf16 && D <= 128 ? 2 : 1;
  static constexpr int kRows = 16 * kRowTiles;  // queries of a warp
  static constexpr int kQueries = kRows * kWarps;
  static constexpr int kKeys = !kBf16 ? 16 : D <= 64 ? 64 : 32;
  static constexpr int kStep = kBf16 ? 32 : 16;
  static constexpr bool kRowsInRegisters = kBf16 && D <= 64;
  static constexpr int kBlocksPerMultiprocessor = kBf16 && D <= 128 ? 2 : 1;
  static_assert(kStatisticsPadding % kQueries == 0);

  struct Stage {
    Tile<T, kKeys, D> keys, values;
  };
  struct Shared {
    Tile<T, kQueries, D> queries, d_outputs;
    alignas(16) QueryStatistics statistics[kQueries];
    Stage stages[2];
  };
};

// Scores, -inf where masked, and d_probabilities (after dropout) become the scores' gradients. `statistics`
// are those of the first row's query.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void differentiate(const Sums<kRowTiles, kColumnTiles>& scores,
                                              Sums<kRowTiles, kColumnTiles>& d_probabilities,
                                              const QueryStatistics* statistics, float scale_log2,
                                              float dropout_factor) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const QueryStatistics row = statistics[16 * i + 8 * half + lane_index() / 4];
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          const float probability = exp2_approx(fmaf(scores[i][j][e], scale_log2, -row.log2_sum_exp));
          d_probabilities[i][j][e] = probability * fmaf(d_probabilities[i][j][e], dropout_factor, -row.delta);
        }
    }
}

template <typename T, int D>
__global__ void __launch_bounds__(QueryGradientTiles<T, D>::kThreads,
                                  QueryGradientTiles<T, D>::kBlocksPerMultiprocessor)
    attention_query_gradients_kernel(const __grid_constant__ BackwardArguments<T> a) {
  using Tiles = QueryGradientTiles<T, D>;
  constexpr int kThreads = Tiles::kThreads, kKeys = Tiles::kKeys, kStep = Tiles::kStep;
  constexpr int kRowTiles = Tiles::kRowTiles;
  auto& shared = shared_memory<typename Tiles::Shared>();

  const AttentionSizes& sizes = a.sizes;
  const int query_tiles = (sizes.queries + Tiles::kQueries - 1) / Tiles::kQueries;
  TilePlace place(query_tiles, sizes.heads);
  place.tile = query_tiles - 1 - place.tile;  // the queries that see most first
  const int block_query = place.tile * Tiles::kQueries, row = warp_index() * Tiles::kRows,
            query = block_query + row;
  const Visibility visibility = a.visibility.of(place.batch);
  const int block_limit = visibility.key_limit(min(block_query + Tiles::kQueries, sizes.queries) - 1);
  const int tiles = (max(block_limit, 0) + kKeys - 1) / kKeys;

  const int kv_head = place.head / sizes.group;
  const auto load_tile = [&](int tile) {
    if (tile < tiles) {
      load_rows<kThreads>(shared.stages[tile % 2].keys, a.k.of(place.batch, kv_head), tile * kKeys,
                          visibility.keys, sizes.head_size, a.packs);
      load_rows<kThreads>(shared.stages[tile % 2].values, a.v.of(place.batch, kv_head), tile * kKeys,
                          visibility.keys, sizes.head_size, a.packs);
    }
    commit_copies();
  };
  load_rows<kThreads>(shared.queries, a.q.of(place.batch, place.head), block_query, sizes.queries,
                      sizes.head_size, a.packs);
  load_rows<kThreads>(shared.d_outputs, a.d_o.of(place.batch, place.head), block_query, sizes.queries,
                      sizes.head_size, a.packs);
  if (const int pair = static_cast<int>(threadIdx.x); pair < Tiles::kQueries / 2)
    copy_async_16(shared.statistics + 2 * pair,
                  a.statistics_of(place.batch, place.head) + block_query + 2 * pair);
  load_tile(0);

  LeftFragments<kRowTiles, Tiles::kRowsInRegisters ? D : 16> q, d_o;
  Sums<kRowTiles, D / 8> dq;
  set_to_zero(dq);
  const int seen_by_all = visibility.key_limit(query),
            seen_by_any = visibility.key_limit(query + Tiles::kRows - 1);

#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    wait_copies<0>();
    __syncthreads();  // the tile is here, and nobody reads the other stage any more
    load_tile(tile + 1);
    if constexpr (Tiles::kRowsInRegisters) {
      if (tile == 0) {
        load_left(q, shared.queries, row);
        load_left(d_o, shared.d_outputs, row);
      }
    }
    const auto& stage = shared.stages[tile % 2];

#pragma unroll 1
    for (int step = 0; step < kKeys; step += kStep) {
      const int key = tile * kKeys + step;
      if (key >= seen_by_any || query >= sizes.queries) break;
      Sums<kRowTiles, kStep / 8> scores, gradients;
      set_to_zero(scores);
      set_to_zero(gradients);
      if constexpr (Tiles::kRowsInRegisters) {
        multiply_transposed(scores, q, stage.keys, step);
        multiply_transposed(gradients, d_o, stage.values, step);
      } else {
        multiply_transposed(scores, shared.queries, row, stage.keys, step);
        multiply_transposed(gradients, shared.d_outputs, row, stage.values, step);
      }
      if (key + kStep > seen_by_all) mask_scores(scores, visibility, query, key);
      if (a.dropout.enabled) drop_from_rows(gradients, a.dropout, place, query, key);
      differentiate(scores, gradients, shared.statistics + row, a.scale_log2, a.dropout.factor);
      const Weights<T, kRowTiles, kStep / 8> d_scores(gradients);
      multiply(dq, d_scores, stage.keys, step, 0);
    }
  }
  wait_copies<0>();
  __syncthreads();  // a block without keys has not waited for its queries yet

  float scale[kRowTiles][2];
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) scale[i][0] = scale[i][1] = a.scale;
  round_into(shared.queries, row, 0, dq, scale);  // the warp's own rows, which nobody else reads
  __syncwarp();
  store_rows<Tiles::kRows, D>(shared.queries, row, 0, a.dq.of(place.batch, place.head), query, sizes.queries,
                              sizes.head_size, a.packs);
}

}  // namespace heddle::cuda
