// Every machine instruction that CUDA C++ has no word for, one function each. The emulator of the tests
// (tests/emulator) has the same functions for the CPU, so kernels that use only these, the built-in variables and
// the functions listed in tests/emulator/include/cuda_runtime.h run on both.
//
// What kernels keep to, so that both compile them:
//   - launched through launch.h; block sizes are multiples of 32; at most 1024 threads
//   - shared memory only through shared_memory<T>(), T a plain struct of arrays
//   - warp functions with all 32 lanes (kFullWarp); no block waits for another block
//   - no printf, no assert, no cooperative groups, no library inside a kernel
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/tensor.h"

namespace heddle::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kWarpSize = 32;

}  // namespace heddle::cuda

#ifdef HEDDLE_CUDA_EMULATOR
#include "tests/emulator/ptx.h"
#else

namespace heddle::cuda {

// The block's dynamic shared memory as a T, whose size the launch has given. Contents are undefined.
template <typename T>
__device__ __forceinline__ T& shared_memory() {
  extern __shared__ __align__(128) unsigned char heddle_shared_memory[];
  return *reinterpret_cast<T*>(heddle_shared_memory);
}

// 2^x to about 2 units in the last place; denormals become 0. ex2.approx.ftz
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x to about 1 unit in the last place; denormal results become 0. rcp.approx.ftz
__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two floats as bf16, rounded to nearest even: `low` in bits 0 to 15.
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

__device__ __forceinline__ bfloat16 round_to_bf16(float x) {
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  bfloat16 y{};
  y.bits = bits;
  return y;
}

// --- matrix fragments ---

// d[4] += a[4] b[2]: a 16 x 16 bf16 by rows, b 16 x 8 bf16 by columns, d 16 x 8 f32. Lane l = 4 g + t holds
//   d: rows g (d[0], d[1]) and g + 8 (d[2], d[3]), columns 2t and 2t + 1
//   a: (g, 2t) (g + 8, 2t) (g, 2t + 8) (g + 8, 2t + 8), each a pair of neighbouring columns, the lower in bits 0-15
//   b: rows 2t, 2t + 1 of column g; rows 2t + 8, 2t + 9 of column g
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of 16-bit elements from shared memory. Lanes 8 i to 8 i + 7 give the addresses of the rows of
// matrix i, 16 bytes each and aligned so; lane l = 4 g + t receives in r[i] elements 2t and 2t + 1 of row g.
__device__ __forceinline__ void load_matrix_x4(std::uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// The same, each matrix transposed: lane l = 4 g + t receives elements g of rows 2t and 2t + 1.
__device__ __forceinline__ void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// --- asynchronous copies from global to shared memory ---

// 16 bytes, both aligned to 16; the first `bytes` (0 to 16) come from `global`, the rest becomes 0. Done when a
// wait_copies() of this thread covers its group, and seen by other threads after the next barrier.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, int bytes = 16) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}
// 4 bytes, aligned to 4; bytes is 4 or 0 (zero fill).
__device__ __forceinline__ void copy_async_4(void* shared, const void* global, int bytes = 4) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}
// Closes the group of copies that this thread has issued since the last one.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `Pending` of this thread's groups are not done.
template <int Pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// --- global memory that is read or written once: keep it out of the way of what is used again ---

__device__ __forceinline__ uint4 load_streaming(const uint4* p) { return __ldcs(p); }
__device__ __forceinline__ void store_streaming(uint4* p, uint4 value) { __stcs(p, value); }

}  // namespace heddle::cuda

#endif
