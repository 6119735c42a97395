// What this machine's matrix products can reach: the denominator of "model FLOPs utilisation" on a CPU.
#pragma once

#include "kernels/tensor.h"

namespace heddle {

// FLOP/s (2 per multiply-add) of oneDNN's best square product of random f32 or bf16 matrices with f32 sums,
// with weights packed beforehand and `threads` OpenMP threads: the highest rate seen in about `seconds` (at
// least one product is timed).
double measure_matmul_flops(DType dtype, int threads, double seconds);

}  // namespace heddle
