// The arithmetic behind the emulated cuBLASLt, on memory that may be read.
#pragma once

#include <cstdint>

namespace heddle::emulator {

// A matrix that is read, already transposed as wanted: element (i, j) at i * row_stride + j * column_stride.
struct Operand {
  const void* data;
  bool bf16;  // else f32
  std::int64_t row_stride, column_stride;
};

// out[M, N] = a[M, K] b[K, N], f32 in column-major order without gaps. Every element is summed over k in the
// same order whatever M and N are.
void multiply(const Operand& a, const Operand& b, std::int64_t m, std::int64_t n, std::int64_t k, float* out);

}  // namespace heddle::emulator
