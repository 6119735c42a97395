// Rows of activations in 16-byte pieces: the width in which global memory is read and written fastest.
#pragma once

#include <cstdint>

#include "kernels/cuda/ptx.h"
#include "kernels/tensor.h"

namespace heddle::cuda {

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bfloat16 x) {
  return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16);
}

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) { return x; }
template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) { return round_to_bf16(x); }

// Elements of T in 16 bytes: 4 floats or 8 bf16.
template <typename T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <typename T>
__device__ __forceinline__ void unpack(const uint4& raw, float (&x)[kPack<T>]) {
  const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      x[i] = __uint_as_float(words[i]);
    } else {
      x[2 * i] = __uint_as_float(words[i] << 16);
      x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }
}

template <typename T>
__device__ __forceinline__ uint4 packed(const float (&x)[kPack<T>]) {
  std::uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      words[i] = __float_as_uint(x[i]);
    } else {
      words[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
    }
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// 16 bytes at p, which is aligned to 16.
template <typename T>
__device__ __forceinline__ void load_pack(const T* p, float (&x)[kPack<T>]) {
  unpack<T>(*reinterpret_cast<const uint4*>(p), x);
}
template <typename T>
__device__ __forceinline__ void store_pack(T* p, const float (&x)[kPack<T>]) {
  *reinterpret_cast<uint4*>(p) = packed<T>(x);
}

// Host: may rows that start at `data`, `stride` elements apart, be read in packs?
template <typename T>
bool packs_fit(const void* data, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride % kPack<T> == 0;
}

}  // namespace heddle::cuda
