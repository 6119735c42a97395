#include "kernels/cuda/cuda_error.h"

namespace heddle::cuda {

void throw_cuda_error(cudaError_t status, const char* call) {
  throw error("{}: {} ({})", call, cudaGetErrorString(status), cudaGetErrorName(status));
}

}  // namespace heddle::cuda
