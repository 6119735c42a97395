// The kernel behind QueuedCalls.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace heddle {

// Queued on `stream`: ++*device_count; *host_count = *device_count. host_count is pinned host memory.
void count_finished(std::uint64_t* device_count, std::uint64_t* host_count, cudaStream_t stream);

}  // namespace heddle
