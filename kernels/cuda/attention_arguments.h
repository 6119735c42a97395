// What the attention kernels are given: rows of heads in any layout, and which keys a query sees.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_dropout.h"
#include "kernels/cuda/ptx.h"

namespace heddle::cuda {

// Row i of one head, [T, D] in memory: data + i * stride.
template <typename T>
struct HeadRows {
  T* data;
  std::int64_t stride;

  __device__ __forceinline__ T* row(std::int64_t i) const { return data + i * stride; }
};

// A tensor [B, T, H, D] with any strides but the last, which is 1.
template <typename T>
struct Heads {
  T* data;
  std::int64_t batch_stride, row_stride, head_stride;

  __device__ __forceinline__ HeadRows<T> of(int batch, int head) const {
    return {data + batch * batch_stride + head * head_stride, row_stride};
  }
};

struct AttentionSizes {
  int batch, queries, keys;  // B, Tq, Tk
  int heads, kv_heads;       // H, Hkv
  int group;                 // H / Hkv
  int head_size;             // D: columns at and past it, up to a tile's, are zeros
};

// Query i sees the keys j < keys with j <= i + diagonal.
struct Visibility {
  int keys;      // of this batch entry
  int diagonal;  // Tk - Tq, or Tk if the attention is not causal

  // The first key that query i does not see; 0 or less: it sees none.
  __device__ __forceinline__ int key_limit(int i) const { return min(keys, i + diagonal + 1); }
  // The first query that sees key j.
  __device__ __forceinline__ int first_query(int j) const { return j < keys ? j - diagonal : kNobody; }

  static constexpr int kNobody = 0x7fffffff;
};

struct VisibilityRule {
  int keys, diagonal;
  const std::int32_t* key_lengths;  // [B] or null

  __device__ __forceinline__ Visibility of(int batch) const {
    return {key_lengths == nullptr ? keys : max(0, min(keys, key_lengths[batch])), diagonal};
  }
};

// Where a block's tile lies. Blocks are numbered tile by tile, then head by head, then entry by entry:
// neighbours read the same keys or queries, and batch times heads may be any number.
struct TilePlace {
  int tile, head, batch;

  __device__ __forceinline__ TilePlace(int tiles, int heads) {
    const int number = static_cast<int>(blockIdx.x), row = number / tiles;
    tile = number - row * tiles;
    batch = row / heads;
    head = row - batch * heads;
  }
};

}  // namespace heddle::cuda
