// Starting kernels: launch<&kernel<T>>({grid, block, shared_bytes}, stream, arguments...).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/cuda_error.h"

namespace heddle::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // of dynamic shared memory; more than 48 KiB is asked for once per kernel
};

// Throws Error when the launch is refused. A grid without blocks is no launch.
template <auto Kernel, typename... Arguments>
void launch(const LaunchShape& shape, cudaStream_t stream, const Arguments&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  constexpr std::size_t kAlwaysAllowed = 48 << 10;
  if (shape.shared_bytes > kAlwaysAllowed) {
    static std::size_t allowed = kAlwaysAllowed;  // per kernel; a process has one GPU and one launching thread
    if (shape.shared_bytes > allowed) {
      check(cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared_bytes)),
            "cudaFuncSetAttribute(shared memory)");
      allowed = shape.shared_bytes;
    }
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, Kernel, arguments...), "kernel launch");
}

// Blocks of `size` that cover `count`.
constexpr unsigned blocks_for(std::int64_t count, std::int64_t size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

}  // namespace heddle::cuda
