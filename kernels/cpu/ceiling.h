// What this machine reaches when it does nothing else: the denominators of "model FLOPs utilisation" and of a kernel's
// share of the memory bandwidth on a CPU.
#pragma once

#include "kernels/tensor.h"

namespace heddle {

// FLOP/s (2 per multiply-add) of oneDNN's best square product of random f32 or bf16 matrices with f32 sums,
// with weights packed beforehand and `threads` OpenMP threads: the highest rate seen in about `seconds` (at
// least one product is timed).
double measure_matmul_flops(DType dtype, int threads, double seconds);

// bytes/s, read and written, of the fastest copy of 256 MiB by `threads` OpenMP threads in about `seconds`.
double measure_copy_bandwidth(int threads, double seconds);

}  // namespace heddle
