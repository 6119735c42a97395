// The matrix products of attention, by one warp: tiles in shared memory, sums in registers.
//
// Sums have the fragment layout of mma_m16n8k16 whatever T is: a warp's `Sums<kRowTiles, kColumnTiles>` is a
// matrix of 16 kRowTiles x 8 kColumnTiles, of which lane 4 g + t holds, in sums[i][j], the rows 16 i + g
// (elements 0 and 1) and 16 i + g + 8 (elements 2 and 3), columns 8 j + 2 t and the one after it.
//
//   multiply_transposed   sums += a b^T   scores: rows of a tile, or of registers, times rows of a tile
//   multiply              sums += w b     w is a matrix of sums itself, rounded to T: probabilities times
//   values
//
// In bf16 these are tensor core products of 16 x 8 x 16. Per product a warp reads 256 bytes of b from shared
// memory and uses them kRowTiles times, and 512 / kColumnTiles bytes of a unless a is in registers; w needs
// no memory, because two neighbouring tiles of sums are, rounded, the left fragment. In f32 they are fused
// multiply-adds, exact to float's rounding and in the order of the summed dimension; w travels by shuffles.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/ptx.h"

namespace heddle::cuda {

template <int kRowTiles, int kColumnTiles>
using Sums = float[kRowTiles][kColumnTiles][4];

template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void set_to_zero(Sums<kRowTiles, kColumnTiles>& sums) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
}

// --- the left operand a: 16 kRowTiles rows of a tile, in registers for good or read again for each product
// ---

template <int kRowTiles, int D>
using LeftFragments = std::uint32_t[D / 16][kRowTiles][4];

// Columns [16 step, 16 step + 16) of the rows from `row`.
template <int kRowTiles, int kRows, int D>
__device__ __forceinline__ void load_left(std::uint32_t (&a)[kRowTiles][4],
                                          const Tile<bfloat16, kRows, D>& tile, int row, int step) {
  using Rows = Tile<bfloat16, kRows, D>;
  const int place = Rows::place(row + lane_index() % 16, lane_index() / 16);
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
    load_matrix_x4(a[i], &tile.chunks[Rows::moved(place, 16 * i, 2 * step)]);
}

template <int kRowTiles, int kRows, int D>
__device__ __forceinline__ void load_left(LeftFragments<kRowTiles, D>& a,
                                          const Tile<bfloat16, kRows, D>& tile, int row) {
#pragma unroll
  for (int step = 0; step < D / 16; ++step) load_left(a[step], tile, row, step);
}

// --- the left operand w: a matrix of sums ---

template <typename T, int kRowTiles, int kColumnTiles>
struct Weights;

template <int kRowTiles, int kColumnTiles>
struct Weights<bfloat16, kRowTiles, kColumnTiles> {
  static_assert(kColumnTiles % 2 == 0);
  std::uint32_t fragments[kColumnTiles / 2][kRowTiles][4];  // as LeftFragments

  explicit __device__ __forceinline__ Weights(const Sums<kRowTiles, kColumnTiles>& sums) {
#pragma unroll
    for (int step = 0; step < kColumnTiles / 2; ++step)
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float* pair = &sums[i][2 * step + e / 2][e % 2 * 2];
          fragments[step][i][e] = pack_bf16(pair[0], pair[1]);
        }
  }
};

template <int kRowTiles, int kColumnTiles>
struct Weights<float, kRowTiles, kColumnTiles> {
  const Sums<kRowTiles, kColumnTiles>& sums;

  explicit __device__ __forceinline__ Weights(const Sums<kRowTiles, kColumnTiles>& sums) : sums(sums) {}
};

// --- bf16 ---

// One step of 16 columns: sums += a b^T for the 8 kColumnTiles rows of b from `row`.
template <int kRowTiles, int kColumnTiles, int kRows, int D>
__device__ __forceinline__ void multiply_step(Sums<kRowTiles, kColumnTiles>& sums,
                                              const std::uint32_t (&a)[kRowTiles][4],
                                              const Tile<bfloat16, kRows, D>& b, int row, int step) {
  using Rows = Tile<bfloat16, kRows, D>;
  const int lane = lane_index(), place = Rows::place(row + lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
  for (int j = 0; j < kColumnTiles; j += 2) {
    std::uint32_t pair[4];  // the fragments of column tiles j and j + 1
    load_matrix_x4(pair, &b.chunks[Rows::moved(place, 8 * j, 2 * step)]);
    const std::uint32_t first[2] = {pair[0], pair[1]}, second[2] = {pair[2], pair[3]};
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      mma_m16n8k16(sums[i][j], a[i], first);
      mma_m16n8k16(sums[i][j + 1], a[i], second);
    }
  }
}

template <int kRowTiles, int kColumnTiles, int kRows, int D>
__device__ __forceinline__ void multiply_transposed(Sums<kRowTiles, kColumnTiles>& sums,
                                                    const LeftFragments<kRowTiles, D>& a,
                                                    const Tile<bfloat16, kRows, D>& b, int b_row) {
#pragma unroll
  for (int step = 0; step < D / 16; ++step) multiply_step(sums, a[step], b, b_row, step);
}

template <int kRowTiles, int kColumnTiles, int kRowsA, int kRowsB, int D>
__device__ __forceinline__ void multiply_transposed(Sums<kRowTiles, kColumnTiles>& sums,
                                                    const Tile<bfloat16, kRowsA, D>& a, int a_row,
                                                    const Tile<bfloat16, kRowsB, D>& b, int b_row) {
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    std::uint32_t fragments[kRowTiles][4];
    load_left(fragments, a, a_row, step);
    multiply_step(sums, fragments, b, b_row, step);
  }
}

// sums += w b, with 8 kDepthTiles rows of b from `row` and 8 kColumnTiles of its columns from `column`.
template <int kRowTiles, int kColumnTiles, int kDepthTiles, int kRows, int D>
__device__ __forceinline__ void multiply(Sums<kRowTiles, kColumnTiles>& sums,
                                         const Weights<bfloat16, kRowTiles, kDepthTiles>& w,
                                         const Tile<bfloat16, kRows, D>& b, int row, int column) {
  static_assert(kColumnTiles % 2 == 0);
  using Rows = Tile<bfloat16, kRows, D>;
  const int place = Rows::place(row + lane_index() % 16, column / 8 + lane_index() / 16);
#pragma unroll
  for (int step = 0; step < kDepthTiles / 2; ++step) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; j += 2) {
      std::uint32_t pair[4];
      load_matrix_x4_transposed(pair, &b.chunks[Rows::moved(place, 16 * step, j)]);
      const std::uint32_t first[2] = {pair[0], pair[1]}, second[2] = {pair[2], pair[3]};
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        mma_m16n8k16(sums[i][j], w.fragments[step][i], first);
        mma_m16n8k16(sums[i][j + 1], w.fragments[step][i], second);
      }
    }
  }
}

// --- f32 ---

template <int kRowTiles, int kColumnTiles, int kRowsA, int kRowsB, int D>
__device__ __forceinline__ void multiply_transposed(Sums<kRowTiles, kColumnTiles>& sums,
                                                    const Tile<float, kRowsA, D>& a, int a_row,
                                                    const Tile<float, kRowsB, D>& b, int b_row) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll 1
  for (int chunk = 0; chunk < D / 4; ++chunk) {
    float left[kRowTiles][2][4];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        load_pack(a.elements(a_row + 16 * i + 8 * half + g, chunk), left[i][half]);
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float right[4];
        load_pack(b.elements(b_row + 8 * j + 2 * t + c, chunk), right);
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
          for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int k = 0; k < 4; ++k)
              sums[i][j][2 * half + c] = fmaf(left[i][half][k], right[k], sums[i][j][2 * half + c]);
      }
  }
}

template <int kRowTiles, int kColumnTiles, int kDepthTiles, int kRows, int D>
__device__ __forceinline__ void multiply(Sums<kRowTiles, kColumnTiles>& sums,
                                         const Weights<float, kRowTiles, kDepthTiles>& w,
                                         const Tile<float, kRows, D>& b, int row, int column) {
  const int lane = lane_index(), t = lane % 4;
#pragma unroll
  for (int k = 0; k < kDepthTiles; ++k)
#pragma unroll 1
    for (int source = 0; source < 4;
         ++source)  // the lane of the quad that holds columns 2 source, 2 source + 1 of w
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float left[kRowTiles][2];
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            left[i][half] = __shfl_sync(kFullWarp, w.sums[i][k][2 * half + c], lane - t + source);
        const int b_row = row + 8 * k + 2 * source + c;
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          const float* right = b.elements(b_row, column / 4 + 2 * j + t / 2) + t % 2 * 2;
          const float2 pair = *reinterpret_cast<const float2*>(right);
#pragma unroll
          for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              sums[i][j][2 * half] = fmaf(left[i][half], pair.x, sums[i][j][2 * half]);
              sums[i][j][2 * half + 1] = fmaf(left[i][half], pair.y, sums[i][j][2 * half + 1]);
            }
        }
      }
}

// --- sums to a tile ---

// Rows 16 i + 8 half + g of the sums times factor[i][half], rounded to T, into the tile at (row, column).
template <int kRowTiles, int kColumnTiles, typename T, int kRows, int D>
__device__ __forceinline__ void round_into(Tile<T, kRows, D>& tile, int row, int column,
                                           const Sums<kRowTiles, kColumnTiles>& sums,
                                           const float (&factor)[kRowTiles][2]) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
        const float x = sums[i][j][2 * half] * factor[i][half],
                    y = sums[i][j][2 * half + 1] * factor[i][half];
        const int tile_row = row + 16 * i + 8 * half + g, at = column + 8 * j + 2 * t;
        T* target = tile.elements(tile_row, at / kPack<T>) + at % kPack<T>;
        if constexpr (sizeof(T) == 4) {
          *reinterpret_cast<float2*>(target) = make_float2(x, y);
        } else {
          *reinterpret_cast<std::uint32_t*>(target) = pack_bf16(x, y);
        }
      }
}

}  // namespace heddle::cuda
