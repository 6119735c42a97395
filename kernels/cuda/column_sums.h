// Sums over rows, such as the gradients of biases and norm weights: blocks sum some of the rows each, then
// the blocks' sums are added in their order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.h"

namespace heddle::cuda {

constexpr int kSumWarps = 8, kSumThreads = kSumWarps * kWarpSize;

// destination[0][width] += the `parts` rows of partial[parts, stride]; destination[1], if given, += the same
// of the columns from `width` on.
struct PartialRows {
  const float* partial;
  std::int64_t parts, stride, width;
  float* destination[2];
};
void add_partial_rows(const PartialRows& rows, cudaStream_t stream);  // column_sums.cu

// How sum_columns() cuts a matrix: blocks of 32 N columns, and of rows so many that the GPU is filled twice.
template <int N>
struct ColumnBlocks {
  std::int64_t tiles, parts, rows_each;

  ColumnBlocks(std::int64_t rows, std::int64_t width, const GpuFacts& gpu) {
    constexpr std::int64_t kBlocksPerMultiprocessor = 16;  // 8 run at a time
    tiles = (width + kWarpSize * N - 1) / (kWarpSize * N);
    const std::int64_t wanted =
        std::max<std::int64_t>(kBlocksPerMultiprocessor * gpu.multiprocessors / tiles, 1);
    const std::int64_t allowed = static_cast<std::int64_t>(CudaOps::kScratchBytes / sizeof(float)) / width;
    const std::int64_t most = std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(allowed, 1));
    rows_each = std::max<std::int64_t>((rows + most - 1) / most, kSumWarps);
    parts = (rows + rows_each - 1) / rows_each;
  }
};

template <int N>
struct SumParts {
  float part[kSumWarps][N][kWarpSize];
};

// partial[blockIdx.y, width] = sums over rows [blockIdx.y rows_each, ...) of what source.load(row, column,
// float[N]) gives. Warps take the rows in turn, lanes N columns each.
template <int N, typename Source>
__global__ void __launch_bounds__(kSumThreads)
    sum_columns_kernel(Source source, std::int64_t rows, std::int64_t width, std::int64_t rows_each,
                       float* partial) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.x) * kWarpSize + lane) * N;
  const std::int64_t begin = blockIdx.y * rows_each, end = min(begin + rows_each, rows);
  float sum[N] = {};
  if (column < width) {
#pragma unroll 4
    for (std::int64_t row = begin + warp; row < end; row += kSumWarps) {
      float x[N];
      source.load(row, column, x);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += x[i];
    }
  }
  auto& shared = shared_memory<SumParts<N>>();
#pragma unroll
  for (int i = 0; i < N; ++i) shared.part[warp][i][lane] = sum[i];
  __syncthreads();
  // The tile's columns, one thread each.
  for (int c = threadIdx.x; c < N * kWarpSize; c += kSumThreads) {
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kWarpSize * N + c;
    float total = shared.part[0][c % N][c / N];
#pragma unroll
    for (int w = 1; w < kSumWarps; ++w) total += shared.part[w][c % N][c / N];
    if (at < width) partial[blockIdx.y * width + at] = total;
  }
}

// destination[width] += the column sums of what `source` gives for a matrix [rows, width]; width is a
// multiple of N. `scratch(bytes)` gives work space.
template <int N, typename Source, typename Scratch>
void sum_columns(const Source& source, std::int64_t rows, std::int64_t width, float* destination,
                 const GpuFacts& gpu, cudaStream_t stream, const Scratch& scratch) {
  if (rows == 0 || width == 0) return;
  const ColumnBlocks<N> blocks(rows, width, gpu);
  auto* partial =
      static_cast<float*>(scratch(static_cast<std::size_t>(blocks.parts * width) * sizeof(float)));
  launch<&sum_columns_kernel<N, Source>>(
      {dim3(static_cast<unsigned>(blocks.tiles), static_cast<unsigned>(blocks.parts)), kSumThreads,
       sizeof(SumParts<N>)},
      stream, source, rows, width, blocks.rows_each, partial);
  add_partial_rows({partial, blocks.parts, width, width, {destination, nullptr}}, stream);
}

}  // namespace heddle::cuda
