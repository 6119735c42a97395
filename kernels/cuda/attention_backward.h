// What the kernels of the attention's backward share, and the first of them: the statistics of each query.
//
// With P = softmax(S), S = scale q k^T and o = (F P) v, F the factors of dropout:
//     dv = (F P)^T do;  dP = F (do v^T);  dS = P (dP - delta),  delta = rows of sum(P dP) = rows of sum(o
//     do); dq = scale dS k;  dk = scale dS^T q.
// P is not kept: it is 2^(scale log2(e) q k^T - log2 sum exp) once more.
//
// One kernel adds up dk and dv for a tile of keys, one dq for a tile of queries (attention_key_gradients.h
// and attention_query_gradients.h). Both compute S and dP, seven products instead of the five of a kernel
// that computes each once; but every gradient is then added up in one block's registers, in the order of the
// sequence: the bits are the same each time, nothing is added up in memory, and no block waits for another.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention_forward.h"

namespace heddle::cuda {

// Of a query, in the working memory [B, H, padded]: what turns scores into probabilities and their gradients.
struct QueryStatistics {
  float log2_sum_exp;  // of scale log2(e) q k^T; +inf for a query that sees no key, so that its probabilities
                       // are 0
  float delta;
};

// Queries of a head in the working memory: whole tiles, those past the last one see no key.
constexpr int kStatisticsPadding = 128;
constexpr std::int64_t padded_queries(std::int64_t queries) {
  return (queries + kStatisticsPadding - 1) / kStatisticsPadding * kStatisticsPadding;
}

template <typename T>
struct BackwardArguments {
  Heads<const T> q, k, v, o, d_o;
  Heads<T> dq, dk, dv;
  const float* log_sum_exp;     // [B, H, Tq]
  QueryStatistics* statistics;  // [B, H, padded_queries(Tq)], 16-byte aligned
  AttentionSizes sizes;
  VisibilityRule visibility;
  AttentionDropout dropout;
  float scale, scale_log2;  // scale and scale log2(e), > 0
  bool packs;               // all rows start at multiples of 16 bytes

  __device__ __forceinline__ QueryStatistics* statistics_of(int batch, int head) const {
    return statistics +
           (static_cast<std::int64_t>(batch) * sizes.heads + head) * padded_queries(sizes.queries);
  }
};

// --- statistics: 8 lanes per query, in the order [B, H, padded] in which they are written ---

constexpr int kStatisticsThreads = 256, kStatisticsLanes = 8;
constexpr int kStatisticsPerBlock = kStatisticsThreads / kStatisticsLanes;
static_assert(kStatisticsPadding % kStatisticsPerBlock == 0);

template <typename T>
__device__ __forceinline__ float dot_product_part(const T* a, const T* b, int size, bool packs) {
  const int lane = static_cast<int>(threadIdx.x) % kStatisticsLanes;
  float sum = 0;
  for (int d = lane * kPack<T>; d < size; d += kStatisticsLanes * kPack<T>) {
    if (packs && d + kPack<T> <= size) {
      float x[kPack<T>], y[kPack<T>];
      load_pack(a + d, x);
      load_pack(b + d, y);
#pragma unroll
      for (int i = 0; i < kPack<T>; ++i) sum = fmaf(x[i], y[i], sum);
    } else {
      for (int i = d; i < min(d + kPack<T>, size); ++i) sum = fmaf(to_float(a[i]), to_float(b[i]), sum);
    }
  }
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kStatisticsThreads)
    attention_statistics_kernel(const __grid_constant__ BackwardArguments<T> a) {
  const int tiles = static_cast<int>(padded_queries(a.sizes.queries) / kStatisticsPerBlock);
  const TilePlace place(tiles, a.sizes.heads);
  const int i = place.tile * kStatisticsPerBlock + static_cast<int>(threadIdx.x) / kStatisticsLanes;
  const bool exists = i < a.sizes.queries;
  float delta = exists
                    ? dot_product_part(a.o.of(place.batch, place.head).row(i),
                                       a.d_o.of(place.batch, place.head).row(i), a.sizes.head_size, a.packs)
                    : 0.0f;
#pragma unroll
  for (int offset = kStatisticsLanes / 2; offset > 0; offset /= 2)
    delta += __shfl_xor_sync(kFullWarp, delta, offset);
  if (threadIdx.x % kStatisticsLanes != 0) return;
  const std::int64_t row = static_cast<std::int64_t>(place.batch) * a.sizes.heads + place.head;
  const float log_sum_exp = exists ? a.log_sum_exp[row * a.sizes.queries + i] : -INFINITY;
  a.statistics_of(place.batch, place.head)[i] = {log_sum_exp == -INFINITY ? INFINITY : log_sum_exp * kLog2E,
                                                 delta};
}

}  // namespace heddle::cuda
