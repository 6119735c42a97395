// Sums and maxima over a warp or a block, in a fixed order.
#pragma once

#include "kernels/cuda/ptx.h"

namespace heddle::cuda {

// Every lane receives the result; the butterfly adds in the same order on each, so all lanes hold the same bits.
template <typename T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kFullWarp, x, offset);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, offset));
  return x;
}

// Every thread of the block receives the sum. `parts`: shared memory, one T per warp; free for other use after the
// call, and not in use before it (two barriers inside).
template <int Threads, typename T>
__device__ __forceinline__ T block_sum(T x, T* parts) {
  constexpr int kWarps = Threads / kWarpSize;
  x = warp_sum(x);
  if constexpr (kWarps == 1) return x;
  if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  T sum = parts[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) sum += parts[i];
  __syncthreads();
  return sum;
}

template <int Threads>
__device__ __forceinline__ float block_max(float x, float* parts) {
  constexpr int kWarps = Threads / kWarpSize;
  x = warp_max(x);
  if constexpr (kWarps == 1) return x;
  if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  float largest = parts[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) largest = fmaxf(largest, parts[i]);
  __syncthreads();
  return largest;
}

}  // namespace heddle::cuda
