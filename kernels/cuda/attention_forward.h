// Forward attention with the softmax built tile by tile. Milakov & Gimelshein 2018; Dao 2023
// ("FlashAttention-2").
//
// A block owns kQueries queries of one head, each warp 16 kRowTiles of them, and goes over the tiles of kKeys
// keys that they see, from key 0 on. Per tile, all in the warp's registers:
//     S = Q K^T,  P = 2^(scale log2(e) S - offset),  sum += rows of P,  O += P V;  at the end o = O / sum.
// Q stays in shared memory or registers; the tiles of K and V pass through a ring of three slots (K0 V0 K1 V1
// ...): while one is multiplied the next two are on their way, and one barrier per tile of either publishes
// it and frees the slot of the one before.
//
// The offset of a row follows its largest score, but only in steps of at least kOffsetStep: after the first
// tiles hardly any row moves, and a warp without a moving row leaves O as it is. P is then at most
// 2^kOffsetStep. A row's bits depend on the keys that it sees alone, not on its neighbours nor on its place
// in the tile, so a row of a longer sequence has the bits of the same row alone.
//
//     T     D     queries x keys  warps x rows  O + S + Q registers  shared memory
//     bf16  32    128 x 64        4 x 32        32 + 64 + 16         20 KiB
//     bf16  64    128 x 64        4 x 32        64 + 64 + 32         40 KiB
//     bf16  96    128 x 64        4 x 32        96 + 64              60 KiB
//     bf16  128   128 x 64        4 x 32        128 + 64             80 KiB
//     bf16  256   64 x 64         4 x 16        128 + 32             128 KiB
//     f32   64    64 x 32         4 x 16        32 + 16              40 KiB
//     f32   128   64 x 32         4 x 16        64 + 16              80 KiB
//     f32   256   64 x 32         4 x 16        128 + 16             160 KiB
//
// Arithmetic of the bf16 tile at D = 64, per warp and tile: 64 + 64 tensor core products of 16 x 8 x 16, for
// which 512 bytes are read 32 times: 128 per product, where an SM can read 205 in the time of one (mma at
// about 2500 FLOP per clock). A lane takes 64 exponentials and about 300 other instructions, which the second
// block of the SM hides: 128 products keep a quarter of an SM busy for about 820 clocks, 64 exponentials for
// 512. At D = 128 the fragments of Q are read again, 192 + 128 and on average 160 bytes per product.
// Registers (ptxas, sm_90a): 234 at D = 64, 255 at D = 128, so two blocks per SM.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention_arguments.h"
#include "kernels/cuda/attention_dropout.h"
#include "kernels/cuda/attention_products.h"
#include "kernels/cuda/attention_tiles.h"

namespace heddle::cuda {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

template <typename T>
struct ForwardArguments {
  Heads<const T> q, k, v;
  Heads<T> o;
  float* log_sum_exp;  // [B, H, Tq]
  AttentionSizes sizes;
  VisibilityRule visibility;
  AttentionDropout dropout;
  float scale_log2;  // scale log2(e) > 0
  bool packs;        // all rows start at multiples of 16 bytes
};

template <typename T, int D>
struct ForwardTiles {
  static constexpr bool kBf16 = sizeof(T) == 2;
  static constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
  static constexpr int kRowTiles = kBf16 && D <= 128 ? 2 : 1;
  static constexpr int kRows = 16 * kRowTiles;  // queries of a warp
  static constexpr int kQueries = kRows * kWarps;
  static constexpr int kKeys = kBf16 ? 64 : 32;
  static constexpr int kSlots = 3;
  static constexpr bool kQueriesInRegisters = kBf16 && D <= 64;
  static constexpr int kBlocksPerMultiprocessor = kBf16 && D <= 128 ? 2 : 1;

  struct Shared {
    Tile<T, kQueries, D> queries;
    Tile<T, kKeys, D> ring[kSlots];
  };
};

// The running softmax of a warp's rows: lane 4 g + t has, in [i][half], row 16 i + 8 half + g.
template <int kRowTiles>
struct OnlineSoftmax {
  static constexpr float kOffsetStep = 8;

  float offset[kRowTiles][2];  // log2; -inf until the row has seen a key
  float sum[kRowTiles][2];     // of this lane's columns

  __device__ __forceinline__ OnlineSoftmax() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) offset[i][half] = -INFINITY, sum[i][half] = 0;
  }

  // Scores, -inf where masked, become probabilities relative to the offset; o is rescaled to it.
  template <int kColumnTiles, int kOutputTiles>
  __device__ __forceinline__ void update(Sums<kRowTiles, kColumnTiles>& scores, float scale_log2,
                                         Sums<kRowTiles, kOutputTiles>& o) {
    float rescale[kRowTiles][2];
    bool moved = false;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float old = offset[i][half], largest = row_maximum(scores[i], half) * scale_log2;
        rescale[i][half] = 1;
        if (largest > old + kOffsetStep) {
          offset[i][half] = largest;
          rescale[i][half] = exp2_approx(old - largest);
          moved = true;
        }
        sum[i][half] =
            sum[i][half] * rescale[i][half] + exponentiate(scores[i], half, scale_log2, offset[i][half]);
      }
    if (__any_sync(kFullWarp, moved)) {
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
        for (int j = 0; j < kOutputTiles; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) o[i][j][e] *= rescale[i][e / 2];
    }
  }

  // Adds the quad's parts: each lane then has its rows' sums.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        sum[i][half] += __shfl_xor_sync(kFullWarp, sum[i][half], 1);
        sum[i][half] += __shfl_xor_sync(kFullWarp, sum[i][half], 2);
      }
  }

  // Natural logarithm; -inf for a row that has seen no key.
  __device__ __forceinline__ float log_sum_exp(int i, int half) const {
    return offset[i][half] * kLn2 + logf(sum[i][half]);
  }

 private:
  template <int kColumnTiles>
  static __device__ __forceinline__ float row_maximum(const float (&scores)[kColumnTiles][4], int half) {
    float largest = -INFINITY;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
      largest = fmaxf(largest, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 1));
    return fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 2));
  }

  // Returns the sum of this lane's columns.
  template <int kColumnTiles>
  static __device__ __forceinline__ float exponentiate(float (&scores)[kColumnTiles][4], int half,
                                                       float scale_log2, float offset) {
    const float finite = offset == -INFINITY ? 0.0f : offset;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& score = scores[j][2 * half + c];
        score = exp2_approx(fmaf(score, scale_log2, -finite));
        sum += score;
      }
    return sum;
  }
};

// --- the warp's part of a tile of scores; its first row is query `query`, its first column key `key` ---

template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void mask_scores(Sums<kRowTiles, kColumnTiles>& scores,
                                            const Visibility& visibility, int query, int key) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int limit = visibility.key_limit(query + 16 * i + 8 * half + g) - key - 2 * t;
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
        for (int c = 0; c < 2; ++c)
          if (8 * j + c >= limit) scores[i][j][2 * half + c] = -INFINITY;
    }
}

// Sets what dropout drops to 0. A lane draws the bits of one row, 32 keys at a time; the lanes that hold the
// row's elements fetch them.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void drop_from_rows(Sums<kRowTiles, kColumnTiles>& sums,
                                               const AttentionDropout& dropout, const TilePlace& place,
                                               int query, int key) {
  constexpr int kCount = kColumnTiles >= 4 ? 32 : 16;
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int first = 0; first < kColumnTiles; first += kCount / 8) {
    const std::uint32_t own =
        dropout.keep_bits<kCount>(place.batch, place.head, query + lane % (16 * kRowTiles), key + 8 * first);
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t bits = __shfl_sync(kFullWarp, own, 16 * i + 8 * half + g) >> (2 * t);
#pragma unroll
        for (int j = 0; j < kCount / 8; ++j)
#pragma unroll
          for (int c = 0; c < 2; ++c)
            if ((bits >> (8 * j + c) & 1) == 0) sums[i][first + j][2 * half + c] = 0;
      }
  }
}

template <typename T, int D>
__global__ void __launch_bounds__(ForwardTiles<T, D>::kThreads, ForwardTiles<T, D>::kBlocksPerMultiprocessor)
    attention_forward_kernel(const __grid_constant__ ForwardArguments<T> a) {
  using Tiles = ForwardTiles<T, D>;
  constexpr int kThreads = Tiles::kThreads, kKeys = Tiles::kKeys, kRowTiles = Tiles::kRowTiles;
  auto& shared = shared_memory<typename Tiles::Shared>();

  const AttentionSizes& sizes = a.sizes;
  const int query_tiles = (sizes.queries + Tiles::kQueries - 1) / Tiles::kQueries;
  TilePlace place(query_tiles, sizes.heads);
  place.tile = query_tiles - 1 - place.tile;  // the queries that see most first
  const int block_query = place.tile * Tiles::kQueries, row = warp_index() * Tiles::kRows,
            query = block_query + row;
  const Visibility visibility = a.visibility.of(place.batch);
  const int block_limit = visibility.key_limit(min(block_query + Tiles::kQueries, sizes.queries) - 1);
  const int items = 2 * ((max(block_limit, 0) + kKeys - 1) / kKeys);

  const int kv_head = place.head / sizes.group;
  const HeadRows<const T> k = a.k.of(place.batch, kv_head), v = a.v.of(place.batch, kv_head);
  int load_slot = 0, slot = 0;
  // Item 2 n is tile n of the keys, item 2 n + 1 tile n of the values. Closes one group of copies, be it
  // empty.
  const auto load_item = [&](int item) {
    if (item < items)
      load_rows<kThreads>(shared.ring[load_slot], item % 2 == 0 ? k : v, item / 2 * kKeys, visibility.keys,
                          sizes.head_size, a.packs);
    commit_copies();
    load_slot = load_slot == Tiles::kSlots - 1 ? 0 : load_slot + 1;
  };
  // Waits for the item, which is then in ring[slot] for all warps, and starts the loading of the one after
  // the next.
  const auto await_item = [&](int item) {
    slot = item == 0 || slot == Tiles::kSlots - 1 ? 0 : slot + 1;
    wait_copies<1>();
    __syncthreads();
    load_item(item + 2);
  };
  load_rows<kThreads>(shared.queries, a.q.of(place.batch, place.head), block_query, sizes.queries,
                      sizes.head_size, a.packs);
  load_item(0);
  load_item(1);

  LeftFragments<kRowTiles, Tiles::kQueriesInRegisters ? D : 16> q;
  Sums<kRowTiles, D / 8> o;
  set_to_zero(o);
  OnlineSoftmax<kRowTiles> softmax;
  const int seen_by_all = visibility.key_limit(query),
            seen_by_any = visibility.key_limit(query + Tiles::kRows - 1);

#pragma unroll 1
  for (int item = 0; item < items; item += 2) {
    const int key = item / 2 * kKeys;
    const bool sees = key < seen_by_any && query < sizes.queries;
    Sums<kRowTiles, kKeys / 8> scores;
    set_to_zero(scores);

    await_item(item);
    if constexpr (Tiles::kQueriesInRegisters) {
      if (item == 0) load_left(q, shared.queries, row);
    }
    if (sees) {
      if constexpr (Tiles::kQueriesInRegisters) {
        multiply_transposed(scores, q, shared.ring[slot], 0);
      } else {
        multiply_transposed(scores, shared.queries, row, shared.ring[slot], 0);
      }
      if (key + kKeys > seen_by_all) mask_scores(scores, visibility, query, key);
      softmax.update(scores, a.scale_log2, o);
      if (a.dropout.enabled) drop_from_rows(scores, a.dropout, place, query, key);
    }

    const Weights<T, kRowTiles, kKeys / 8> probabilities(scores);
    await_item(item + 1);
    if (sees) multiply(o, probabilities, shared.ring[slot], 0, 0);
  }
  wait_copies<0>();
  __syncthreads();  // a block without keys has not waited for its queries yet

  softmax.finish();
  const int g = lane_index() / 4, t = lane_index() % 4;
  float factor[kRowTiles][2];
  const HeadRows<T> out = a.o.of(place.batch, place.head);
  float* log_sum_exp =
      a.log_sum_exp + (static_cast<std::int64_t>(place.batch) * sizes.heads + place.head) * sizes.queries;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int number = query + 16 * i + 8 * half + g;
      factor[i][half] = softmax.sum[i][half] > 0 ? a.dropout.factor / softmax.sum[i][half] : 0.0f;
      if (t == 0 && number < sizes.queries) log_sum_exp[number] = softmax.log_sum_exp(i, half);
    }
  round_into(shared.queries, row, 0, o, factor);  // the warp's own rows, which nobody else reads
  __syncwarp();
  store_rows<Tiles::kRows, D>(shared.queries, row, 0, out, query, sizes.queries, sizes.head_size, a.packs);
}

}  // namespace heddle::cuda
