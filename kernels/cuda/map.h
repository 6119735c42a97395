// Loops over flat arrays: one grid of threads, 16 bytes at a time where the addresses allow it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pack.h"

namespace heddle::cuda {

// Elements that a thread takes at a time, as a type: the argument of loop bodies.
template <int N>
using Width = std::integral_constant<int, N>;

// N elements at p as floats: whole packs, which are aligned to 16 bytes, or one by one.
template <int N, typename T>
__device__ __forceinline__ void load_elements(const T* p, float (&x)[N]) {
  constexpr int kPiece = N % kPack<T> == 0 ? kPack<T> : 1;
#pragma unroll
  for (int i = 0; i < N; i += kPiece) {
    if constexpr (kPiece == 1) {
      x[i] = to_float(p[i]);
    } else {
      float piece[kPiece];
      load_pack(p + i, piece);
#pragma unroll
      for (int k = 0; k < kPiece; ++k) x[i + k] = piece[k];
    }
  }
}

template <int N, typename T>
__device__ __forceinline__ void store_elements(T* p, const float (&x)[N]) {
  constexpr int kPiece = N % kPack<T> == 0 ? kPack<T> : 1;
#pragma unroll
  for (int i = 0; i < N; i += kPiece) {
    if constexpr (kPiece == 1) {
      p[i] = from_float<T>(x[i]);
    } else {
      float piece[kPiece];
#pragma unroll
      for (int k = 0; k < kPiece; ++k) piece[k] = x[i + k];
      store_pack(p + i, piece);
    }
  }
}

// body(i) for each i in [0, count), shared out over all threads of the grid.
template <typename Body>
__device__ __forceinline__ void for_each_index(std::int64_t count, Body body) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step)
    body(i);
}

// body(i, Width<N>{}) for elements [i, i + N): packs of T if `packs` says that the arrays are aligned, with
// the rest one by one.
template <typename T, typename Body>
__device__ __forceinline__ void for_each_pack(std::int64_t count, bool packs, Body body) {
  const std::int64_t whole = packs ? count / kPack<T> : 0;
  for_each_index(whole, [&](std::int64_t i) { body(i * kPack<T>, Width<kPack<T>>{}); });
  const std::int64_t begin = whole * kPack<T>;
  for_each_index(count - begin, [&](std::int64_t i) { body(begin + i, Width<1>{}); });
}

// Host: may all these arrays be read in packs from their beginning?
template <typename T, typename... Pointers>
bool all_packs_fit(const Pointers*... pointers) {
  return (packs_fit<T>(pointers, 0) && ...);
}

constexpr int kMapThreads = 256;

// A grid for `items` that threads take one after the other: a few blocks more than run at a time, so that
// multiprocessors which finish early find more.
inline LaunchShape map_shape(std::int64_t items, const GpuFacts& gpu) {
  constexpr std::int64_t kBlocksPerMultiprocessor = 32;  // 8 of 256 threads run at a time
  const std::int64_t wanted = (items + kMapThreads - 1) / kMapThreads;
  const std::int64_t most = kBlocksPerMultiprocessor * gpu.multiprocessors;
  return {static_cast<unsigned>(std::min(wanted, most)), kMapThreads};
}

// The same for for_each_pack<T>().
template <typename T>
LaunchShape map_shape(std::int64_t count, bool packs, const GpuFacts& gpu) {
  return map_shape(packs ? (count + kPack<T> - 1) / kPack<T> : count, gpu);
}

}  // namespace heddle::cuda
