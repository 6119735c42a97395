// The emulator's twins of the functions in kernels/cuda/ptx.h, which documents them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/tensor.h"
#include "tests/emulator/device.h"
#include "tests/emulator/fragments.h"
#include "tests/emulator/include/vector_types.h"

namespace heddle::cuda {

template <typename T>
T& shared_memory(emulator::Where where = emulator::Where::current()) {
  static_assert(std::is_trivially_default_constructible_v<T> && std::is_trivially_destructible_v<T>,
                "shared memory is not initialised");
  static_assert(alignof(T) <= 128, "kernels/cuda/ptx.h aligns shared memory to 128 bytes");
  return *static_cast<T*>(emulator::shared_memory_for(sizeof(T), alignof(T), where));
}

inline float exp2_approx(float x) {
  constexpr float kSmallest = std::numeric_limits<float>::min();
  if (std::fabs(x) < kSmallest) return 1.0f;
  const float y = std::exp2(x);
  return y < kSmallest ? 0.0f : y;
}

inline float reciprocal_approx(float x) {
  const float y = 1.0f / x;
  return std::fabs(y) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : y;
}

inline bfloat16 round_to_bf16(float x) {
  bfloat16 y(x);
  if (std::isnan(x)) y.bits = 0x7fff;  // the one NaN that the instruction makes
  return y;
}

inline std::uint32_t pack_bf16(float low, float high) {
  return round_to_bf16(low).bits | static_cast<std::uint32_t>(round_to_bf16(high).bits) << 16;
}

// --- matrix fragments ---

inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                         emulator::Where where = emulator::Where::current()) {
  emulator::Fragments fragments{d, a, b};
  emulator::warp_operation("mma_m16n8k16", fragments, where, emulator::multiply_m16n8k16);
}

inline void load_matrix_x4(std::uint32_t (&r)[4], const void* row,
                           emulator::Where where = emulator::Where::current()) {
  emulator::MatrixRow slot = emulator::read_matrix_row("load_matrix_x4", row, r, where);
  emulator::warp_operation("load_matrix_x4", slot, where, emulator::distribute_matrices);
}

inline void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row,
                                      emulator::Where where = emulator::Where::current()) {
  emulator::MatrixRow slot = emulator::read_matrix_row("load_matrix_x4_transposed", row, r, where);
  emulator::warp_operation("load_matrix_x4_transposed", slot, where,
                           emulator::distribute_matrices_transposed);
}

// --- asynchronous copies from global to shared memory ---

inline void copy_async_16(void* shared, const void* global, int bytes = 16,
                          emulator::Where where = emulator::Where::current()) {
  emulator::issue_copy("copy_async_16", shared, global, 16, bytes, where);
}
inline void copy_async_4(void* shared, const void* global, int bytes = 4,
                         emulator::Where where = emulator::Where::current()) {
  emulator::issue_copy("copy_async_4", shared, global, 4, bytes, where);
}
inline void commit_copies() {
  emulator::commit_copy_group();
}
template <int Pending>
void wait_copies() {
  static_assert(Pending >= 0);
  emulator::wait_copy_groups(Pending);
}

// --- global memory that is read or written once ---

inline uint4 load_streaming(const uint4* p) {
  return *p;
}
inline void store_streaming(uint4* p, uint4 value) {
  *p = value;
}

}  // namespace heddle::cuda
