#include "kernels/cuda/cuda_ops.h"
#include "kernels/error.h"

namespace heddle {

namespace cuda {
class Matmuls {};
}  // namespace cuda

CudaOps::CudaOps(cudaStream_t stream, const cuda::GpuFacts& gpu, Memory scratch)
    : stream_(stream), gpu_(gpu), scratch_(std::move(scratch)) {}
CudaOps::~CudaOps() = default;

void CudaOps::matmul(const Matmul& ) { throw error("matmul is not written for CUDA yet"); }
std::size_t CudaOps::matmul_workspace(const Matmul& ) { throw error("matmul_workspace is not written for CUDA yet"); }
void CudaOps::parameters_changed() { throw error("parameters_changed is not written for CUDA yet"); }

}  // namespace heddle
