// Stands in for kernels/cuda's matmul.cpp and gpus.cpp as long as the emulator has no cuBLASLt.
#include "kernels/cuda/device.h"
#include "kernels/error.h"

namespace heddle {

namespace cuda {
class Matmuls {};
}  // namespace cuda

CudaOps::CudaOps(cudaStream_t stream, const cuda::GpuFacts& gpu, Memory scratch)
    : stream_(stream), gpu_(gpu), scratch_(std::move(scratch)) {}
CudaOps::~CudaOps() = default;

void CudaOps::set_autotune(bool) {}
void CudaOps::matmul(const Matmul&) { throw error("matmul: the emulator has no cuBLASLt"); }
std::size_t CudaOps::matmul_workspace(const Matmul&) { return 0; }
void CudaOps::parameters_changed() {}

std::unique_ptr<Device> make_cuda_device(int index) { return std::make_unique<CudaDevice>(index); }

}  // namespace heddle
