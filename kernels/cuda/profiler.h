// Connects ProfilerRange (kernels/profiler.h) with NVTX, which Nsight Systems and others show.
#pragma once

namespace heddle::cuda {

// Does nothing if heddle was built without NVTX's headers. Call it while no range is open.
void connect_profiler();

}  // namespace heddle::cuda
