// CUDA's return codes as Errors that name the call.
#pragma once

#include <cuda_runtime.h>

#include "kernels/error.h"

namespace heddle::cuda {

// Out of line, so that kernels' files do not format text.
[[noreturn]] void throw_cuda_error(cudaError_t status, const char* call);

inline void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw_cuda_error(status, call);
}

}  // namespace heddle::cuda
