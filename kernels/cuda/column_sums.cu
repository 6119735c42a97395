#include "kernels/cuda/column_sums.h"

namespace heddle::cuda {

namespace {

struct AddedParts {
  float part[kSumWarps][kWarpSize];
};

// Lanes take a column each; warp w adds parts w, w + 8, ..., then the warps' sums are added.
__global__ void __launch_bounds__(kSumThreads) add_partial_rows_kernel(PartialRows rows) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kWarpSize + lane;
  const float* partial = rows.partial + blockIdx.y * rows.width;
  float sum = 0;
  if (column < rows.width) {
#pragma unroll 8
    for (std::int64_t part = warp; part < rows.parts; part += kSumWarps)
      sum += partial[part * rows.stride + column];
  }
  auto& shared = shared_memory<AddedParts>();
  shared.part[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= rows.width) return;
#pragma unroll
  for (int w = 1; w < kSumWarps; ++w) sum += shared.part[w][lane];
  (blockIdx.y == 0 ? rows.destination[0] : rows.destination[1])[column] += sum;
}

}  // namespace

void add_partial_rows(const PartialRows& rows, cudaStream_t stream) {
  if (rows.parts == 0) return;
  const unsigned destinations = rows.destination[1] ? 2 : 1;
  launch<&add_partial_rows_kernel>(
      {dim3(blocks_for(rows.width, kWarpSize), destinations), kSumThreads, sizeof(AddedParts)}, stream, rows);
}

}  // namespace heddle::cuda
