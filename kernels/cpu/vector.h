// Vectors as wide as the processor's registers (16 floats with AVX-512, 8 with AVX2, else 4), by GCC's vector
// extensions, and the loops over them.
//
// Loops written with these fix the order of every sum by the row's length alone: not by its address (as a
// compiler that peels for alignment would), not by the number of rows. That is what makes operations row
// invariant.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/tensor.h"

namespace heddle::cpu {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

using FloatVector = float __attribute__((vector_size(kLanes * 4)));
using IntVector = std::int32_t __attribute__((vector_size(kLanes * 4)));
using UIntVector = std::uint32_t __attribute__((vector_size(kLanes * 4)));
using ShortVector = std::uint16_t __attribute__((vector_size(kLanes * 2)));

inline FloatVector broadcast(float value) {
  return value - FloatVector{};  // value - 0 keeps the sign of -0
}

inline UIntVector to_bits(FloatVector v) {
  return std::bit_cast<UIntVector>(v);
}
inline FloatVector from_bits(UIntVector v) {
  return std::bit_cast<FloatVector>(v);
}

// The processor's own minimum and maximum, which g++ does not find in a > b ? a : b; b if either is NaN.
// (Masked with every lane selected: the plain intrinsics trip -Wuninitialized in g++ 12 and are the same
// instructions.)
#if defined(__AVX512F__)
constexpr __mmask16 kAllLanes = 0xffff;
inline FloatVector max(FloatVector a, FloatVector b) {
  return _mm512_maskz_max_ps(kAllLanes, a, b);
}
inline FloatVector min(FloatVector a, FloatVector b) {
  return _mm512_maskz_min_ps(kAllLanes, a, b);
}
#elif defined(__AVX2__)
inline FloatVector max(FloatVector a, FloatVector b) {
  return _mm256_max_ps(a, b);
}
inline FloatVector min(FloatVector a, FloatVector b) {
  return _mm256_min_ps(a, b);
}
#else
inline FloatVector max(FloatVector a, FloatVector b) {
  return a > b ? a : b;
}
inline FloatVector min(FloatVector a, FloatVector b) {
  return a < b ? a : b;
}
#endif

inline FloatVector abs(FloatVector v) {
  return from_bits(to_bits(v) & 0x7fffffffu);
}

inline FloatVector sqrt(FloatVector v) {
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
}

// --- memory: `Full` moves a whole vector, `Part` only its first lanes; the rest reads as 0 ---

struct Full {};
struct Part {
  int lanes;  // 1 to kLanes - 1
};

inline FloatVector load(const float* from, Full = {}) {
  FloatVector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, FloatVector v, Full = {}) {
  std::memcpy(to, &v, sizeof v);
}

inline FloatVector load(const bfloat16* from, Full = {}) {
#if defined(__AVX512F__)  // one instruction to widen; g++ splits __builtin_convertvector into halves
  __m256i bits;
  std::memcpy(&bits, from, sizeof bits);
  return from_bits(std::bit_cast<UIntVector>(_mm512_maskz_cvtepu16_epi32(kAllLanes, bits)) << 16);
#else
  ShortVector bits;
  std::memcpy(&bits, from, sizeof bits);
  return from_bits(__builtin_convertvector(bits, UIntVector) << 16);
#endif
}

// Rounds to nearest even as bfloat16(float) does. (The processor's own conversion flushes denormals to 0.)
inline void store(bfloat16* to, FloatVector v, Full = {}) {
  const UIntVector u = to_bits(v);
  const UIntVector rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const UIntVector quiet_nan = (u >> 16) | 0x40u;
  const UIntVector bits = v == v ? rounded : quiet_nan;
  const ShortVector narrow = __builtin_convertvector(bits, ShortVector);
  std::memcpy(to, &narrow, sizeof narrow);
}

template <typename T>
inline FloatVector load(const T* from, Part part) {
  T padded[kLanes] = {};
  std::memcpy(padded, from, part.lanes * sizeof(T));
  return load(padded);
}

template <typename T>
inline void store(T* to, FloatVector v, Part part) {
  T padded[kLanes];
  store(padded, v);
  std::memcpy(to, padded, part.lanes * sizeof(T));
}

// `v` where the lane takes part, `rest` elsewhere: for reductions in which a padded 0 would count.
inline FloatVector with_rest(FloatVector v, float, Full) {
  return v;
}
inline FloatVector with_rest(FloatVector v, float rest, Part part) {
  for (int i = part.lanes; i < kLanes; ++i) v[i] = rest;
  return v;
}

// --- loops: body(i, extent) for elements [i, i + kLanes), `extent` being Full or, for the last ones, Part
// ---

template <typename Body>
inline void for_each_vector(std::int64_t begin, std::int64_t end, Body body) {
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, Full{});
  if (i < end) body(i, Part{static_cast<int>(end - i)});
}

inline float sum_of_lanes(FloatVector v) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  return v[0];
}

inline float max_of_lanes(FloatVector v) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) v[i] = v[i] > v[i + width] ? v[i] : v[i + width];
  return v[0];
}

// Four running vectors, so that a sum waits for the addition's latency once in four; the order depends only
// on how many vectors were added.
class VectorSum {
 public:
  void add(FloatVector v) {
    const FloatVector first = sums_[0] + v;
    sums_[0] = sums_[1];
    sums_[1] = sums_[2];
    sums_[2] = sums_[3];
    sums_[3] = first;
  }
  float total() const { return sum_of_lanes((sums_[0] + sums_[1]) + (sums_[2] + sums_[3])); }

 private:
  FloatVector sums_[4] = {};
};

}  // namespace heddle::cpu
