// dk and dv: a block owns kKeys keys of one key/value head and goes over the queries that see them, of all
// query heads of the group one after the other, kQueries at a time. The scores are computed transposed, S^T =
// K Q^T, so that P^T and dS^T lie in registers as the products dV += P^T dO and dK += dS^T Q take them: they
// never touch memory.
//
// Per kStep queries and warp, 16 kRowTiles keys:
//     S^T = K Q^T;  dP^T = V dO^T;  P^T = 2^(scale log2(e) S^T - log2 sum exp);  dS^T = P^T (F dP^T - delta)
//     dV += (F P)^T dO;  dK += dS^T Q
// K and V stay in shared memory; Q, dO and the queries' statistics come in two stages, of which one is
// multiplied while the other is filled: one barrier per kQueries. Heads of more than 128 elements have two
// warps for the same keys, each of which adds up half of the columns of dK and dV; both compute the scores.
//
//     T     D     keys  queries, step  warps x keys   dK + dV + S + dP registers  shared memory
//     bf16  32    128   64, 32         4 x 32         64 + 64                     33 KiB
//     bf16  64    128   64, 32         4 x 32         128 + 64                    65 KiB
//     bf16  96    64    64, 64         4 x 16         96 + 64                     73 KiB
//     bf16  128   64    64, 64         4 x 16         128 + 64                    97 KiB
//     bf16  256   64    32, 32         4 x 2 x 16     128 + 32                    128.5 KiB
//     f32   64    64    16, 16         4 x 16         64 + 16                     48.25 KiB
//     f32   128   64    16, 16         4 x 16         128 + 16                    96.25 KiB
//     f32   256   32    16, 16         2 x 2 x 16     128 + 16                    128.25 KiB
//
// Shared memory read per tensor core product, of which an SM does one in the time of about 205 bytes: at D =
// 64 a step of 16 columns of S^T reads 2 x 512 bytes of K and 4 x 256 of Q for 8 products, 256 each; the sums
// over queries 128 each; 192 on average. At D = 128 the registers allow 16 keys per warp only: 320 and 256,
// 288 on average, so that this kernel is bound by shared memory at about 70 % of the tensor cores' rate.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_backward.h"

namespace heddle::cuda {

// With dropout the registers hold the masks' bits too.
template <typename T, int D, bool kDropout>
struct KeyGradientTiles {
  static constexpr bool kBf16 = sizeof(T) == 2;
  static constexpr int kSlices = D > 128 ? D / 128 : 1;  // warps that share keys
  static constexpr int kColumns = D / kSlices;           // of dk and dv that a warp adds up
  static constexpr int kWarps = kBf16 && kSlices > 1 ? 8 : 4, kThreads = kWarps * kWarpSize;
  static constexpr int kRowTiles = kBf16 && D <= 64 ? 2 : 1;
  static constexpr int kRows = 16 * kRowTiles;  // keys of a warp
  static constexpr int kKeys = kRows * kWarps / kSlices;
  static constexpr int kQueries = !kBf16 ? 16 : D <= 128 ? 64 : 32;
  static constexpr int kStep = !kBf16 ? 16 : D > 128 ? 32 : (D > 64 ? 64 : 32) / (kDropout ? 2 : 1);
  static constexpr int kBlocksPerMultiprocessor = kBf16 && D <= 128 ? 2 : 1;

  struct Stage {
    Tile<T, kQueries, D> queries, d_outputs;
    alignas(16) QueryStatistics statistics[kQueries];
  };
  struct Shared {
    Tile<T, kKeys, D> keys, values;
    Stage stages[2];
  };
};

// The warp's part of a step, transposed: rows are keys from `key`, columns queries from `query`.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void mask_transposed_scores(Sums<kRowTiles, kColumnTiles>& scores,
                                                       const Visibility& visibility, int key, int query) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int first = visibility.first_query(key + 16 * i + 8 * half + g);
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
        for (int c = 0; c < 2; ++c)
          if (query + 8 * j + 2 * t + c < first) scores[i][j][2 * half + c] = -INFINITY;
    }
}

// The mask of dropout for a step. A lane draws the bits of one query for the warp's keys; the lanes that hold
// the query's elements fetch them.
template <int kRowTiles, int kColumnTiles>
struct TransposedDropout {
  static constexpr int kRows = 16 * kRowTiles, kWords = (8 * kColumnTiles + kWarpSize - 1) / kWarpSize;

  std::uint32_t own[kWords];

  __device__ __forceinline__ void draw(const AttentionDropout& dropout, int batch, int head, int query,
                                       int key) {
#pragma unroll
    for (int word = 0; word < kWords; ++word)
      own[word] = dropout.keep_bits<kRows>(batch, head, query + kWarpSize * word + lane_index(), key);
  }

  // Sets what is dropped to 0.
  __device__ __forceinline__ void drop(Sums<kRowTiles, kColumnTiles>& sums) const {
    const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const std::uint32_t bits = __shfl_sync(kFullWarp, own[j / 4], j % 4 * 8 + 2 * t + c) >> g;
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            if ((bits >> (16 * i + 8 * half) & 1) == 0) sums[i][j][2 * half + c] = 0;
      }
  }
};

// Scores become probabilities, d_probabilities (after dropout) become the scores' gradients. `statistics` are
// those of the first column's query.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void differentiate_transposed(Sums<kRowTiles, kColumnTiles>& scores,
                                                         Sums<kRowTiles, kColumnTiles>& d_probabilities,
                                                         const QueryStatistics* statistics, float scale_log2,
                                                         float dropout_factor) {
  const int t = lane_index() % 4;
#pragma unroll
  for (int j = 0; j < kColumnTiles; ++j) {
    const float4 pair = *reinterpret_cast<const float4*>(statistics + 8 * j + 2 * t);
    const float log2_sum_exp[2] = {pair.x, pair.z}, delta[2] = {pair.y, pair.w};
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float &score = scores[i][j][e], &gradient = d_probabilities[i][j][e];
        score = exp2_approx(fmaf(score, scale_log2, -log2_sum_exp[e % 2]));
        gradient = score * fmaf(gradient, dropout_factor, -delta[e % 2]);
      }
  }
}

template <typename T, int D, bool kDropout>
__global__ void __launch_bounds__(KeyGradientTiles<T, D, kDropout>::kThreads,
                                  KeyGradientTiles<T, D, kDropout>::kBlocksPerMultiprocessor)
    attention_key_gradients_kernel(const __grid_constant__ BackwardArguments<T> a) {
  using Tiles = KeyGradientTiles<T, D, kDropout>;
  constexpr int kThreads = Tiles::kThreads, kQueries = Tiles::kQueries, kStep = Tiles::kStep;
  constexpr int kRowTiles = Tiles::kRowTiles;
  auto& shared = shared_memory<typename Tiles::Shared>();

  const AttentionSizes& sizes = a.sizes;
  // The keys that most queries see come first.
  const TilePlace place((sizes.keys + Tiles::kKeys - 1) / Tiles::kKeys, sizes.kv_heads);
  const int row = warp_index() / Tiles::kSlices * Tiles::kRows;
  const int column = warp_index() % Tiles::kSlices * Tiles::kColumns;
  const int block_key = place.tile * Tiles::kKeys, key = block_key + row;
  const Visibility visibility = a.visibility.of(place.batch);
  // The tile of queries from `first` on of query head `head`, in stage `stage`: heads of the group one after
  // the other.
  struct Item {
    int head, first, stage;
  };
  const int first_seeing = max(visibility.first_query(block_key), 0) / kQueries * kQueries;
  const int end_head = first_seeing < sizes.queries ? (place.head + 1) * sizes.group : 0;
  const auto after = [&](Item item) -> Item {
    const bool last = item.first + kQueries >= sizes.queries;
    return {item.head + last, last ? first_seeing : item.first + kQueries, item.stage ^ 1};
  };
  const auto load_item = [&](Item item) {
    if (item.head < end_head) {
      auto& stage = shared.stages[item.stage];
      load_rows<kThreads>(stage.queries, a.q.of(place.batch, item.head), item.first, sizes.queries,
                          sizes.head_size, a.packs);
      load_rows<kThreads>(stage.d_outputs, a.d_o.of(place.batch, item.head), item.first, sizes.queries,
                          sizes.head_size, a.packs);
      if (const int pair = static_cast<int>(threadIdx.x); pair < kQueries / 2)
        copy_async_16(stage.statistics + 2 * pair,
                      a.statistics_of(place.batch, item.head) + item.first + 2 * pair);
    }
    commit_copies();
  };
  load_rows<kThreads>(shared.keys, a.k.of(place.batch, place.head), block_key, visibility.keys,
                      sizes.head_size, a.packs);
  load_rows<kThreads>(shared.values, a.v.of(place.batch, place.head), block_key, visibility.keys,
                      sizes.head_size, a.packs);
  Item item{place.head * sizes.group, first_seeing, 0};
  load_item(item);

  Sums<kRowTiles, Tiles::kColumns / 8> dk, dv;
  set_to_zero(dk);
  set_to_zero(dv);
  const int seen_by_any = visibility.first_query(key),
            seen_by_all = visibility.first_query(key + Tiles::kRows - 1);

#pragma unroll 1
  for (; item.head < end_head; item = after(item)) {
    wait_copies<0>();
    __syncthreads();  // the item is here, and nobody reads the other stage any more
    load_item(after(item));
    const auto& stage = shared.stages[item.stage];

#pragma unroll 1
    for (int step = 0; step < kQueries; step += kStep) {
      const int query = item.first + step;
      if (query + kStep <= seen_by_any) continue;
      TransposedDropout<kRowTiles, kStep / 8> dropout;
      if constexpr (kDropout) dropout.draw(a.dropout, place.batch, item.head, query, key);
      Sums<kRowTiles, kStep / 8> scores, gradients;
      set_to_zero(scores);
      multiply_transposed(scores, shared.keys, row, stage.queries, step);
      if (query < seen_by_all) mask_transposed_scores(scores, visibility, key, query);
      set_to_zero(gradients);
      multiply_transposed(gradients, shared.values, row, stage.d_outputs, step);
      if constexpr (kDropout) dropout.drop(gradients);
      differentiate_transposed(scores, gradients, stage.statistics + step, a.scale_log2, a.dropout.factor);
      if constexpr (kDropout) dropout.drop(scores);
      const Weights<T, kRowTiles, kStep / 8> probabilities(scores), d_scores(gradients);
      multiply(dv, probabilities, stage.d_outputs, step, column);
      multiply(dk, d_scores, stage.queries, step, column);
    }
  }
  wait_copies<0>();
  __syncthreads();  // the keys and values make room for their gradients

  float scale[kRowTiles][2], factor[kRowTiles][2];
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) scale[i][half] = a.scale, factor[i][half] = a.dropout.factor;
  round_into(shared.keys, row, column, dk, scale);
  round_into(shared.values, row, column, dv, factor);
  __syncwarp();
  store_rows<Tiles::kRows, Tiles::kColumns>(shared.keys, row, column, a.dk.of(place.batch, place.head), key,
                                            sizes.keys, sizes.head_size, a.packs);
  store_rows<Tiles::kRows, Tiles::kColumns>(shared.values, row, column, a.dv.of(place.batch, place.head), key,
                                            sizes.keys, sizes.head_size, a.packs);
}

}  // namespace heddle::cuda
