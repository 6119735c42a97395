// Matrix product whose rows do not know of each other: the bits of row i of c depend on row i of op(a) and on
// b alone, not on how many rows there are. Generation needs it: a token must come out the same whether it is
// computed alone (with a cache) or within its sequence. It also takes the shapes, strides and alignments that
// cuBLASLt refuses.
#pragma once

#include <cuda_runtime.h>

#include "kernels/ops.h"

namespace heddle::cuda {

// Everything that Matmul describes except activation and pre_activation; K may be 0.
void row_invariant_matmul(const Matmul& m, cudaStream_t stream);

// c[M, N] += bias[N]; bias f32 or bf16, c f32. Where cuBLASLt cannot add it: f32 sums of bf16 products.
void add_bias(const Tensor& bias, const Tensor& c, cudaStream_t stream);

}  // namespace heddle::cuda
