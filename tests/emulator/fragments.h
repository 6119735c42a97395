// Matrix fragments spread over a warp's lanes, as mma.sync and ldmatrix lay them out: see kernels/cuda/ptx.h.
#pragma once

#include <cstdint>

#include "tests/emulator/device.h"

namespace heddle::emulator {

// One lane's part of d += a b.
struct Fragments {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};
// Products of bf16 are exact in f32; they are added in order of k, rounding after each.
void multiply_m16n8k16(Fragments* const* lanes);

// The 8 elements whose address a lane has given, and where its part of the four matrices goes.
struct MatrixRow {
  std::uint32_t words[4];
  std::uint32_t* result;
};
// Reads when the lane comes, not when the last one does: what other lanes write meanwhile is not seen.
MatrixRow read_matrix_row(const char* operation, const void* row, std::uint32_t* result, const Where& where);
void distribute_matrices(MatrixRow* const* lanes);
void distribute_matrices_transposed(MatrixRow* const* lanes);

}  // namespace heddle::emulator
