// One matrix product as cublasLtMatmul() is asked for it, checked and free of handles.
#pragma once

#include <cublasLt.h>

#include <cstdint>

namespace heddle::emulator {

struct Matrix {
  std::byte* data = nullptr;
  cudaDataType type = CUDA_R_32F;
  std::int64_t rows = 0, columns = 0, leading_dimension = 0, batch_stride = 0;

  std::int64_t element_bytes() const { return type == CUDA_R_16BF ? 2 : 4; }
};

struct Problem {
  std::int64_t m = 0, n = 0, k = 0, batch_count = 1;
  bool transpose_a = false, transpose_b = false;
  Matrix a, b, c, d;
  float alpha = 1, beta = 0;
  unsigned epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  Matrix bias;  // m or n elements, read or written as the epilogue says
  Matrix aux;   // m x n: values before GELU, or RELU's mask, of bits

  bool has(unsigned bit) const { return (epilogue & bit) != 0; }
};

constexpr unsigned kRelu = 2, kBias = 4, kBiasGradient = 16, kGelu = 32, kGeluGradient = 64, kAux = 128,
                   kBiasGradientOfA = 256, kBiasGradientOfB = 512;

// Shapes, types, leading dimensions, epilogue: what can be said without pointers.
cublasStatus_t make_problem(const cublasLtMatmulDesc_t desc, const cublasLtMatrixLayout_t a,
                            const cublasLtMatrixLayout_t b, const cublasLtMatrixLayout_t c,
                            const cublasLtMatrixLayout_t d, Problem* problem);
// Pointers that are missing or misaligned.
cublasStatus_t check_pointers(const Problem& problem);

// What an algorithm is chosen for: equal for problems that differ in pointers, alpha and beta only.
std::uint64_t fingerprint(const Problem& problem);

// Computes it. Throws Fault when a matrix leaves the memory it starts in.
void solve(const Problem& problem);

}  // namespace heddle::emulator
