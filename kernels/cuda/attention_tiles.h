// Tiles of rows in shared memory: how they are laid out, filled from global memory and written back.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/cuda/attention_arguments.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/ptx.h"

namespace heddle::cuda {

__device__ __forceinline__ int lane_index() {
  return static_cast<int>(threadIdx.x % kWarpSize);
}
__device__ __forceinline__ int warp_index() {
  return static_cast<int>(threadIdx.x / kWarpSize);
}

// kRows rows of D elements in chunks of 16 bytes. Chunk c of row r lies at place c ^ twist(r) of its row, so
// that eight neighbouring rows have the same chunk in eight different sets of four banks: reading a chunk of
// each of eight rows, as a matrix fragment does, takes one pass.
template <typename T, int kRows, int D>
struct alignas(128) Tile {
  static constexpr int kChunks = D / kPack<T>;
  static_assert(kChunks % 4 == 0);
  // Rows of a multiple of 128 bytes all start in the same bank; of others, every second one.
  static constexpr bool kWhole = kChunks % 8 == 0;
  static constexpr int kTwists = kWhole ? 7 : 3;

  uint4 chunks[kRows * kChunks];

  static __device__ __forceinline__ int twist(int row) { return kWhole ? row & 7 : (row >> 1) & 3; }
  static __device__ __forceinline__ int place(int row, int chunk) {
    return row * kChunks + (chunk ^ twist(row));
  }
  // Place of (row + rows, chunk + chunks) from that of (row, chunk), for constants `rows`, a multiple of 8,
  // and `chunks`, which has no bit in common with `chunk`: few different places to compute, the rest is in
  // the address of the instruction.
  static __device__ __forceinline__ int moved(int place, int rows, int chunks) {
    return (place ^ (chunks & kTwists)) + (chunks & ~kTwists) + rows * kChunks;
  }

  // The kPack<T> elements of a chunk.
  __device__ __forceinline__ T* elements(int row, int chunk) {
    return reinterpret_cast<T*>(&chunks[place(row, chunk)]);
  }
  __device__ __forceinline__ const T* elements(int row, int chunk) const {
    return reinterpret_cast<const T*>(&chunks[place(row, chunk)]);
  }
};

// The columns of a head that chunk `chunk` holds, 0 to kPack<T>.
template <typename T>
__device__ __forceinline__ int columns_in(int chunk, int head_size) {
  return max(0, min(kPack<T>, head_size - chunk * kPack<T>));
}

// Fills a tile with the rows [first, first + kRows), zeros from `end` on and in the columns past the head.
// Called by all kThreads threads of the block; what it reads has arrived after wait_copies() and a barrier.
// `packs`: every row of `from` starts at a multiple of 16 bytes.
template <int kThreads, typename T, int kRows, int D>
__device__ __forceinline__ void load_rows(Tile<T, kRows, D>& tile, const HeadRows<const T>& from, int first,
                                          int end, int head_size, bool packs) {
  using Rows = Tile<T, kRows, D>;
  // Each thread copies one column of chunks; so many rows are copied at once.
  constexpr int kAtOnce =
      std::min(kRows, static_cast<int>(std::bit_floor(unsigned{kThreads / Rows::kChunks})));
  const int row = static_cast<int>(threadIdx.x) / Rows::kChunks,
            chunk = static_cast<int>(threadIdx.x) % Rows::kChunks;
  if (row >= kAtOnce) return;
  const int columns = columns_in<T>(chunk, head_size), place = Rows::place(row, chunk);
  const T* source = from.row(first + row) + chunk * kPack<T>;
  if (packs) {
#pragma unroll
    for (int n = 0; n < kRows; n += kAtOnce) {
      uint4* target = &tile.chunks[(place ^ Rows::twist(n)) + n * Rows::kChunks];
      copy_async_16(target, source, first + row + n < end ? columns * static_cast<int>(sizeof(T)) : 0);
      source += kAtOnce * from.stride;
    }
  } else {
#pragma unroll 1
    for (int n = 0; n < kRows; n += kAtOnce) {
      T* target = reinterpret_cast<T*>(&tile.chunks[(place ^ Rows::twist(n)) + n * Rows::kChunks]);
#pragma unroll 1
      for (int i = 0; i < kPack<T>; ++i)
        target[i] = i < columns && first + row + n < end ? source[i] : from_float<T>(0.0f);
      source += kAtOnce * from.stride;
    }
  }
}

// Writes kRows x kColumns of a tile, from (tile_row, tile_column), to the rows [first, end) of `to`: by one
// warp, which alone has written them and has met in __syncwarp() since.
template <int kRows, int kColumns, typename T, int kTileRows, int D>
__device__ __forceinline__ void store_rows(const Tile<T, kTileRows, D>& tile, int tile_row, int tile_column,
                                           const HeadRows<T>& to, int first, int end, int head_size,
                                           bool packs) {
  constexpr int kChunks = kColumns / kPack<T>;
#pragma unroll 1
  for (int index = lane_index(); index < kRows * kChunks; index += kWarpSize) {
    const int row = index / kChunks, chunk = tile_column / kPack<T> + index % kChunks;
    if (first + row >= end) break;
    const int columns = columns_in<T>(chunk, head_size);
    const T* elements = tile.elements(tile_row + row, chunk);
    T* target = to.row(first + row) + chunk * kPack<T>;
    if (packs && columns == kPack<T>) {
      *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(elements);
    } else {
#pragma unroll 1
      for (int i = 0; i < columns; ++i) target[i] = elements[i];
    }
  }
}

}  // namespace heddle::cuda
