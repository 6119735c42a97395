#include "kernels/cuda/launch.h"
#include "parallel/nccl/count_finished.h"

namespace heddle {

namespace {

__global__ void count_finished_kernel(std::uint64_t* device_count, volatile std::uint64_t* host_count) {
  if (threadIdx.x != 0) return;
  const std::uint64_t count = *device_count + 1;
  *device_count = count;
  *host_count = count;
}

}  // namespace

void count_finished(std::uint64_t* device_count, std::uint64_t* host_count, cudaStream_t stream) {
  cuda::launch<&count_finished_kernel>({1, 32}, stream, device_count, host_count);
}

}  // namespace heddle
